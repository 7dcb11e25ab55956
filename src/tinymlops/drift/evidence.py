"""What a verdict rests on: summed counts of a group of devices, and the rules to judge them by.

Everything here is a sum over devices; nothing is about one of them. An aggregation makes it (`tinymlops.monitoring`),
`tinymlops.drift.verdict_of` judges it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from tinymlops.errors import FormatError
from tinymlops.wire.observations import Feature

Counts = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureEvidence:
    """The histograms of one feature, summed over devices, slice by slice of time.

    Attributes:
        feature: Name, kind, edges and reference.
        counts: Shape (slices, bins), oldest slice first; the devices' noise included, so that bins can be negative.
        variance: Shape (slices,): of the noise on each bin, summed over the windows of the slice
            (`tinymlops.wire.observations.noise_variance`).
        devices: That counted this feature at all.
        scatter: Shape (bins, bins): how much devices differ from each other (`scatter_of`). Without it devices are
            taken to be alike, and a few odd ones can look like drift.
    """

    feature: Feature
    counts: Counts
    variance: Counts
    devices: int
    scatter: Counts | None = None

    def __post_init__(self) -> None:
        bins = len(self.feature.edges) + 1
        fits = self.counts.ndim == 2 and self.counts.shape[1] == bins == len(self.feature.reference)
        if not fits or self.variance.shape != self.counts.shape[:1]:
            raise FormatError(
                f"the counts of {self.feature.name!r} have shape {self.counts.shape}, their noise"
                f" {self.variance.shape}, and the feature {bins} bins",
                "sum windows of one layout only",
            )


@dataclass(frozen=True, kw_only=True)
class SensorEvidence:
    """Devices whose sensors are not well; their windows are in no count of the evidence (`sensors_of`).

    Attributes:
        missing: Devices with channels that had no values.
        stuck: Devices with channels that did not move.
        silent: Devices that sent windows before the span and none in its second half.
        new: Devices that sent their first window within the span; these do count.
    """

    missing: int = 0
    stuck: int = 0
    silent: int = 0
    new: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupEvidence:
    """What the windows of one group of devices say of one release.

    Attributes:
        workload: Which task.
        release: Its version.
        group: ``"fleet"``, or for example ``"region=north"``.
        began_s: Of the span, seconds since 1970.
        ended_s: Likewise.
        devices: With windows in the span, sound ones only.
        queries: That they answered.
        features: In the manifest's order.
        sensors: Devices left out, and new ones.
        classifies: Whether the model does; its metric is then accuracy, else the mean absolute error.
        score: What the release had in that metric on the rows of the references (validation rows), or None.
    """

    workload: str
    release: int
    group: str
    began_s: float
    ended_s: float
    devices: int
    queries: int
    features: tuple[FeatureEvidence, ...] = ()
    sensors: SensorEvidence = field(default_factory=SensorEvidence)
    classifies: bool = True
    score: float | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to speak of drift.

    Attributes:
        k: Devices that a group must have to be shown at all.
        least_queries: Below it nobody can tell.
        alpha: Chance of a false alarm that one verdict may take, over all of its features (Holm).
        effect: Population stability index, free of noise and chance, from which a shift is worth acting on. 0.1 is
            the usual bound of "moderate" (Siddiqi 2006, *Credit Risk Scorecards*).
        watch: The same, from which it is worth watching, and below which nothing lasts.
        spikes: Slices of time that a shift must do without to count as lasting: with the strongest ones left out, it
            must still be significant and at least ``watch`` large. A span of no more than ``spikes + 1`` slices can't
            show drift, only make one watch.
    """

    k: Annotated[int, Meta(ge=1)] = 20
    least_queries: Annotated[int, Meta(ge=1)] = 500
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.01
    effect: Annotated[float, Meta(gt=0)] = 0.1
    watch: Annotated[float, Meta(gt=0)] = 0.05
    spikes: Annotated[int, Meta(ge=0)] = 2


def scatter_of(device_counts: Counts) -> Counts:
    """How much devices differ: the sum of their residuals' outer products, about the shares of all of them.

    It adds the devices' noise, chance, and what really differs between them, so that it can replace the multinomial
    covariance of their sum (cluster-robust, devices as clusters).

    Args:
        device_counts: Shape (devices, bins): one row a device, its windows of the span summed.

    Returns:
        Shape (bins, bins).

    Source: Rao and Scott 1981, "The analysis of categorical data from complex sample surveys", JASA 76.
    """
    total = device_counts.sum(axis=0)
    shares = total / max(float(total.sum()), 1.0)
    residuals = device_counts - device_counts.sum(axis=1, keepdims=True) * shares
    few = len(device_counts)
    scatter: Counts = residuals.T @ residuals * (few / max(few - 1, 1))
    return scatter
