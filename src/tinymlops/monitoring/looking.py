"""One look at a workload: from its tables to a report of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np
import polars as pl

from tinymlops.drift import FLEET, Level, MonitorReport, Rules, Verdict, suppress, verdict_of
from tinymlops.monitoring.aggregation import Aggregate, Progress, aggregate, evidence_of
from tinymlops.monitoring.references import References
from tinymlops.monitoring.roll_call import Mask, call_roll
from tinymlops.monitoring.spans import LOOK_BACK_S, Span
from tinymlops.telemetry.tables import Tables

FindReferences = Callable[[Iterable[int]], Mapping[int, References]]
"""Releases → what each counts, those that are known."""


def _silent(_done: int, _total: int) -> None:
    """Nobody watches."""


def look(  # noqa: PLR0913 - a look is made of all of these
    tables: Tables,
    find_references: FindReferences,
    workload: str,
    span: Span,
    *,
    rules: Rules,
    made_s: float,
    version: int | None = None,
    on_progress: Progress = _silent,
) -> MonitorReport:
    """Judge every release that sent windows within a span.

    Args:
        tables: Of windows.
        find_references: What releases are compared with.
        workload: Which task.
        span: That is looked at.
        rules: When to speak of drift, and k.
        made_s: Now.
        version: Of the table; the newest unless given. The same look at the same version finds the same.
        on_progress: Told how many slices of how many are summed.
    """
    pinned = tables.version("windows") if version is None else version
    windows = tables.windows(
        workload, began_s=max(span.began_s - LOOK_BACK_S, 0.0), ended_s=span.ended_s, version=pinned
    )
    roll = call_roll(windows, span.began_s, span.ended_s)
    releases = _releases(windows, span)
    references = find_references(releases)
    found = aggregate(windows, roll, span, references, rules.k, on_progress)
    verdicts = [
        verdict
        for release in releases
        for verdict in _of_release(found, workload, release, references.get(release), span, rules)
    ]
    return MonitorReport(
        workload=workload,
        began_s=span.began_s,
        ended_s=span.ended_s,
        made_s=made_s,
        table_version=pinned,
        verdicts=tuple(verdicts),
    )


def _releases(windows: pl.LazyFrame, span: Span) -> list[int]:
    """That windows of the span came from, the newest first."""
    within = windows.filter(pl.col("ended_s") > span.began_s).select(pl.col("release").unique())
    return sorted(within.collect(engine="streaming")["release"].to_list(), reverse=True)


def _of_release(
    found: Aggregate, workload: str, release: int, references: References | None, span: Span, rules: Rules
) -> list[Verdict]:
    strangers = found.strangers.get(release, np.zeros(len(found.roll), np.bool_))
    count = int(strangers.sum())
    if references is None:
        return [_unreadable(workload, release, span, count, rules.k)]
    evidence = evidence_of(found, workload, release, references, span, rules)
    fleet, *others = (verdict_of(one, rules) for one in evidence)
    if count >= rules.k:
        told = f"{count:,}" if _beside(found, release, strangers, rules.k) else "some"
        why = f"{fleet.why}; windows of {told} devices are not as any manifest of release {release} says: left out"
        fleet = msgspec.structs.replace(fleet, why=why)
    return [fleet, *(one for one in others if one.level is not Level.HIDDEN)]


def _beside(found: Aggregate, release: int, strangers: Mask, k: int) -> bool:
    """Whether their number may stand beside that of the fleet: the difference may be of a few."""
    cells = {FLEET: found.sums[release].contributors, "strangers": strangers}
    return "strangers" in suppress({name: set(np.flatnonzero(mask).tolist()) for name, mask in cells.items()}, k)


def _unreadable(workload: str, release: int, span: Span, devices: int, k: int) -> Verdict:
    known = devices >= k
    why = f"{devices:,} devices ran" if known else f"fewer than {k} devices ran"
    return Verdict(
        workload=workload,
        release=release,
        group=FLEET,
        began_s=span.began_s,
        ended_s=span.ended_s,
        level=Level.UNKNOWN if known else Level.HIDDEN,
        why=f"{why} release {release}, which was withdrawn or is not in the records: nothing to compare with",
        devices=devices if known else 0,
    )
