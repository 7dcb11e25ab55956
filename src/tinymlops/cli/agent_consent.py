"""``tinymlops agent consent``: what the person at a device agrees to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinymlops.cli.agent_options import made_agent, running_at, settings_of, state_folder, state_option

if TYPE_CHECKING:
    from tinymlops.edge.agent import Agent
    from tinymlops.edge.consent import Consents
    from tinymlops.edge.status import Status
    from tinymlops.edge.storage import Folder
    from tinymlops.wire.observations import Consent, Purpose

_DAY_S = 86_400.0
_PURPOSES = click.Choice(["operations", "drift", "samples"])


@click.group()
def consent() -> None:
    """Say what this device may tell of its use. Nothing is counted, and nothing leaves, that nobody agreed to."""


@consent.command()
@click.argument("purposes", nargs=-1, required=True, type=_PURPOSES)
@click.option("--subject", help="Pseudonym of the person, household or site.  [default: as before, else this-device]")
@click.option(
    "--days", default=365.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Until it ends."
)
@click.option("--yes", is_flag=True, help="The person was shown the words elsewhere, and agreed.")
@state_option
def give(purposes: tuple[str, ...], subject: str | None, days: float, yes: bool, state: Path | None) -> None:
    """Agree to PURPOSES, beside what was agreed to before."""
    from tinymlops.edge.consent import WORDS
    from tinymlops.wire.observations import Purpose

    folder, this, _ = made_agent(state, None, settings_of())
    before = this.consents.newest()
    held = _held(this.consents, before)
    wanted = tuple(one for one in Purpose if one in held or one in purposes)
    click.echo(f"Asked by the owner of the models on this device, for {days:g} days from now:")
    for one in wanted:
        click.echo(f"  {one}: {WORDS[one]}")
    if not yes:
        click.confirm("Do you agree?", abort=True)
    given = this.consents.give(
        wanted,
        subject=subject or (before.subject if before is not None else "this-device"),
        until_s=this.clock.now() + days * _DAY_S,
    )
    click.echo(f"Kept: {_kept(given)}. Take it back with `tinymlops agent consent withdraw`.")
    _heeded(folder, this)


@consent.command()
@click.argument("purposes", nargs=-1, type=_PURPOSES)
@state_option
def withdraw(purposes: tuple[str, ...], state: Path | None) -> None:
    """Take back what was agreed to: all, unless single PURPOSES are named. What waits here is deleted."""
    from tinymlops.wire.observations import Purpose

    folder, this, _ = made_agent(state, None, settings_of())
    left = this.consents.withdraw([Purpose(one) for one in purposes] or tuple(Purpose))
    click.echo(f"Kept: {_kept(left)}.")
    count = _heeded(folder, this)
    if count is not None:
        click.echo(
            f"{count} records that waited here are deleted. What has left before is with the owner of the models."
        )


@consent.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(state: Path | None, as_json: bool) -> None:
    """Say what was agreed to, and how much privacy is spent."""
    import msgspec

    from tinymlops.edge.consent import WORDS
    from tinymlops.edge.status import status_of
    from tinymlops.edge.storage import Folder

    facts = status_of(Folder(state or state_folder()))
    if as_json:
        told = msgspec.json.encode({"consent": facts.consent, "privacy": facts.privacy})
        click.echo(msgspec.json.format(told).decode())
        return
    click.echo("\n".join(consent_lines(facts)))
    for one in facts.consent.purposes:
        click.echo(f"  {one}: {WORDS[one]}")


def consent_lines(facts: Status) -> tuple[str, ...]:
    """Consent and privacy budget, each in a line."""
    held, spent = facts.consent, facts.privacy
    told = "nothing was ever agreed to on this device"
    if held.number:
        told = _in_words(held.purposes, held.until_s, held.number, held.subject)
    if spent is None:
        return (f"consent: {told}",)
    state = "" if spent.spent < spent.budget else ": histograms stay here"
    return f"consent: {told}", f"privacy: {spent.spent:g} of {spent.budget:g} spent in thirty days{state}"


def _held(consents: Consents, before: Consent | None) -> frozenset[Purpose]:
    return frozenset() if before is None else consents.standing(before.number)


def _heeded(folder: Folder, this: Agent) -> int | None:
    """Have the agent follow at once, whether it runs or not; how many records it deleted, None if it follows later."""
    import msgspec

    from tinymlops.edge.local_client import post
    from tinymlops.errors import UnreachableError

    if not folder.in_use():
        with folder.locked():
            return this.observing.look()
    address = running_at(folder)
    try:
        status, answer = post(address, "/v1/consent", b"{}") if address is not None else (0, b"")
    except UnreachableError:
        status = 0
    if status == 200:
        return msgspec.json.decode(answer, type=dict[str, int])["taken_back"]
    click.echo("The agent runs and was not reached: it follows before it sends anything.")
    return None


def _kept(one: Consent) -> str:
    return _in_words(one.purposes, one.until_s, one.number, one.subject)


def _in_words(purposes: Sequence[Purpose], until_s: int, number: int, subject: str) -> str:
    ends = f" until {datetime.fromtimestamp(until_s, UTC):%Y-%m-%d %H:%M} UTC" if purposes else ""
    return f"{', '.join(purposes) or 'nothing'}{ends} (consent {number} of {subject or 'nobody'})"
