"""Upkeep: newcomers get what their likes run, signatures are renewed, what nothing names any more is deleted."""

from __future__ import annotations

import time
from typing import Literal

import msgspec
from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.progress import StepProgress
from tinymlops.premises import Premises
from tinymlops.releases.garbage import collect_garbage
from tinymlops.releases.metadata_files import TIMESTAMP_KEY
from tinymlops.releases.renewal import Expiry, expiries, renew
from tinymlops.store import NotFoundError, open_store

WEBHOOKS_S = 90 * 24 * 3600.0
"""How long the name of a webhook is remembered, in seconds."""


class Upkeep(msgspec.Struct, frozen=True, kw_only=True):
    """What there was to do.

    Attributes:
        has_repository: False before `tinymlops keys create`: then there is nothing to look after.
        assigned: Devices that were offered something new.
        renewed: Roles that were signed anew.
        due: Roles that only offline keys can renew, and that are due.
        deleted: Files that nothing named any more.
        forgotten: Webhooks of long ago.
    """

    has_repository: bool
    assigned: int = 0
    renewed: tuple[str, ...] = ()
    due: tuple[str, ...] = ()
    deleted: int = 0
    forgotten: int = 0


def has_repository() -> bool:
    """Whether there are keys, and a signed repository in the store."""
    premises = Premises.from_environment()
    if not premises.keys.is_dir():
        return False
    try:
        open_store(premises.store).get(TIMESTAMP_KEY, start=0, length=1)
    except NotFoundError:
        return False
    return True


@task(task_run_name="settle newcomers", tags=["release"], retries=2, retry_delay_seconds=5)
def settle_newcomers() -> int:
    """Offer every device what it shall run, wherever that is not what it was offered last."""
    with StepProgress("newcomers") as progress:
        changed = Premises.from_environment().steering().settle()
        progress.say(f"{changed} devices were assigned something new")
    return changed


@task(task_run_name="renew signatures", tags=["release"], retries=2, retry_delay_seconds=5)
def renew_signatures() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sign anew what the online keys sign, once half of its life is over; the roles done, and those left to people."""
    with StepProgress("signatures") as progress:
        repository = Premises.from_environment().steering().repository
        ends = expiries(repository)
        online = _due(ends, online=True)
        if online:
            renew(repository)
        progress.say(f"{len(online)} renewed")
    return online, _due(ends, online=False)


@task(task_run_name="delete what nothing names", tags=["release"], retries=2, retry_delay_seconds=5)
def delete_garbage() -> int:
    """Files that no edition of the last week names; how many."""
    with StepProgress("garbage") as progress:
        gone = collect_garbage(Premises.from_environment().steering().repository)
        progress.say(f"{len(gone)} files deleted")
    return len(gone)


@task(task_run_name="forget webhooks", retries=2, retry_delay_seconds=5)
def forget_webhooks() -> int:
    """Webhooks that were dealt with long ago; how many."""
    with Premises.from_environment().fleet() as fleet:
        return fleet.outbox.prune(before_s=time.time() - WEBHOOKS_S)


@task(tags=["report"])
def show_upkeep(done: Upkeep) -> None:
    """A page of what was done, and of what waits for a person."""
    create_markdown_artifact(_page(done), key="upkeep", description="Upkeep")


def _due(ends: tuple[Expiry, ...], *, online: bool) -> tuple[str, ...]:
    return tuple(end.role for end in ends if end.due and end.online is online)


def _page(done: Upkeep) -> str:
    if not done.has_repository:
        return "There is no signed repository yet: `tinymlops keys create` makes one."
    lines = [
        f"- {done.assigned} devices were assigned something new",
        f"- signed anew: {', '.join(done.renewed) or 'nothing was due'}",
        f"- {done.deleted} files deleted that nothing named any more",
        f"- {done.forgotten} webhooks of long ago forgotten",
    ]
    waits = [f"- **{role}** runs out, and needs an offline key: {_how(role)}" for role in done.due]
    return "\n".join(["# Upkeep", "", *lines, *waits])


def _how(role: str) -> Literal["`tinymlops keys draft`", "the next `tinymlops release`"]:
    return "`tinymlops keys draft`" if role == "root" else "the next `tinymlops release`"
