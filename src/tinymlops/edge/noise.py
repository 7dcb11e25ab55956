"""Noise that hides one query in a histogram: discrete Laplace, drawn exactly, by integers alone.

Algorithms 1 and 2 of Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy", NeurIPS.
Floating point has no place here: what it rounds can give away what the noise was added to (Mironov 2012).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from fractions import Fraction

from tinymlops.errors import UsageError
from tinymlops.wire.observations import SENSITIVITY

MICRO = 1_000_000
"""Privacy is counted in millionths of ε, so that budgets add up exactly."""

Below = Callable[[int], int]
"""Draws a whole number from 0 up to, and without, the one given; all equally likely."""


def noisy(counts: Iterable[int], micro_epsilon: int, below: Below = secrets.randbelow) -> tuple[int, ...]:
    """A histogram in which one query can be another without anybody being sure of it.

    Each bin gets noise of its own, P(k) ∝ exp(−|k| · ε / `SENSITIVITY`): ε-differential privacy of the whole histogram
    where its neighbours have one query in another bin.

    Args:
        counts: Of the bins.
        micro_epsilon: ε in millionths, at least 1.
        below: Where chance comes from; the system's unless a simulation draws its own.

    Raises:
        UsageError: ε is not positive.
    """
    if micro_epsilon < 1:
        raise UsageError(f"an epsilon of {micro_epsilon} millionths hides everything", "give at least one")
    rate = Fraction(micro_epsilon, MICRO * SENSITIVITY)
    return tuple(count + discrete_laplace(rate, below) for count in counts)


def discrete_laplace(rate: Fraction, below: Below = secrets.randbelow) -> int:
    """A whole number with P(k) ∝ exp(−|k| · rate), for a positive ``rate``."""
    steps, scale = rate.numerator, rate.denominator
    while True:
        start = below(scale)
        if not happens(start, scale, below):
            continue
        rounds = 0
        while happens(1, 1, below):
            rounds += 1
        size = (start + scale * rounds) // steps
        negative = below(2) == 1
        if size or not negative:  # 0 must not come up twice as often as it should
            return -size if negative else size


def happens(numerator: int, denominator: int, below: Below = secrets.randbelow) -> bool:
    """True with probability exp(−numerator / denominator), for a fraction between 0 and 1."""
    turn = 1
    while below(denominator * turn) < numerator:
        turn += 1
    return turn % 2 == 1
