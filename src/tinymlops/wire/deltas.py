"""A model out of a payload: whole, or as the difference from the model that the device has.

Quantized models of one architecture keep their layout, so the byte-wise difference of two of them is small numbers
and compresses well. The digest of the result decides whether it is used, never the payload's own word.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from backports import zstd

from tinymlops.errors import FormatError


class Encoding(StrEnum):
    """How a payload holds a model."""

    ZSTD = "zstd"
    """The whole model, compressed (RFC 8878)."""
    SUBTRACT_ZSTD = "subtract-zstd"
    """(new − old) mod 256, byte by byte, the shorter one filled up with zeros; compressed."""
    PATCH_ZSTD = "patch-zstd"
    """The whole model, compressed with the old one as the prefix that matches may point into."""


_MOST_WINDOW_LOG = 27


def apply(encoding: str, payload: bytes | bytearray, *, base: bytes | None, size: int) -> bytes:
    """The model, ``size`` bytes, that ``payload`` holds. Its digest is the caller's to check.

    Args:
        encoding: One of `Encoding`.
        payload: What `tinymlops.releases.deltas` made.
        base: The model that a difference starts from; not looked at for a whole model.
        size: Of the result; a payload that gives more or less is refused, and never more is held in memory.

    Raises:
        FormatError: Unknown encoding, no base, or a payload that does not decode to ``size`` bytes.
    """
    if encoding == Encoding.ZSTD:
        return _decompress(payload, size)
    if base is None:
        raise FormatError(
            f"a payload of encoding {encoding!r} needs the model that it starts from", "ask for the whole"
        )
    if encoding == Encoding.SUBTRACT_ZSTD:
        return _add(base, _decompress(payload, size), size)
    if encoding == Encoding.PATCH_ZSTD:
        return _decompress(payload, size, prefix=base)
    raise FormatError(f"the encoding {encoding!r} is not known", "update this device's software")


def _decompress(payload: bytes | bytearray, size: int, prefix: bytes | None = None) -> bytes:
    options = {int(zstd.DecompressionParameter.window_log_max): _MOST_WINDOW_LOG}
    try:
        dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
        decompressor = zstd.ZstdDecompressor(dictionary, options)
        content = decompressor.decompress(payload, max_length=size + 1)
    except (zstd.ZstdError, ValueError) as error:
        raise FormatError(f"a payload does not decompress ({error})", "download it again") from error
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise FormatError(f"a payload does not decompress to {size} bytes", "download it again")
    return content


def _add(base: bytes, difference: bytes, size: int) -> bytes:
    old = np.zeros(size, np.uint8)
    shared = min(size, len(base))
    old[:shared] = np.frombuffer(base, np.uint8, shared)
    return (old + np.frombuffer(difference, np.uint8)).tobytes()
