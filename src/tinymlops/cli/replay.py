"""``tinymlops replay``: the whole loop on real data and simulated time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinymlops.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from tinymlops.replay import Story

CITIES = ("footfall",)
FIRST, LAST = "2019-10-16", "2025-12-31"
"""The day after the last one that the first model was fitted or stopped by; and the last one of the data."""


@click.command()
@click.argument("workload")
@click.option("--from", "first", default=FIRST, show_default=True, metavar="DAY", help="First day.")
@click.option("--to", "last", default=LAST, show_default=True, metavar="DAY", help="Last day.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for picture and figures.  [default: out/replay]")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep tables and records in this new folder.")
@click.option("--look-days", default=2, show_default=True, type=click.IntRange(1, 7), help="Days between two looks.")
@click.option("--seed", default=7, show_default=True, help="Of training, noise and every draw.")
def replay(  # noqa: PLR0913, PLR0917 - its options
    workload: str, first: str, last: str, out: Path | None, keep: Path | None, look_days: int, seed: int
) -> None:
    """Replay six years of WORKLOAD (footfall) day by day: devices count, drift is seen, models are made anew or not."""
    from tinymlops.cli.progress import Steps
    from tinymlops.files import write_atomic
    from tinymlops.replay.loop import RULES, Plan, run_replay
    from tinymlops.replay.picture import replay_png
    from tinymlops.replay.story import as_json

    if workload not in CITIES:
        raise UnknownNameError("workload with a replay", workload, CITIES)
    folder = out or Path("out") / "replay"
    with tempfile.TemporaryDirectory(prefix="tinymlops-replay-") as passing:
        place = _fresh(keep) if keep else Path(passing)
        with Steps(shown=True) as steps:
            story = run_replay(
                first,
                last,
                str(place),
                Plan(seed=seed, look_days=look_days),
                lambda done, total, text: steps.update("replay", done, total, text),
            )
            steps.end("replay", f"{len(story.days):,} days", good=True)
    write_atomic(folder / "replay.json", as_json(story))
    write_atomic(folder / "replay.png", replay_png(story, RULES))
    _show(story, folder)


def _fresh(folder: Path) -> Path:
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", "give a new folder: a replay begins with empty tables")
    return folder


def _show(story: Story, folder: Path) -> None:
    from rich.table import Table

    from tinymlops.cli.console import stdout
    from tinymlops.replay.story import QUIET_YEARS, alarm_words

    console = stdout()
    table = Table("month", "never retrained", "retrained", "worst verdict", "release", title="Mean |log error|")
    for month, stale, served, level, release in story.months():
        table.add_row(month, f"{stale:.2f}", f"{served:.2f}", str(level), str(release))
    console.print(table)
    promoted = ", ".join(f"release {one.release} for {one.champion}" for one in story.promotions) or "none"
    console.print(f"{len(story.retrainings)} retrainings, promoted: {promoted}", highlight=False)
    for line in alarm_words(story):
        console.print(line, highlight=False)
    for year in QUIET_YEARS:
        count = len(story.alarms_between(f"{year}-01-01", f"{year}-12-31"))
        console.print(f"alarms in {year}: {count}", highlight=False)
    console.print(f"picture and figures: {folder / 'replay.png'}, {folder / 'replay.json'}", highlight=False)
