"""The span of time that a look is about, and the slices that tell whether something lasts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tinymlops.errors import UsageError

DAY_S = 86_400.0
WINDOWS_A_DAY = 4
"""That devices send unless told otherwise: a slice shorter than a window would often be empty."""
MOST_OF_A_DAY = 7
"""Slices of a span of a week or less; longer ones have one a day."""
LOOK_BACK_S = 28 * DAY_S
"""Before the span: who sent nothing for so long is neither new nor missed."""
_SHORTEST_DAYS = 1.0


@dataclass(frozen=True)
class Span:
    """From just after ``began_s`` to ``ended_s``, in ``slices`` of the same length; seconds since 1970."""

    began_s: float
    ended_s: float
    slices: int

    def parts(self) -> Iterator[tuple[float, float]]:
        """Beginning and end of each slice, oldest first."""
        edges = [self.began_s + number * (self.ended_s - self.began_s) / self.slices for number in range(self.slices)]
        yield from zip(edges, [*edges[1:], self.ended_s], strict=True)


def span_of(days: float, ended_s: float) -> Span:
    """The last ``days`` before ``ended_s``.

    Raises:
        UsageError: It is shorter than a day.
    """
    if not days >= _SHORTEST_DAYS:
        raise UsageError(f"{days:g} days are too few to tell whether anything lasts", "look at a day at least")
    slices = max(math.floor(days), min(math.floor(WINDOWS_A_DAY * days), MOST_OF_A_DAY))
    return Span(ended_s - days * DAY_S, ended_s, slices)
