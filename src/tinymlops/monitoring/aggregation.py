"""From the table of windows to evidence: read slice by slice, summed as matrices, small cells hidden.

Ten thousand devices send more windows in a month than fit into memory; a day of them does. What is kept is a row of
sums for each device, and one for each group and slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tinymlops.drift import FLEET, FeatureEvidence, GroupEvidence, Rules, SensorEvidence, scatter_of, suppress
from tinymlops.monitoring.columns import Space
from tinymlops.monitoring.references import References
from tinymlops.monitoring.roll_call import ILL, Mask, RollCall
from tinymlops.monitoring.spans import Span
from tinymlops.monitoring.sums import Sums, read_batch
from tinymlops.telemetry.tables import day_of
from tinymlops.wire.observations import Feature, FeatureKind

_READ = ("device_id", "release", "layout", "profile", "recipe", "epsilon", "queries", "labelled", "histograms")
_SENSORS = ("missing", "stuck", "silent", "new")


@dataclass(frozen=True, eq=False)
class Aggregate:
    """All windows of a span.

    Attributes:
        roll: Who sent them.
        groups: That are large enough to be shown at all → their devices.
        sums: Release → its sums; releases that nobody knows are not in it.
        strangers: Release → devices whose windows are of a layout that no manifest of it has, or of a release that
            nobody knows.
    """

    roll: RollCall
    groups: dict[str, Mask]
    sums: dict[int, Sums]
    strangers: dict[int, Mask] = field(default_factory=dict)


Progress = Callable[[int, int], None]


def aggregate(
    windows: pl.LazyFrame,
    roll: RollCall,
    span: Span,
    references: Mapping[int, References],
    k: int,
    on_progress: Progress,
) -> Aggregate:
    """Sum the windows of a span.

    Args:
        windows: Of one workload.
        roll: Of the same.
        span: That is looked at.
        references: Release → what it counts.
        k: Devices that a group must have.
        on_progress: Told how many slices of how many are summed.
    """
    groups = roll.groups(k)
    counted = roll.codes(groups, k)
    spaces = {release: Space(one) for release, one in references.items()}
    sums = {release: Sums(space, groups, span.slices, len(roll)) for release, space in spaces.items()}
    found = Aggregate(roll, groups, sums)
    for part, (began_s, ended_s) in enumerate(span.parts()):
        frame = windows.filter(_within(began_s, ended_s), ~ILL).select(_READ)
        sound = frame.collect().join(counted, on="device_id", how="inner").drop("device_id")
        for (release, layout), own in sound.partition_by("release", "layout", as_dict=True).items():
            _add(found, own, int(release), str(layout), part, references)
        on_progress(part + 1, span.slices)
    return found


def _within(began_s: float, ended_s: float) -> pl.Expr:
    at, day = pl.col("ended_s"), pl.col("date")
    return (at > began_s) & (at <= ended_s) & (day >= day_of(began_s)) & (day <= day_of(ended_s))


def _add(
    found: Aggregate, windows: pl.DataFrame, release: int, layout: str, part: int, references: Mapping[int, References]
) -> None:
    known = references.get(release)
    if known is None or layout not in known.layouts:
        strangers = found.strangers.setdefault(release, np.zeros(len(found.roll), np.bool_))
        strangers[windows["code"].to_numpy()] = True
        return
    widths = tuple(len(one.reference) for one in known.layouts[layout])
    found.sums[release].add(read_batch(windows, widths), layout, part)


def evidence_of(
    found: Aggregate, workload: str, release: int, references: References, span: Span, rules: Rules
) -> tuple[GroupEvidence, ...]:
    """What may be shown of a release, the fleet's first.

    A group that would show, or let one work out, sums of fewer than k devices is not there at all; the fleet always is.

    Args:
        found: All windows of the span.
        workload: Which task.
        release: Its version.
        references: Of the release.
        span: That was looked at.
        rules: With k.
    """
    sums = found.sums[release]
    visible = _Visible(found, sums, release, rules.k)
    evidence = []
    for group in [FLEET, *sorted(visible.groups - {FLEET})]:
        devices = found.groups[group] & sums.contributors
        if group != FLEET and int(devices.sum()) == int(sums.contributors.sum()):
            continue  # everybody is in it: it would say the same again
        expected = sums.space.expected(sums.queries_by_variant(devices))
        evidence.append(
            GroupEvidence(
                workload=workload,
                release=release,
                group=group,
                began_s=span.began_s,
                ended_s=span.ended_s,
                devices=int(devices.sum()),
                queries=int(sums.queries[devices].sum()),
                features=_features(sums, group, devices, expected, visible),
                sensors=visible.sensors(group),
                classifies=references.classifies,
                score=_score(expected, classifies=references.classifies),
            )
        )
    return tuple(evidence)


def _features(
    sums: Sums, group: str, devices: Mask, expected: tuple[Feature, ...], visible: _Visible
) -> tuple[FeatureEvidence, ...]:
    counts, variance = sums.of_group(group)
    found = []
    for place, feature in enumerate(expected):
        if not visible.shows(group, place):
            continue
        columns, counted = sums.space.of(place), devices & sums.counted[:, place]
        found.append(
            FeatureEvidence(
                feature=feature,
                counts=counts[:, columns],
                variance=variance[:, place],
                devices=int(counted.sum()),
                scatter=scatter_of(sums.by_device[counted, columns]),
            )
        )
    return tuple(found)


class _Visible:
    """What may be shown of a release: groups, features in them, and numbers of devices whose sensors are not well."""

    def __init__(self, found: Aggregate, sums: Sums, release: int, k: int) -> None:
        self._all, self._k = found.groups, k
        self._contributors = sums.contributors
        self.groups = self._suppressed(self._contributors)
        masks = sums.counted.T
        by_devices = {mask.tobytes(): self._suppressed(mask) for mask in masks}
        self._features = [by_devices[mask.tobytes()] for mask in masks]
        self._own = found.roll.devices["release"].to_numpy() == release
        self._sick = {kind: getattr(found.roll.sensors, kind) & self._own for kind in _SENSORS}
        self._told = {kind: self._beside(mask) for kind, mask in self._sick.items()}

    def shows(self, group: str, feature: int) -> bool:
        """Whether the counts of a feature may be shown."""
        return group in self._features[feature]

    def sensors(self, group: str) -> SensorEvidence:
        """Numbers that may be shown, or are below k, which is all that is told of them then; others are 0."""
        counts = {kind: int((self._all[group] & mask).sum()) for kind, mask in self._sick.items()}
        return SensorEvidence(
            **{kind: n if n < self._k or group in self._told[kind] else 0 for kind, n in counts.items()}
        )

    def _suppressed(self, among: Mask) -> frozenset[str]:
        return suppress({name: _codes(mask & among) for name, mask in self._all.items()}, self._k)

    def _beside(self, sick: Mask) -> frozenset[str]:
        """Groups whose number of sick devices may stand beside the groups themselves, which go first."""
        cells = {f"all {name}": _codes(self._all[name] & self._contributors) for name in self.groups}
        cells |= {name: _codes(self._all[name] & sick) for name in self.groups}
        shown = suppress(cells, self._k)
        return shown if {f"all {name}" for name in self.groups} <= shown else frozenset()


def _codes(mask: Mask) -> frozenset[int]:
    return frozenset(np.flatnonzero(mask).tolist())


def _score(expected: tuple[Feature, ...], *, classifies: bool) -> float | None:
    """Accuracy on the rows of the references: the share of right answers; a regression's bins are too wide for one."""
    errors = [one for one in expected if one.kind is FeatureKind.ERROR]
    return errors[0].reference[0] if classifies and errors else None
