"""A report as tables: Markdown for pages, text for terminals."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from tinymlops.drift import Level, MonitorReport, Verdict
from tinymlops.monitoring.summary import alarm, effect_of, leading, shown

HEADS = ("release", "group", "verdict", "devices", "queries", "largest effect", "performance")


def cells(verdict: Verdict) -> tuple[str, ...]:
    """A verdict as one row beneath `HEADS`."""
    return (
        str(verdict.release),
        verdict.group,
        str(verdict.level),
        f"{verdict.devices:,}" if verdict.devices else "-",
        f"{verdict.queries:,}" if verdict.queries else "-",
        f"{effect_of(verdict):.3f}" if verdict.features else "-",
        performance_words(verdict),
    )


def performance_words(verdict: Verdict) -> str:
    """For example ``"0.89 (0.87 to 0.91), was 0.90"``."""
    if verdict.performance is None:
        return "-"
    told = f"{verdict.performance:.3g}"
    if verdict.performance_low is not None and verdict.performance_high is not None:
        told += f" ({verdict.performance_low:.3g} to {verdict.performance_high:.3g})"
    return told if verdict.performance_reference is None else f"{told}, was {verdict.performance_reference:.3g}"


def hidden_words(report: MonitorReport, k: int) -> str:
    """Why there is no table, where there is none."""
    if not report.verdicts:
        return f"No device sent a window of {report.workload} in this span."
    return f"Fewer than {k} devices sent what may be looked at: nothing is shown of them."


def markdown(report: MonitorReport, k: int, picture: bytes = b"") -> str:
    """The report as a page.

    Args:
        report: Of any look.
        k: Devices that anything shown rests on.
        picture: PNG to put into it.
    """
    began, ended = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (report.began_s, report.ended_s))
    told = shown(report, k)
    lines = [f"# Drift of {report.workload}", "", f"{began} to {ended} UTC, table version {report.table_version}."]
    lines += _picture(picture)
    if not told:
        return "\n".join([*lines, "", hidden_words(report, k)])
    lines += ["", f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
    lines += [f"| {' | '.join(_marked(one))} |" for one in told]
    lines += ["", *(f"- **{one.group}**, release {one.release}: {one.why}." for one in told)]
    ahead = leading(report, k)
    if ahead is not None:
        lines += _features(alarm(report, k) or ahead) + _sensors(ahead)
    return "\n".join([*lines, "", f"Nothing that rests on fewer than {k} devices is shown."])


def _picture(content: bytes) -> list[str]:
    """Inside the page: wherever that is looked at, the picture can be."""
    encoded = base64.b64encode(content).decode("ascii")
    return ["", f"![Drift over time](data:image/png;base64,{encoded})"] if content else []


def _marked(verdict: Verdict) -> list[str]:
    row = list(cells(verdict))
    row[2] = f"**{row[2]}**" if verdict.level in {Level.DRIFT, Level.WATCH} else row[2]
    return row


def _features(verdict: Verdict) -> list[str]:
    rows = [f"| {one.feature} | {one.effect:.3f} | {one.adjusted:.2g} |" for one in verdict.features]
    title = f"## Features of release {verdict.release}, {verdict.group}"
    return ["", title, "", "| feature | effect | p (Holm) |", "| --- | ---: | ---: |", *rows]


def _sensors(verdict: Verdict) -> list[str]:
    return ["", "## Sensors", "", *(f"- {one.what}" for one in verdict.sensors)] if verdict.sensors else []
