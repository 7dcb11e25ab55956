"""``tinymlops release``, ``releases`` and ``withdraw``: the selected variants, signed and sealed; what there is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tinymlops.releases.records import ReleaseRecord


@click.command()
@click.argument("workload")
@click.option("--devices", metavar="X,Y", help="Only for these kinds of device.  [default: all with a selection]")
@click.option("--why", default="selected", show_default=True, help="For the promotion log.")
@click.option(
    "--metered/--unmetered",
    default=None,
    help="Each query has to be paid for (see `tinymlops voucher`), or not.  [default: as the last release]",
)
@click.option("--verbose", is_flag=True, help="Show Prefect's log instead of progress bars.")
def release(workload: str, devices: str | None, why: str, metered: bool | None, verbose: bool) -> None:
    """Release the variants of WORKLOAD that the registry holds selected: sealed, signed, ready to roll out.

    Needs the targets key (see `tinymlops keys`), and runs a self-test on each kind of device.
    """
    from tinymlops.cli.build import names
    from tinymlops.cli.flow_runs import run_flow

    record = run_flow("release", workload, names(devices, "devices"), why, metered, verbose=verbose)
    _show(record)
    click.echo(f"\nNext: tinymlops rollout start {record.workload}")


@click.command()
@click.argument("workload", required=False)
def releases(workload: str | None) -> None:
    """List the releases, of WORKLOAD or of all."""
    from tinymlops.premises import Premises

    records = Premises.from_environment().records()
    found = [records.load(name, number) for name in records.workloads() for number in records.versions(name)]
    shown = [one for one in found if workload in {None, one.workload}]
    if not shown:
        click.echo("There are no releases yet: `tinymlops release WORKLOAD` makes one.")
    for record in shown:
        _show(record)


@click.command()
@click.argument("workload")
@click.argument("version", type=int)
def withdraw(workload: str, version: int) -> None:
    """Take release VERSION of WORKLOAD off the signed list, for good. Needs the targets key."""
    from tinymlops.premises import Premises, passphrase_from_environment

    premises = Premises.from_environment()
    premises.steering().withdraw(premises.publisher(passphrase_from_environment), workload, version)
    click.echo(f"Release {version} of {workload} is withdrawn: no device can be offered it any more.")


def _show(record: ReleaseRecord) -> None:
    from rich.table import Table

    from tinymlops.cli import console

    when = datetime.fromtimestamp(record.created_s, UTC).isoformat(" ", "minutes")
    metered = ", metered" if record.metered else ""
    table = Table(title=f"Release {record.version} of {record.workload}{metered}, {when[:16]} UTC: {record.why}")
    for column in ("device", "variant", "model"):
        table.add_column(column)
    for column in ("whole", "smallest difference"):
        table.add_column(column, justify="right")
    for variant in record.variants:
        packages = record.packages[variant.sha256]
        whole = min(one.bytes for one in packages if not one.base)
        delta = min((one.bytes for one in packages if one.base), default=None)
        told = "-" if delta is None else f"{delta:,} B ({delta / whole:.0%})"
        table.add_row(variant.profile, variant.recipe, variant.sha256[:12], f"{whole:,} B", told)
    console.stdout().print(table)
