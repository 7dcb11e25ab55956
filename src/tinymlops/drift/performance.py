"""How good the model is in the field: from truths that came later, or without any.

With labels it is read off the histogram of errors. Without them, a classifier's accuracy is estimated by the
*difference of confidences*: what it had when it was judged, plus how much its mean confidence changed since (Guillory
et al. 2021, "Predicting with confidence on unseen distributions", ICCV). That holds while confidences stay calibrated:
when inputs move. When the same inputs begin to mean something else, no estimate without labels can know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.drift.evidence import FeatureEvidence, GroupEvidence, Rules
from tinymlops.drift.findings import tally_of
from tinymlops.drift.statistics import Tally
from tinymlops.wire.observations import FeatureKind

_WIDTH = 1.96
"""Standard deviations on each side of a 95 % interval."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Performance:
    """In the workload's metric.

    Attributes:
        value: Of the window.
        low: Of its 95 % interval: chance, noise, and how devices differ.
        high: Likewise.
        reference: What the release had when it was judged.
        labelled: Whether it rests on truths; else on confidences.
    """

    value: float
    low: float
    high: float
    reference: float
    labelled: bool


def performance_of(evidence: GroupEvidence, rules: Rules) -> Performance | None:
    """From labels if there are enough, else from a classifier's confidences, else None."""
    by_kind = {one.feature.kind: one for one in reversed(evidence.features) if one.devices >= rules.k}
    errors = by_kind.get(FeatureKind.ERROR)
    if errors is not None and _enough(tally := tally_of(errors), rules):
        worth = _worth(errors, evidence.classifies)
        return _performance(tally, worth, evidence, labelled=True)
    confidences = by_kind.get(FeatureKind.CONFIDENCE)
    if evidence.classifies and confidences is not None and _enough(tally := tally_of(confidences), rules):
        return _performance(tally, _middles(confidences, 0.0, 1.0), evidence, labelled=False)
    return None


def _enough(tally: Tally, rules: Rules) -> bool:
    return tally.clear and tally.rows >= rules.least_queries


def _performance(tally: Tally, worth: Floats, evidence: GroupEvidence, *, labelled: bool) -> Performance:
    """Mean of ``worth`` over the rows, less what it is off by on the reference: bins are wide, confidences inexact."""
    seen, expected = float(tally.total @ worth) / tally.rows, float(tally.reference @ worth)
    reference = expected if evidence.score is None else evidence.score
    exact = labelled and evidence.classifies
    value = seen if exact else seen + reference - expected
    width = _WIDTH * _deviation(tally, worth - seen)
    least, most = 0.0, 1.0 if evidence.classifies else float("inf")
    return Performance(
        value=min(max(value, least), most),
        low=max(value - width, least),
        high=min(value + width, most),
        reference=reference,
        labelled=labelled,
    )


def _deviation(tally: Tally, worth: Floats) -> float:
    """Standard error of the mean: of chance and noise, or of how devices differ if that is more."""
    shares = np.maximum(tally.total, 0.0)
    own = float(shares @ worth**2 + tally.noise @ worth**2)
    between = 0.0 if tally.scatter is None else float(worth @ tally.scatter @ worth)
    return float(np.sqrt(max(own, between))) / tally.rows


def _worth(errors: FeatureEvidence, classifies: bool) -> Floats:
    """What one row of each bin adds to the metric: 1 for a right class, or the absolute error."""
    if classifies:
        right: Floats = (np.arange(len(errors.feature.reference)) == 0).astype(np.float64)
        return right
    return np.abs(_middles(errors, -np.inf, np.inf))


def _middles(evidence: FeatureEvidence, lowest: float, highest: float) -> Floats:
    """Middle of each bin; the open ones at the ends are taken to be as wide as their neighbours."""
    edges = np.asarray(evidence.feature.edges, np.float64)
    first, last = (edges[1] - edges[0], edges[-1] - edges[-2]) if len(edges) > 1 else (1.0, 1.0)
    ends = np.concatenate([[max(edges[0] - first, lowest)], edges, [min(edges[-1] + last, highest)]])
    middles: Floats = (ends[:-1] + ends[1:]) / 2
    return middles
