"""Damage to a real file."""

from __future__ import annotations

import random
import struct

from tests.unit.codegen.networks import two_ends

WORDS = [0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7F800000]
REAL = two_ends()


def mutated(generator: random.Random) -> bytes:
    """A real file with bytes changed, a length or offset changed, a piece cut out, or its tail missing."""
    content = bytearray(REAL)
    kind = generator.randrange(4)
    if kind == 0:
        for _ in range(generator.randrange(1, 8)):
            content[generator.randrange(8, len(content))] = generator.randrange(256)
    elif kind == 1:
        at = 4 * generator.randrange(2, len(content) // 4 - 1)
        content[at : at + 4] = struct.pack("<I", generator.choice([*WORDS, generator.randrange(2**16)]))
    elif kind == 2:
        at = generator.randrange(8, len(content))
        del content[at : at + generator.randrange(1, 64)]
    else:
        del content[generator.randrange(8, len(content)) :]
    return bytes(content)
