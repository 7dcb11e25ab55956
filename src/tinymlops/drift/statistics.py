"""The noise-aware test of one feature, and how far it moved.

Counts of n bins over N rows, noise of variance v on each bin, are compared with a reference p. The residual
r = C - (sum of C) * p adds up to 0, so one bin says nothing and is left out; N need not be known, which keeps rows
without a value from looking like a shift. Without a shift r has the covariance

    J (N diag(p) + v I) J' + N^2 (diag(p) - p p') / m,    J = I - p 1',

for a reference that was counted on m rows, and r' (covariance)^-1 r is chi-squared with n - 1 degrees of freedom.

Source: Gaboardi et al. 2016, "Differentially private chi-squared hypothesis testing", ICML (noise in the covariance);
Rao and Scott 1981, Thomas and Rao 1987, JASA (devices and days that differ by more than chance).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_EXPECTED = 5.0
"""Rows that a bin is expected to have at least, else it is joined with a neighbour (Cochran 1954, Biometrics 10)."""
LEAST_SIGNAL = 4.0
"""Standard deviations of its noise that a bin is expected to stand above, else likewise."""
_CLEAR = 3.0
"""Standard deviations of its noise that a sum must lie above 0 to be the size of anything."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Counts of one feature over slices of time beside their reference.

    Attributes:
        counts: Shape (slices, bins).
        variance: Shape (slices, bins): of the noise on each bin.
        reference: Shape (bins,), adds up to 1.
        reference_rows: That it was counted on; infinite where it is exact.
        scatter: Shape (bins, bins): how devices differ (`tinymlops.drift.scatter_of`), or None.
        devices: Behind ``scatter``.
    """

    counts: Floats
    variance: Floats
    reference: Floats
    reference_rows: float = float("inf")
    scatter: Floats | None = None
    devices: int = 0

    @cached_property
    def total(self) -> Floats:
        """Shape (bins,): over all slices."""
        total: Floats = self.counts.sum(axis=0)
        return total

    @cached_property
    def noise(self) -> Floats:
        """Shape (bins,): variance of the noise, over all slices."""
        noise: Floats = self.variance.sum(axis=0)
        return noise

    @property
    def rows(self) -> float:
        """How many rows were counted, as far as the noise lets one see."""
        return float(self.total.sum())

    @property
    def clear(self) -> bool:
        """Whether there are more rows than noise could feign."""
        return self.rows > _CLEAR * float(np.sqrt(self.noise.sum())) and self.rows > 0

    def without(self, slices: NDArray[np.intp]) -> Tally:
        """The same with some slices left out; how devices differ is taken to be alike in all of them."""
        kept = np.delete(np.arange(len(self.counts)), slices)
        share = float(self.counts[kept].sum()) / max(self.rows, 1.0)
        scatter = None if self.scatter is None else self.scatter * max(share, 0.0)
        return replace(self, counts=self.counts[kept], variance=self.variance[kept], scatter=scatter)

    def joined(self) -> Tally:
        """Neighbouring bins joined until each is expected to hold enough to stand out of chance and noise."""
        into = _places(self.reference * self.rows, self.noise)
        joining = np.eye(into[-1] + 1)[into]
        return replace(
            self,
            counts=self.counts @ joining,
            variance=self.variance @ joining,
            reference=self.reference @ joining,
            scatter=None if self.scatter is None else joining.T @ self.scatter @ joining,
        )


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What the test says.

    Attributes:
        p_value: Chance of such counts without a shift.
        effect: Population stability index less what noise and chance put in; never below 0.
    """

    p_value: float
    effect: float


def shift_of(tally: Tally) -> Shift | None:
    """Test whether the counts differ from the reference, and tell how much; None if noise hides the counts.

    The largest of up to three p-values counts: against chance and noise; against how devices differ; against how the
    slices of time differ. What rests on few devices or on few days is no shift of the fleet.
    """
    if not tally.clear:
        return None
    joined = tally.joined()
    if len(joined.reference) < 2:
        return None
    own, all_of_it = _covariances(joined)
    residual = _residual(joined.total, joined.reference)[:-1]
    distance = float(residual @ np.linalg.solve(all_of_it, residual))
    robust = (_robust(distance, own, *one) for one in _spreads(joined))
    return Shift(p_value=max(_chi_squared(distance, len(residual)), *robust, 0.0), effect=_effect(joined))


def direction_of(tally: Tally) -> Floats:
    """How strongly each slice pulls towards the shift of all of them, shape (slices,)."""
    joined = tally.joined()
    if len(joined.reference) < 2:
        return np.zeros(len(tally.counts))
    towards = np.linalg.solve(_covariances(joined)[1], _residual(joined.total, joined.reference)[:-1])
    pulls: Floats = _residual(joined.counts, joined.reference)[:, :-1] @ towards
    return pulls


