"""``tinymlops retrain``: samples from the field, a challenger, a contest, and a release if it wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.retraining import RetrainingRecord


@click.command()
@click.argument("workload")
@click.option("--why", default="by hand", show_default=True, help="For the record.")
@click.option("--key", help="Names this retraining: the same key again goes on with it, or shows how it ended.")
@click.option("--table-version", type=int, help="Of the table of samples, to repeat a run.  [default: the newest]")
@click.option("--seed", default=7, show_default=True, help="Reaches the split, training and every draw.")
@click.option("--approval", is_flag=True, help="Ask a person in the Prefect UI before the challenger is released.")
@click.option("--approval-time", "approval_s", default=3600.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--recipes", metavar="A,B", help="Only these recipes.  [default: those of the release in the field]")
@click.option("--devices", metavar="X,Y", help="Only these devices.  [default: those of the release in the field]")
@click.option("--fewest", type=int, help="Labelled samples since the last release that are enough.  [default: 200]")
@click.option("--out", help="Folder for the challenger's report.  [default: out/WORKLOAD]")
@click.option("--verbose", is_flag=True, help="Show Prefect's log instead of progress bars.")
def retrain(workload: str, recipes: str | None, devices: str | None, verbose: bool, **settings: Any) -> None:
    """Retrain WORKLOAD with the labelled samples that its devices sent, and release it if it is better for certain.

    The challenger is compared with the release in the field on rows that neither learnt from: recent ones, ones held
    out, and each group of devices. Otherwise this says why not, and nothing changes.
    """
    from tinymlops.cli.build import names
    from tinymlops.cli.flow_runs import run_flow
    from tinymlops.workloads.catalogue import find_workload

    find_workload(workload)  # what is misspelt is said before anything is started
    given = {name: value for name, value in settings.items() if value is not None}
    chosen = {"recipes": names(recipes, "recipes"), "devices": names(devices, "devices")}
    _show(run_flow("retrain", workload, **chosen, **given, verbose=verbose))


def _show(record: RetrainingRecord) -> None:
    from rich.table import Table

    from tinymlops.cli import console
    from tinymlops.retraining.page import HEADS, cells

    if record.comparisons:
        table = Table(title=f"{record.workload}: challenger against release {record.champion}, {record.metric}")
        for name in HEADS:
            table.add_column(name, justify="left" if name == "rows" else "right")
        for one in record.comparisons:
            table.add_row(*cells(one))
        console.stdout().print(table)
    click.echo(f"{record.outcome}: {record.reason}.")
    click.echo(f"Samples: version {record.table_version} of their table. Key: {record.key}")
    if record.release is not None:
        click.echo(f"Release {record.release}. Next: tinymlops rollout resume {record.rollout_id}")
