"""The smallest payload that gives a device its next model: every encoding is tried, the shortest is taken.

What wins depends on what changed (`bench/releases.py`, docs/releases.md): where only the last layer was learned anew,
matches into the old model; where every weight moved a little, the byte-wise difference.
"""

from __future__ import annotations

import numpy as np
from backports import zstd

from tinymlops.wire.deltas import Encoding

_LEVEL = 22
"""The highest: a payload is made once and downloaded by every device."""


def smallest(old: bytes | None, new: bytes) -> tuple[Encoding, bytes]:
    """How ``new`` is best sent to a device that has ``old``, and the payload; `tinymlops.wire.deltas` applies it."""
    return min(candidates(old, new).items(), key=lambda candidate: len(candidate[1]))


def candidates(old: bytes | None, new: bytes) -> dict[Encoding, bytes]:
    """A payload in every encoding that is possible; the simplest first, so that it wins a tie."""
    found = {Encoding.ZSTD: _compress(new)}
    if old:
        found[Encoding.SUBTRACT_ZSTD] = _compress(_difference(old, new))
        found[Encoding.PATCH_ZSTD] = _compress(new, prefix=old)
    return found


def _difference(old: bytes, new: bytes) -> bytes:
    """(new − old) mod 256; what ``new`` is longer by is left as it is."""
    base = np.zeros(len(new), np.uint8)
    shared = min(len(old), len(new))
    base[:shared] = np.frombuffer(old, np.uint8, shared)
    return (np.frombuffer(new, np.uint8) - base).tobytes()


def _compress(content: bytes, prefix: bytes | None = None) -> bytes:
    parameter = zstd.CompressionParameter
    reach = len(content) + len(prefix or b"")
    window_log = max(10, min(27, reach.bit_length()))
    options = {int(parameter.compression_level): _LEVEL, int(parameter.window_log): window_log}
    dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    return zstd.compress(content, options=options, zstd_dict=dictionary)
