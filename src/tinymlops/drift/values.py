"""What monitoring finds out: a verdict for the fleet and for each group of devices."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tinymlops.wire.encoding import Versioned

FLEET = "fleet"
"""The group that every device is in; others are written ``region=…``, ``profile=…`` or ``tag=…``."""


class Level(StrEnum):
    """What a verdict says, from nothing to do to retrain."""

    HIDDEN = "hidden"
    """Fewer than k devices: nothing may be shown."""
    UNKNOWN = "unknown"
    """Too few queries to tell."""
    NONE = "none"
    WATCH = "watch"
    """Something moved; too little, or not long enough, to act."""
    DRIFT = "drift"


class FeatureFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What the test of one feature found.

    Attributes:
        feature: Its name.
        kind: A `tinymlops.wire.observations.FeatureKind`.
        p_value: Of the noise-aware test.
        adjusted: The same after Holm's correction over the features of the verdict.
        effect: Population stability index without the part that noise and chance put in; never below 0.
        counts: Of the group, noise and all, one for each bin.
        expected: What the reference predicts for as many queries.
        edges: Inner edges of the bins.
    """

    feature: str
    kind: str
    p_value: float
    adjusted: float
    effect: float
    counts: tuple[float, ...] = ()
    expected: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()


class SensorFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Sensors that are not well, which is not drift.

    Attributes:
        kind: ``"missing"``, ``"stuck"``, ``"silent"`` (no windows any more) or ``"new"``.
        devices: How many; a number below k is not told but is 0.
        what: One sentence.
    """

    kind: str
    devices: int
    what: str


class Verdict(Versioned, frozen=True, kw_only=True):
    """What the windows of a group of devices say about one release.

    Attributes:
        workload: Which task.
        release: Its version.
        group: `FLEET`, or for example ``"region=north"``.
        began_s: Of the windows that were looked at, seconds since 1970.
        ended_s: Likewise.
        level: What it says.
        why: One sentence for people.
        devices: That it rests on; 0 where it is hidden.
        queries: Likewise.
        features: Those to blame first.
        sensors: That are not well.
        performance: Estimate without labels, or from labels that came later; None where there is none. In the
            workload's metric.
        performance_low: Of its 95 % interval.
        performance_high: Likewise.
        performance_reference: What the release had when it was judged.
    """

    workload: str
    release: int
    group: str
    began_s: float
    ended_s: float
    level: Level
    why: str
    devices: int = 0
    queries: int = 0
    features: tuple[FeatureFinding, ...] = ()
    sensors: tuple[SensorFinding, ...] = ()
    performance: float | None = None
    performance_low: float | None = None
    performance_high: float | None = None
    performance_reference: float | None = None


class MonitorReport(Versioned, frozen=True, kw_only=True):
    """All verdicts of one look at a workload; kept as ``monitoring/<workload>/<ended_s, 12 digits>.json``.

    Attributes:
        workload: Which task.
        began_s: Of the windows that were looked at.
        ended_s: Likewise; names the report.
        made_s: When somebody looked.
        table_version: Of the table of windows: the same look can be taken again.
        verdicts: The fleet's first.
        report: Key of the Evidently report in the same store, or empty.
    """

    workload: str
    began_s: float
    ended_s: float
    made_s: float
    table_version: int
    verdicts: tuple[Verdict, ...]
    report: str = ""
