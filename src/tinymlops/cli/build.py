"""``tinymlops build``: run the build flow, show what it does and what it found."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinymlops.errors import UsageError

if TYPE_CHECKING:
    from tinymlops.reporting import BuildReport


@click.command()
@click.argument("workload")
@click.option("--recipes", metavar="A,B", help="Only these recipes.  [default: all twelve]")
@click.option("--devices", metavar="X,Y", help="Only these devices.  [default: all that this machine can measure]")
@click.option("--seed", default=7, show_default=True, help="Reaches the split, training and every draw.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results.  [default: out/WORKLOAD]")
@click.option("--verbose", is_flag=True, help="Show Prefect's log instead of progress bars.")
def build(workload: str, recipes: str | None, devices: str | None, seed: int, out: Path | None, verbose: bool) -> None:
    """Train WORKLOAD, compress it, measure every variant on every device, select, register, report.

    WORKLOAD is a built-in name (see `tinymlops workloads`) or path/to/file.py:object.
    """
    from tinymlops.cli.flow_runs import run_flow
    from tinymlops.reporting import RecipesFailedError, raise_for_failures

    chosen = names(recipes, "recipes"), names(devices, "devices")
    _check_names(workload, *chosen)
    _check_writable(out)
    try:
        report = run_flow("build", workload, *chosen, seed=seed, out=str(out) if out else None, verbose=verbose)
    except RecipesFailedError as error:
        report = error.report
    _show(report, out or Path("out") / report.workload)
    raise_for_failures(report)


def names(text: str | None, option: str) -> list[str] | None:
    """What an option with commas names; None where it was not given.

    Raises:
        UsageError: It names nothing.
    """
    if text is None:
        return None
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise UsageError(f"--{option} names nothing", f"give names separated by commas, or leave --{option} out")
    return found


def _check_names(workload: str, recipes: list[str] | None, devices: list[str] | None) -> None:
    """Say what is misspelt before anything is started."""
    from tinymlops.compression.recipes import find_recipes
    from tinymlops.devices.catalogue import load_profile
    from tinymlops.workloads.catalogue import find_workload

    find_recipes(recipes)
    for name in devices or ():
        load_profile(name)
    find_workload(workload)


def _check_writable(out: Path | None) -> None:
    from tinymlops.files import write_atomic

    if out is not None:
        probe = out / ".tinymlops-probe"
        write_atomic(probe, b"")
        probe.unlink()


def _show(report: BuildReport, folder: Path) -> None:
    from tinymlops.cli import console
    from tinymlops.reporting.tables import print_tables

    command = Path(sys.argv[0]).absolute()
    if shutil.which(command.name) is None and command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    else:
        command = Path(command.name)

    print_tables(console.stdout(), report)
    click.echo(f"\nReport      {folder / 'report.html'}")
    click.echo(f"Picture     {folder / 'pareto.png'}")
    click.echo(f"Prefect UI  {command} ui prefect")
    click.echo(f"MLflow UI   {command} ui mlflow")
