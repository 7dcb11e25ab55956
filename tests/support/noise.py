"""Yardsticks for noise: its exact distribution, a goodness-of-fit test, and what neighbours give away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from scipy.stats import chi2

LEAST_EXPECTED = 10.0


def pmf(value: int, rate: Fraction) -> float:
    """Probability of ``value`` under the discrete Laplace distribution: (1 − p) / (1 + p) · p^|k|, p = exp(−rate)."""
    p = math.exp(-float(rate))
    return (1 - p) / (1 + p) * p ** abs(value)


def chi_square_p(draws: Sequence[int], rate: Fraction) -> float:
    """How likely a fit as bad as that of ``draws`` is, if they are what they should be (Pearson's test).

    Values in the tails share a cell on each side, where at least `LEAST_EXPECTED` draws are expected.
    """
    edge = 0
    tail = 0.5
    while (tail := (1 - sum(pmf(k, rate) for k in range(-edge, edge + 1))) / 2) * len(draws) > 4 * LEAST_EXPECTED:
        edge += max(1, int(1 / float(rate) / 8))
    seen = Counter(max(-edge - 1, min(edge + 1, draw)) for draw in draws)
    width = max(1, int(1 / float(rate) / 4))
    cells: dict[int, list[float]] = {}
    for value in range(-edge - 1, edge + 2):
        outside = abs(value) > edge
        cell = cells.setdefault(value * 10**6 if outside else value // width, [0.0, 0.0])
        cell[0] += seen[value]
        cell[1] += len(draws) * (tail if outside else pmf(value, rate))
    statistic = sum((observed - expected) ** 2 / expected for observed, expected in cells.values())
    return float(chi2.sf(statistic, len(cells) - 1))


def privacy_loss(first: Sequence[int], second: Sequence[int], *, least: int = 200) -> tuple[float, float]:
    """The largest log-ratio between how often an outcome came from two neighbours, and the half width of its interval.

    Args:
        first: Released values with one neighbour.
        second: With the other; as many.
        least: Outcomes that came less often from both together are left out; each interval holds with 99.99 %, so that
            all of some hundred hold at once.
    """
    counts = Counter(first), Counter(second)
    worst, width = 0.0, 0.0
    for value in counts[0] | counts[1]:
        one, other = counts[0][value], counts[1][value]
        if one + other < least:
            continue
        if one and other:
            ratio, half = abs(math.log(one / other)), 3.89 * math.sqrt(1 / one + 1 / other)
        else:  # what never came is expected 9.2 times at most, by the same confidence
            ratio, half = math.log((one + other) / 9.2), 0.0
        if ratio - half > worst - width:
            worst, width = ratio, half
    return worst, width
