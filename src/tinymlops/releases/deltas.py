"""The smallest payload that gives a device its next model: every encoding is tried, the shortest is taken.

What wins depends on what changed (`bench/releases.py`, docs/releases.md): where only the last layer was learned anew,
matches into the old model; where every weight moved a little, the byte-wise difference.
"""

from __future__ import annotations

import lzma

import numpy as np
from backports import zstd

from tinymlops.wire.deltas import Encoding, lzma2_filter, window_log

_LEVEL = 22
"""The highest: a payload is made once and downloaded by every device."""
_WORTHWHILE = 0.9
_LEAST_PREFIX_BYTES = 8
"""zstd takes no shorter one."""
_LZMA_BITS = ((0, 0), (2, 0), (2, 2))
"""Bits of the position by which LZMA tells bytes apart (lp, pb). Two: of scales and biases, which have four bytes."""


def smallest(old: bytes | None, new: bytes) -> tuple[Encoding, bytes]:
    """How ``new`` is best sent to a device that has ``old``, and the payload; `tinymlops.wire.deltas` applies it.

    A difference that saves less than a tenth of the whole is not worth a package of its own.
    """
    found = candidates(old, new)
    best = min(found, key=lambda encoding: len(found[encoding]))
    chosen = best if len(found[best]) <= _WORTHWHILE * len(found[Encoding.ZSTD]) else Encoding.ZSTD
    return chosen, found[chosen]


def candidates(old: bytes | None, new: bytes) -> dict[Encoding, bytes]:
    """A payload in every encoding that is possible; the simplest first, so that it wins a tie."""
    found = {Encoding.ZSTD: _compress(new)}
    if old:
        difference = _difference(old, new)
        found[Encoding.SUBTRACT_ZSTD] = _compress(difference)
        found[Encoding.SUBTRACT_LZMA2] = min((_lzma2(difference, *bits) for bits in _LZMA_BITS), key=len)
    if old and len(old) >= _LEAST_PREFIX_BYTES:
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
    window = window_log(len(content) + len(prefix or b""))
    options = {int(parameter.compression_level): _LEVEL, int(parameter.window_log): window}
    dictionary = zstd.ZstdDict(prefix, is_raw=True).as_prefix if prefix else None
    return zstd.compress(content, options=options, zstd_dict=dictionary)


def _lzma2(content: bytes, position_bits: int, state_bits: int) -> bytes:
    options = {"preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": position_bits, "pb": state_bits}
    return lzma.compress(content, lzma.FORMAT_RAW, filters=[lzma2_filter(len(content), **options)])
