"""``tinymlops monitor``: look at what devices sent, and say what drifted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tinymlops.drift import MonitorReport


@click.command()
@click.argument("workload")
@click.option("--days", default=7.0, show_default=True, help="How far back to look.")
@click.option("--until", metavar="TIME", help="Look as it was then, UTC, for example 2026-11-24T06:00.  [default: now]")
@click.option("--k", default=20, show_default=True, help="Devices that anything shown must rest on.")
@click.option("--verbose", is_flag=True, help="Show Prefect's log instead of progress bars.")
def monitor(workload: str, days: float, until: str | None, k: int, verbose: bool) -> None:
    """Hold the windows that devices sent of WORKLOAD against what its releases were made for.

    Keeps the verdicts, draws drift over time, publishes an Evidently page, and tells those who wait for drift.
    """
    from tinymlops.cli.flow_runs import run_flow
    from tinymlops.monitoring.spans import span_of

    # What is wrong is said before anything is started.
    _check(k)
    ended_s = None if until is None else _moment(until)
    span_of(days, 0.0)
    report = run_flow("monitor", workload, days=days, ended_s=ended_s, k=k, verbose=verbose)
    _show(report, k)


def _check(k: int) -> None:
    from tinymlops.errors import UsageError

    if k < 1:
        raise UsageError(f"--k {k} hides nothing and shows nothing", "give 1 or more; 20 is usual")


def _moment(text: str) -> float:
    from tinymlops.errors import UsageError

    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--until {text!r} is no time", "write it as 2026-11-24 or 2026-11-24T06:00, in UTC"
        ) from error
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _show(report: MonitorReport, k: int) -> None:
    from rich.table import Table

    from tinymlops.cli import console
    from tinymlops.monitoring.summary import shown
    from tinymlops.monitoring.tables import HEADS, cells, hidden_words

    told = shown(report, k)
    if not told:
        click.echo(hidden_words(report, k))
        return
    table = Table(title=f"Drift of {report.workload}")
    for name in HEADS:
        table.add_column(name, justify="right" if name in {"devices", "queries", "largest effect"} else "left")
    for verdict in told:
        table.add_row(*cells(verdict))
    console.stdout().print(table)
    for verdict in told:
        click.echo(f"{verdict.group}, release {verdict.release}: {verdict.why}.")
    for one in told[0].sensors:
        click.echo(f"sensors: {one.what}.")