def _places(expected: Floats, noise: Floats) -> NDArray[np.intp]:
    """Which joined bin each bin goes to, shape (bins,); what is left at the end goes to the last one."""
    places, place, held, hidden = [], 0, 0.0, 0.0
    for rows, variance in zip(expected, noise, strict=True):
        places.append(place)
        held, hidden = held + rows, hidden + variance
        if held >= max(LEAST_EXPECTED, LEAST_SIGNAL * float(np.sqrt(hidden))):
            place, held, hidden = place + 1, 0.0, 0.0
    last = max(place - 1, 0)
    return np.minimum(np.asarray(places, np.intp), last)


def _residual(counts: Floats, reference: Floats) -> Floats:
    difference: Floats = counts - counts.sum(axis=-1, keepdims=True) * reference
    return difference


def _covariances(tally: Tally) -> tuple[Floats, Floats]:
    """Of the residual without its last bin: by chance and noise, and with the reference's own uncertainty."""
    p, rows = tally.reference, tally.rows
    centre = np.eye(len(p)) - p[:, None]
    own = centre @ np.diag(rows * p + tally.noise) @ centre.T
    both = own + rows**2 / tally.reference_rows * (np.diag(p) - np.outer(p, p))
    return own[:-1, :-1], both[:-1, :-1]


def _spreads(tally: Tally) -> list[tuple[Floats, int]]:
    """Covariances seen between devices and between slices, each with how many of them there were."""
    found = []
    if tally.scatter is not None and tally.devices > 1:
        found.append((tally.scatter, tally.devices))
    slices = len(tally.counts)
    if slices > 2:
        away = _residual(tally.counts, tally.total / tally.rows)
        found.append((away.T @ away * (slices / (slices - 1)), slices))
    return found


def _chi_squared(distance: float, freedom: float) -> float:
    from scipy.stats import chi2

    return float(chi2.sf(distance, freedom))


def _robust(distance: float, covariance: Floats, spread: Floats, count: int) -> float:
    """p-value where ``count`` devices or slices were seen to spread by ``spread`` (second-order Rao-Scott, as F).

    The squared trace is cleared of what few of them add to it by chance (Wishart's second moment).
    """
    from scipy.stats import f

    design = np.linalg.solve(covariance, spread[:-1, :-1])
    trace, few = float(np.trace(design)), count - 1
    if trace <= 0:
        return 0.0
    squared = (float(np.sum(design * design.T)) - trace**2 / few) / (1 + 1 / few)
    freedom = trace**2 / max(squared, trace**2 / len(covariance))
    return float(f.sf(distance / trace, max(freedom, 1.0), max(freedom, 1.0) * few))


def variance_of_shares(tally: Tally) -> float:
    """Sum over bins of the variance of each one's share: of chance and noise, or as devices or slices were seen to."""
    spreads = [float(np.trace(spread)) for spread, _ in _spreads(tally)]
    return max(float(_own_variances(tally).sum()), *spreads, 0.0) / tally.rows**2


def excess_between_slices(tally: Tally) -> float:
    """Sum over bins of the variance of one slice's shares, beyond chance and noise; 0 for a single slice."""
    rows, p = tally.counts.sum(axis=1), tally.total / tally.rows
    if len(rows) < 2 or (rows <= 0).any():
        return 0.0
    seen = float(np.sum((_residual(tally.counts, p) / rows[:, None]) ** 2)) / (len(rows) - 1)
    slices = [
        replace(tally, counts=tally.counts[i : i + 1], variance=tally.variance[i : i + 1], reference=p)
        for i in range(len(rows))
    ]
    own = [float(_own_variances(one).sum()) / one.rows**2 for one in slices]
    return max(seen - float(np.mean(own)), 0.0)


def _effect(tally: Tally) -> float:
    """Population stability index, less its bias: half the second derivative times the variance, bin by bin."""
    p, rows, own = tally.reference, tally.rows, _own_variances(tally)
    q = np.maximum(simplex(tally.total / rows), 0.5 * LEAST_EXPECTED / rows)
    variance = own * (variance_of_shares(tally) / float(own.sum())) + p * (1 - p) / tally.reference_rows
    index = float(np.sum((q - p) * np.log(q / p)))
    return max(index - float(np.sum(variance / ((p + q) / 2))), 0.0)


def _own_variances(tally: Tally) -> Floats:
    """Of the residual's bins by chance and noise, shape (bins,)."""
    p = tally.reference
    variances: Floats = tally.rows * p * (1 - p) + tally.noise * (1 - 2 * p) + p**2 * tally.noise.sum()
    return variances


def simplex(shares: Floats) -> Floats:
    """The nearest shares that are not negative and add up to 1 (Duchi et al. 2008, ICML, figure 1).

    Args:
        shares: Shape (bins,).
    """
    falling = np.sort(shares)[::-1]
    surplus = (np.cumsum(falling) - 1) / np.arange(1, len(shares) + 1)
    last = int(np.nonzero(falling > surplus)[0][-1])
    nearest: Floats = np.maximum(shares - surplus[last], 0.0)
    return nearest
