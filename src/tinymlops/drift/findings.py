"""What is found of each feature of a group: whether it moved, how far, and whether it lasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.drift.evidence import FeatureEvidence, GroupEvidence, Rules
from tinymlops.drift.statistics import Shift, Tally, direction_of, shift_of
from tinymlops.drift.values import FeatureFinding, Level


@dataclass(frozen=True)
class Judged:
    """One feature, its finding and what follows from it.

    Attributes:
        finding: For people and records.
        level: Of this feature by itself.
        lasts: Whether it stays with the strongest slices left out.
    """

    finding: FeatureFinding
    level: Level
    lasts: bool


def judge(evidence: GroupEvidence, rules: Rules) -> tuple[Judged, ...]:
    """Every feature that noise lets one see, those to blame first; features of fewer than k devices are left out."""
    shown = [one for one in evidence.features if one.devices >= rules.k]
    tallies = [(one, tally_of(one)) for one in shown]
    tested = [(one, tally, shift) for one, tally in tallies if (shift := _shift(tally, rules)) is not None]
    adjusted = holm(np.array([shift.p_value for _, _, shift in tested]))
    judged = [_judged(*one, float(p), rules) for one, p in zip(tested, adjusted, strict=True)]
    return tuple(sorted(judged, key=_blame))


def tally_of(evidence: FeatureEvidence) -> Tally:
    """The counts beside a reference in which nothing is impossible.

    Half a row is added to each bin of a reference whose rows are known (Krichevsky and Trofimov 1981): what was never
    seen in 300 rows may be seen in 10,000.
    """
    feature = evidence.feature
    shares, bins = np.asarray(feature.reference, np.float64), len(feature.reference)
    rows = float(feature.rows) if feature.rows else float("inf")
    if feature.rows:
        shares = (shares * rows + 0.5) / (rows + 0.5 * bins)
    return Tally(
        counts=evidence.counts,
        variance=np.repeat(evidence.variance[:, None], bins, axis=1),
        reference=shares / shares.sum(),
        reference_rows=rows,
        scatter=evidence.scatter,
        devices=evidence.devices,
    )


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values corrected for how many there are (Holm 1979, Scandinavian Journal of Statistics 6).

    Args:
        p_values: Shape (n,).
    """
    order = np.argsort(p_values)
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def _shift(tally: Tally, rules: Rules) -> Shift | None:
    return shift_of(tally) if tally.rows >= rules.least_queries else None


def _judged(evidence: FeatureEvidence, tally: Tally, shift: Shift, adjusted: float, rules: Rules) -> Judged:
    level, lasts = Level.NONE, False
    if adjusted <= rules.alpha and shift.effect >= rules.watch:
        lasts = _lasts(tally, rules)
        level = Level.DRIFT if lasts and shift.effect >= rules.effect else Level.WATCH
    feature = evidence.feature
    finding = FeatureFinding(
        feature=feature.name,
        kind=str(feature.kind),
        p_value=shift.p_value,
        adjusted=adjusted,
        effect=shift.effect,
        counts=tuple(tally.total.tolist()),
        expected=tuple((tally.reference * tally.rows).tolist()),
        edges=feature.edges,
    )
    return Judged(finding, level, lasts)


def _lasts(tally: Tally, rules: Rules) -> bool:
    if len(tally.counts) <= rules.spikes + 1:
        return False
    strongest = np.argsort(direction_of(tally))[len(tally.counts) - rules.spikes :]
    rest = shift_of(tally.without(strongest))
    return rest is not None and rest.p_value <= rules.alpha and rest.effect >= rules.watch


def _blame(judged: Judged) -> tuple[int, float]:
    return [Level.DRIFT, Level.WATCH, Level.NONE].index(judged.level), -judged.finding.effect
