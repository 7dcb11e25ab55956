"""Looks at made-up fleets, in a folder of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.owner import tiny_manifest, tiny_model
from tests.support.windows import Town, with_features
from tinymlops.drift import FLEET, MonitorReport, Rules, Verdict
from tinymlops.monitoring.looking import look
from tinymlops.monitoring.references import References
from tinymlops.monitoring.spans import span_of
from tinymlops.telemetry.tables import Tables


def references(town: Town) -> References:
    """A release of one variant that counts what the town counts."""
    manifest = tiny_manifest(tiny_model(1), town.release, town.profile, recipe=town.recipe)
    return References({(town.profile, town.recipe): with_features(manifest, town.features)})


def look_at(
    folder: Path,
    *towns: Town,
    known: Mapping[int, References] | None = None,
    days: float | None = None,
    rules: Rules | None = None,
) -> MonitorReport:
    """One look at the span of the last town, with the windows of all of them in the table."""
    tables, last = Tables(str(folder)), towns[-1]
    for town in towns:
        town.fill(tables)
    found = {town.release: references(town) for town in towns} if known is None else known
    return look(
        tables,
        lambda releases: {one: found[one] for one in releases if one in found},
        last.workload,
        span_of(days or last.days, last.ended_s),
        rules=rules or Rules(),
        made_s=last.ended_s,
    )


def verdict(report: MonitorReport, group: str = FLEET, release: int = 1) -> Verdict:
    """The verdict of one group."""
    (found,) = [one for one in report.verdicts if (one.group, one.release) == (group, release)]
    return found
