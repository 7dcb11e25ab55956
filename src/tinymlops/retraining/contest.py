"""Challenger against champion: how much better, how sure that is, and whether it is enough to promote.

Both models answer the same rows, so their difference is taken row by row. Rows of one device, or of one day, resemble
each other: whole blocks of them are drawn anew, never single rows (Davison and Hinkley 1997, *Bootstrap Methods and
their Application*, §3.8).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tinymlops.errors import UsageError
from tinymlops.retraining.values import Comparison
from tinymlops.workloads.renewal import HELD_OUT, RECENT

__all__ = ["HELD_OUT", "RECENT", "Decision", "Rules", "compare", "decide"]

CONFIDENCE = 0.95
DRAWS = 2000
FEWEST_BLOCKS = 5
"""Below that no bootstrap tells an interval: of five values, 1 draw in 3,125 is all the smallest."""
_MOST_BLOCKS = 1000
"""More are thrown together by chance: it leaves the spread as it is, and bounds the work."""
_TIE = 1e-9
"""Of the draws' spread: what differs by less is equal, but for rounding."""
_NORMAL = NormalDist()

Floats = NDArray[np.float64]
RowScores = Sequence[float] | NDArray[np.floating[Any]]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a challenger has to do to be promoted.

    Attributes:
        harm: How much worse than the champion it may be on any rows, in the metric's unit; more, if it is certain
            that it is worse at all, is a veto.
        better: Rows on which it has to be better for certain.
        fewest_rows: That those must be.
        fewest_blocks: That those must fall into.
    """

    harm: float
    better: tuple[str, ...] = (HELD_OUT, RECENT)
    fewest_rows: int = 100
    fewest_blocks: int = 8


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to promote.

    Attributes:
        promote: Or keep the champion.
        reason: One sentence for people, without its full stop.
    """

    promote: bool
    reason: str


def compare(
    rows: str,
    champion: RowScores,
    challenger: RowScores,
    blocks: Sequence[object] | NDArray[np.generic],
    *,
    seed: int,
    higher_is_better: bool = False,
) -> Comparison:
    """Compare two models on the same rows.

    The interval of the mean gain is the BCa bootstrap's (Efron 1987, *Better bootstrap confidence intervals*), since
    the plain percentiles of skewed errors lie too far to one side; its percentiles are expanded for few blocks
    (Hesterberg 2015, *What teachers should know about the bootstrap*, §5.2), without which five to fifteen blocks
    give intervals that miss twice as often as they say. With fewer than `FEWEST_BLOCKS` blocks it reaches from the
    smallest to the largest difference of any row: nothing is known of other devices then.

    Args:
        rows: What they are, for people and for `decide`.
        champion: Loss of each row, such as its absolute error; or a score, such as 1 where the answer was right.
        challenger: Likewise, of the same rows in the same order.
        blocks: What each row belongs to: a device, a person, a day.
        seed: Of the draws.
        higher_is_better: True for scores.

    Raises:
        UsageError: There are no rows, they are not of equal number, or one of them is not finite.
    """
    one, other = np.asarray(champion, np.float64), np.asarray(challenger, np.float64)
    _refuse_unequal(rows, one, other, len(blocks))
    gains = other - one if higher_is_better else one - other
    sums, sizes = _by_block(gains, np.asarray(blocks))
    found = len(sums)
    low, high = _interval(*_pooled(sums, sizes, seed), seed) if found >= FEWEST_BLOCKS else (gains.min(), gains.max())
    return Comparison(
        rows=rows,
        count=len(gains),
        champion=float(one.mean()),
        challenger=float(other.mean()),
        gain=float(gains.mean()),
        low=float(low),
        high=float(high),
        blocks=found,
    )


def decide(comparisons: Iterable[Comparison], rules: Rules) -> Decision:
    """Promote a challenger that is better for certain where it counts, and harms nobody.

    Both tests of "better" must hold, so neither is made stricter for there being two (Berger 1982, intersection–union
    tests). A group is a veto if its loss is both certain (the interval lies below 0) and larger than the bound.
    """
    known = {one.rows: one for one in comparisons}
    reasons = [*_not_better(known, rules), *_harmed(known.values(), rules)]
    if reasons:
        return Decision(promote=False, reason="; ".join(reasons))
    told = " and ".join(f"by {_figure(known[name])} on {name} rows" for name in rules.better)
    return Decision(promote=True, reason=f"the challenger is better {told}, and no group is harmed")


