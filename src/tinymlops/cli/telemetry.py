"""``tinymlops telemetry``: what devices told, from the inbox to tables that stay in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tinymlops.cli.bridge import bridge

if TYPE_CHECKING:
    from tinymlops.telemetry.values import Loaded

_LEAST_DAYS = 7
"""A reader or writer that is under way must never lose its files."""


@click.group()
def telemetry() -> None:
    """Load what devices handed in, and keep the tables of it in order."""


@telemetry.command()
def load() -> None:
    """Empty the inbox into the tables; the flow `ingest` does the same on a schedule."""
    from tinymlops.cli.progress import Steps
    from tinymlops.premises import Premises
    from tinymlops.telemetry.loading import Loader

    premises = Premises.from_environment()
    with premises.fleet() as fleet, Steps(shown=True) as steps:
        steps.update("inbox", 0, 1, "looking")
        loader = Loader(premises.telemetry_store(), fleet, premises.tables())
        loaded = loader.load(lambda done, total: steps.update("inbox", done, total, f"{done} of {total} segments"))
        steps.end("inbox", f"{loaded.segments} segments", good=True)
    _print(loaded)


@telemetry.command()
@click.option(
    "--days",
    type=click.FloatRange(_LEAST_DAYS),
    default=90,
    show_default=True,
    help="How long any version of a table can be read; what retrainings used stays for longer.",
)
def compact(days: float) -> None:
    """Merge the tables' small files and delete those of old versions; watch it in the Prefect UI."""
    from tinymlops.cli.flow_runs import run_flow

    deleted = run_flow("compact", verbose=False, retention_days=days)
    click.echo(f"{deleted} files of old versions were deleted.")


telemetry.add_command(bridge)


def _print(loaded: Loaded) -> None:
    from rich.table import Table

    from tinymlops.cli.console import stdout

    table = Table("what", "how many")
    for what, count in loaded.numbers.items():
        table.add_row(what, f"{count:,}")
    for reason, count in sorted(loaded.refused.items()):
        table.add_row(f"refused: {reason}", f"{count:,}")
    stdout().print(table)
