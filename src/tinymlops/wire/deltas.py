"""A model out of a payload: whole, or as the difference from the model that the device has.

Quantized models of one architecture keep their layout, so the byte-wise difference of two of them is small numbers
and compresses well. The digest of the result decides whether it is used, never the payload's own word.
"""

from __future__ import annotations

import lzma
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
    SUBTRACT_LZMA2 = "subtract-lzma2"
    """The same difference as a raw LZMA2 stream. Its range coder spends less than a bit on a byte that stayed as it
    was, where zstd's Huffman codes can't: a tenth less for models in which most weights moved a little."""
    PATCH_ZSTD = "patch-zstd"
    """The whole model, compressed with the old one as the prefix that matches may point into."""


_LEAST_LZMA_BYTES = 4096


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
    if size < 0:
        raise FormatError(f"a model of {size} bytes can't be", "ask for another release")
    if encoding == Encoding.ZSTD:
        return _unpack_zstd(payload, size)
    if base is None:
        raise FormatError(
            f"a payload of encoding {encoding!r} needs the model that it starts from", "ask for the whole"
        )
    if encoding == Encoding.SUBTRACT_ZSTD:
        return _add(base, _unpack_zstd(payload, size), size)
    if encoding == Encoding.SUBTRACT_LZMA2:
        return _add(base, _unpack_lzma2(payload, size), size)
    if encoding == Encoding.PATCH_ZSTD:
        return _unpack_zstd(payload, size, prefix=base)
    raise FormatError(f"the encoding {encoding!r} is not known", "update this device's software")


def window_log(reach: int) -> int:
    """Binary logarithm of the zstd window for matches that reach back ``reach`` bytes, within the format's limits."""
    return max(10, min(27, reach.bit_length()))


def lzma2_filter(size: int, **options: int) -> dict[str, int]:
    """Parameters of the raw LZMA2 stream of ``size`` bytes: its memory is the size of the result, and no more."""
    return {"id": lzma.FILTER_LZMA2, "dict_size": max(_LEAST_LZMA_BYTES, size), **options}


def _unpack_zstd(payload: bytes | bytearray, size: int, prefix: bytes | None = None) -> bytes:
    # Without this limit a payload could ask for a window of 128 MB, whatever the size of its content.
    limit = {int(zstd.DecompressionParameter.window_log_max): window_log(size + len(prefix or b""))}
    try:
        dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
        decompressor = zstd.ZstdDecompressor(dictionary, limit)
        content = decompressor.decompress(payload, max_length=size + 1)
    except (zstd.ZstdError, ValueError) as error:
        raise _damaged(size) from error
    return _whole(content, decompressor.eof and not decompressor.unused_data, size)


def _unpack_lzma2(payload: bytes | bytearray, size: int) -> bytes:
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[lzma2_filter(size)])
        content = decompressor.decompress(payload, max_length=size + 1)
    except (lzma.LZMAError, ValueError) as error:
        raise _damaged(size) from error
    return _whole(content, decompressor.eof and not decompressor.unused_data, size)


def _whole(content: bytes, ended: bool, size: int) -> bytes:
    if len(content) != size or not ended:
        raise _damaged(size)
    return content


def _damaged(size: int) -> FormatError:
    return FormatError(f"a payload does not decompress to {size} bytes", "download it again")


def _add(base: bytes, difference: bytes, size: int) -> bytes:
    old = np.zeros(size, np.uint8)
    shared = min(size, len(base))
    old[:shared] = np.frombuffer(base, np.uint8, shared)
    return (old + np.frombuffer(difference, np.uint8)).tobytes()
