"""``tinymlops rollout``: a release goes out in stages; look at it, hold it, turn it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.rollouts import Rollout
    from tinymlops.steering import Steering


@click.group()
def rollout() -> None:
    """Bring a release to devices in stages, judged by the devices' own health."""


@rollout.command()
@click.argument("workload")
@click.option("--version", type=int, help="Of the release.  [default: the newest]")
@click.option("--profile", "profiles", multiple=True, help="Only this kind of device; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="Only devices with this tag; may be repeated.")
@click.option("--region", "regions", multiple=True, help="Only devices of this region; may be repeated.")
@click.option("--stages", default="0.05,0.5,1", show_default=True, help="Fraction of the devices at each stage's end.")
@click.option("--success", default=0.9, show_default=True, help="Fraction that must be good before the next stage.")
@click.option("--failure", default=0.05, show_default=True, help="Fraction that may fail; more, and all go back.")
@click.option("--silence", "silence_s", default=86400.0, show_default=True, help="Seconds until a device is silent.")
@click.option("--soak", "soak_s", default=0.0, show_default=True, help="Seconds that each stage lasts at least.")
@click.option("--poll", "poll_s", default=30.0, show_default=True, help="Seconds between two looks.")
@click.option("--verbose", is_flag=True, help="Show Prefect's log instead of progress bars.")
def start(workload: str, stages: str, verbose: bool, **settings: Any) -> None:
    """Roll a release of WORKLOAD out and watch it until it is done or has gone back.

    If this command or the server dies, `tinymlops rollout resume` goes on where it was.
    """
    from tinymlops.cli.flow_runs import run_flow

    ended = run_flow("rollout", workload, stages=_fractions(stages), verbose=verbose, **settings)
    _show([ended])


@rollout.command()
@click.argument("rollout_id")
@click.option("--poll", "poll_s", default=30.0, show_default=True, help="Seconds between two looks.")
@click.option("--verbose", is_flag=True, help="Show Prefect's log instead of progress bars.")
def resume(rollout_id: str, poll_s: float, verbose: bool) -> None:
    """Go on with a roll-out that was paused, or whose driver died."""
    from tinymlops.cli.flow_runs import run_flow

    known = _steering().load(rollout_id)
    ended = run_flow("rollout", known.workload, rollout_id=rollout_id, poll_s=poll_s, verbose=verbose)
    _show([ended])


@rollout.command()
@click.argument("rollout_id")
@click.option("--why", default="by hand", show_default=True, help="For the record.")
def pause(rollout_id: str, why: str) -> None:
    """Hold a roll-out: devices that were reached keep the release, no others get it."""
    from tinymlops.rollouts.rules import pause as paused

    _show([_changed(rollout_id, lambda one: paused(one, why, time.time()))])


@rollout.command()
@click.argument("rollout_id")
@click.option("--why", default="by hand", show_default=True, help="For the record.")
def back(rollout_id: str, why: str) -> None:
    """Turn a roll-out back: devices return to what they ran before."""
    from tinymlops.rollouts.rules import turn_back

    turned = _changed(rollout_id, lambda one: turn_back(one, why, time.time()))
    _steering().settle()
    _show([turned])


@rollout.command()
@click.argument("rollout_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(rollout_id: str | None, as_json: bool) -> None:
    """Show a roll-out with what happened in it, or all of them."""
    from tinymlops.wire.encoding import encode

    steering = _steering()
    found = [steering.load(rollout_id)] if rollout_id else list(steering.rollouts())
    if as_json:
        for one in found:
            click.echo(encode(one))
    elif found:
        _show(found, steering)
    else:
        click.echo("There are no roll-outs yet: `tinymlops rollout start WORKLOAD` begins one.")


@rollout.command()
@click.option("--everybody", is_flag=True, help="Also those that have it: after the devices key was exchanged.")
def settle(everybody: bool) -> None:
    """Offer every device what it shall run: for devices that joined after a roll-out was done."""
    changed = _steering().settle(everybody=everybody)
    click.echo(f"{changed} devices were assigned something new.")


def _steering() -> Steering:
    from tinymlops.premises import Premises

    return Premises.from_environment().steering()


def _changed(rollout_id: str, how: Callable[[Rollout], Rollout]) -> Rollout:
    return _steering().change(rollout_id, how)


def _fractions(text: str) -> tuple[float, ...]:
    from tinymlops.errors import UsageError
    from tinymlops.rollouts.values import checked_stages

    try:
        return checked_stages(tuple(float(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--stages {text!r} are not numbers", "give fractions such as 0.05,0.5,1") from error


def _show(rollouts: list[Rollout], steering: Steering | None = None) -> None:
    from datetime import UTC, datetime

    from rich.table import Table

    from tinymlops.cli import console
    from tinymlops.rollouts import Standing
    from tinymlops.rollouts.rules import count_standings

    steering = steering or _steering()
    for one in rollouts:
        table = Table(title=f"{one.rollout_id}: release {one.version} of {one.workload}, {one.status}")
        for column in ("stage", "devices", *Standing):
            table.add_column(column, justify="right")
        for stage, count in enumerate(count_standings(one, steering.standings(one), time.time())):
            size = sum(member.stage == stage for member in one.members)
            table.add_row(f"up to {one.stages[stage]:.0%}", str(size), *(str(count[word]) for word in Standing))
        console.stdout().print(table)
        for event in one.events:
            click.echo(f"{datetime.fromtimestamp(event.at_s, UTC).isoformat(' ', 'seconds')[:19]}  {event.what}")