def _not_better(known: dict[str, Comparison], rules: Rules) -> Iterable[str]:
    for name in rules.better:
        one = known.get(name)
        if one is None:
            yield f"there are no {name} rows to compare on"
        elif one.count < rules.fewest_rows or one.blocks < rules.fewest_blocks:
            yield (
                f"{one.count:,} {name} rows in {one.blocks:,} blocks are too few to tell "
                f"({rules.fewest_rows:,} in {rules.fewest_blocks:,} are needed)"
            )
        elif one.low <= 0:
            yield f"on {name} rows the gain of {_figure(one)} is not certain"


def _harmed(comparisons: Iterable[Comparison], rules: Rules) -> Iterable[str]:
    for one in comparisons:
        if one.high < 0 and one.gain < -rules.harm:
            yield f"on {one.rows} rows the challenger loses {_figure(one, -1)}, more than the {rules.harm:g} allowed"


def _figure(one: Comparison, sign: int = 1) -> str:
    low, high = sorted((sign * one.low, sign * one.high))
    return f"{sign * one.gain:.3g} ({low:.3g} to {high:.3g})"


def _refuse_unequal(rows: str, one: Floats, other: Floats, blocks: int) -> None:
    if not len(one) or not one.shape == other.shape == (blocks,):
        raise UsageError(
            f"{one.shape}, {other.shape} and {blocks} scores and blocks of {rows} rows do not fit together",
            "give one of each for every row, and at least one row",
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise UsageError(f"a score on {rows} rows is not finite", "leave models out whose outputs are not numbers")


def _by_block(gains: Floats, blocks: NDArray[np.generic]) -> tuple[Floats, Floats]:
    _, inverse = np.unique(blocks, return_inverse=True)
    return _sums(inverse, gains), _sums(inverse, np.ones(len(gains)))


def _pooled(sums: Floats, sizes: Floats, seed: int) -> tuple[Floats, Floats]:
    if len(sums) <= _MOST_BLOCKS:
        return sums, sizes
    place = np.random.default_rng((seed, 1)).permutation(len(sums)) % _MOST_BLOCKS
    return _sums(place, sums), _sums(place, sizes)


def _sums(place: NDArray[np.int64], values: Floats) -> Floats:
    return np.bincount(place, weights=values).astype(np.float64)


def _interval(sums: Floats, sizes: Floats, seed: int) -> tuple[float, float]:
    """BCa interval of Σ sums / Σ sizes over blocks, at expanded percentiles."""
    blocks, mean = len(sums), sums.sum() / sizes.sum()
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS).astype(np.float64)
    means = (drawn @ sums) / (drawn @ sizes)
    spread = float(np.ptp(means))
    if spread <= 1e-12 * np.abs(means).max(initial=0.0):
        return float(mean), float(mean)
    bias = _NORMAL.inv_cdf(_inside(_share_below(means, float(mean), _TIE * spread)))
    acceleration = _acceleration((sums.sum() - sums) / (sizes.sum() - sizes))
    low, high = (_percentile(sign * _expanded(blocks), bias, acceleration) for sign in (-1, 1))
    return float(np.quantile(means, low)), float(np.quantile(means, high))


def _share_below(means: Floats, mean: float, tie: float) -> float:
    """Share of the draws below ``mean``, half of the ties included.

    With few blocks many draws are the sample itself; the last bits of their sums, which depend on the order of rows,
    must not decide on which side they fall.
    """
    below, above = np.mean(means < mean - tie), np.mean(means > mean + tie)
    return float(below + (1 - below - above) / 2)


def _inside(fraction: float) -> float:
    return min(max(fraction, 1 / DRAWS), 1 - 1 / DRAWS)


def _acceleration(without: Floats) -> float:
    """Skewness of the jackknife's values over 6 (Efron 1987, eq. 7.3)."""
    away = without.mean() - without
    scale = float(np.sum(away**2)) ** 1.5
    return float(np.sum(away**3)) / (6 * scale) if scale > 0 else 0.0


def _expanded(blocks: int) -> float:
    """Normal quantile at which percentiles are taken: √(n / (n − 1)) · t (Hesterberg 2015, §5.2)."""
    from scipy.stats import t

    return math.sqrt(blocks / (blocks - 1)) * float(t.ppf(0.5 + CONFIDENCE / 2, blocks - 1))


def _percentile(quantile: float, bias: float, acceleration: float) -> float:
    """Where the normal ``quantile`` falls among the draws (Efron 1987, eq. 2.3)."""
    shifted = bias + quantile
    away = 1 - acceleration * shifted
    if away <= 0:  # more skewed than the correction reaches: take the outermost draw
        return float(shifted > 0)
    return _NORMAL.cdf(bias + shifted / away)
