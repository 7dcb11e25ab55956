"""Static memory plan: which bytes of one arena each buffer uses while it is alive.

Greedy placement in order of size (Pisarchyk & Lee, arXiv 2001.03288, section 5) comes within the lower bound for most
networks; where it does not, swaps of the order are tried, in a fixed sequence, until the bound is met.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 4
"""Kernels keep 32-bit values in their working memory."""
_TRIES = 300
_MAX_BUFFERS = 120
"""Above this many buffers the order of size must do: a try costs the square of them."""


@dataclass(frozen=True)
class Buffer:
    """Something that needs memory for a while.

    Attributes:
        name: For people.
        size: Bytes.
        first: Step at which it is first written.
        last: Step at which it is last read.
    """

    name: str
    size: int
    first: int
    last: int

    @property
    def padded(self) -> int:
        """Bytes up to the next aligned address."""
        return -(-self.size // ALIGNMENT) * ALIGNMENT

    def meets(self, other: Buffer) -> bool:
        """True where both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Where every buffer lies.

    Attributes:
        offsets: One for each buffer, in the order they were given.
        size: Bytes of the arena.
        bound: Most bytes that are alive at one step: no plan is smaller.
    """

    offsets: tuple[int, ...]
    size: int
    bound: int


def plan(buffers: Sequence[Buffer]) -> Plan:
    """Place ``buffers`` so that no two that are alive together overlap. The same buffers give the same plan."""
    bound = max((_alive(buffers, step) for step in {buffer.first for buffer in buffers}), default=0)
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].padded, buffers[i].first, i))
    best = _place(buffers, order, bound)
    generator = random.Random(0)  # noqa: S311 - a fixed sequence of swaps, no secret
    tries = _TRIES if 2 < len(buffers) <= _MAX_BUFFERS else 0
    for _ in range(tries):
        if best.size == bound:
            break
        swapped = order.copy()
        i, j = generator.sample(range(len(order)), 2)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        found = _place(buffers, swapped, bound)
        if found.size <= best.size:
            order, best = swapped, found
    return best


def _alive(buffers: Sequence[Buffer], step: int) -> int:
    return sum(buffer.padded for buffer in buffers if buffer.first <= step <= buffer.last)


def _place(buffers: Sequence[Buffer], order: Sequence[int], bound: int) -> Plan:
    """Each buffer in turn at the lowest place that is free over its whole life."""
    offsets: dict[int, int] = {}
    for index in order:
        taken = sorted(
            (offset, offset + buffers[other].padded)
            for other, offset in offsets.items()
            if buffers[other].meets(buffers[index])
        )
        place = 0
        for start, end in taken:
            if start - place >= buffers[index].padded:
                break
            place = max(place, end)
        offsets[index] = place
    size = max((offset + buffers[index].padded for index, offset in offsets.items()), default=0)
    return Plan(tuple(offsets[index] for index in range(len(buffers))), size, bound)
