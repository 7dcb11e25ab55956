"""How an agent is, read from its folder alone, so that it can be asked while the agent runs, or after it died."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops import __version__
from tinymlops.edge import enrolment, journal
from tinymlops.edge.assignments import Assignments
from tinymlops.edge.consent import Consents
from tinymlops.edge.counters import Counters
from tinymlops.edge.metering import Left, left_in
from tinymlops.edge.privacy import Balance, balance_in
from tinymlops.edge.seams import SystemClock
from tinymlops.edge.serving import release_key
from tinymlops.edge.slots import MODELS, Slots, WorkloadState
from tinymlops.edge.spool import SpoolState, saved_state
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import ignore
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Count
from tinymlops.wire.observations import Purpose

_LINES = 10


class WorkloadStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one workload is.

    Attributes:
        workload: Which task.
        version: That runs, or None.
        phase: ``trial``, ``good`` or ``none``.
        slot: That it runs from.
        offered: Version of the last assignment, or None.
        recipes: Of the installed variants, the preferred one first.
        queries: Answered by what runs; may be ahead by a reserved batch while the agent runs.
        errors: Not answered.
        failed_version: The last release that failed here, or None.
        failed_reason: Why.
    """

    workload: str
    version: int | None = None
    phase: str = "none"
    slot: str = ""
    offered: int | None = None
    recipes: tuple[str, ...] = ()
    queries: Count = 0
    errors: Count = 0
    failed_version: int | None = None
    failed_reason: str = ""


class ConsentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the person at the device agreed to.

    Attributes:
        subject: Pseudonym of the person, household or site.
        number: Of the consent; 0 before the first.
        purposes: That hold now.
        until_s: When they end by themselves.
    """

    subject: str = ""
    number: Count = 0
    purposes: tuple[Purpose, ...] = ()
    until_s: Count = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is.

    Attributes:
        agent_version: Of this software.
        device_id: Or empty before the keys are made.
        gateway: Or empty before the enrolment.
        profile: Likewise.
        assignment: Counter of the last one.
        workloads: What is installed or offered.
        waiting_through: Highest record that the gateway has acknowledged.
        dropped_observations: Lost to the quota.
        used_bytes: Of the state folder.
        vouchers: That pay for metered models, and what is left.
        consent: What the person agreed to.
        privacy: What was given away in thirty days, or None before the first window; also where the ledger is damaged,
            until the agent has put it right.
        journal: The last transitions.
    """

    agent_version: str = __version__
    device_id: str = ""
    gateway: str = ""
    profile: str = ""
    assignment: Count = 0
    workloads: tuple[WorkloadStatus, ...] = ()
    waiting_through: Count = 0
    dropped_observations: Count = 0
    used_bytes: Count = 0
    vouchers: tuple[Left, ...] = ()
    consent: ConsentStatus = ConsentStatus()
    privacy: Balance | None = None
    journal: Annotated[tuple[str, ...], Meta(max_length=_LINES)] = ()


def status_of(folder: Folder) -> Status:
    """How the agent of ``folder`` is; reads only.

    Raises:
        FormatError: Something in it is damaged.
        StorageError: It can't be read.
    """
    content = folder.read("identity.key")
    spool: SpoolState = saved_state(folder)
    facts = Status(
        waiting_through=spool.through,
        dropped_observations=spool.dropped,
        used_bytes=Folder(folder.root).used(),
        journal=tuple(journal.last(folder, _LINES)),
    )
    if content is None:
        return facts
    keys = DeviceKeys.from_bytes(content)
    known = enrolment.enrolled(folder)
    current = Assignments(folder, keys.device_id, ignore).current
    offers = {offer.workload: offer.version for offer in current.offers} if current else {}
    names = sorted({*folder.names(MODELS), *offers})
    counters = Counters(folder, SystemClock().monotonic, ignore)
    now_s = TrustedClock(SystemClock(), folder, ignore).now()
    return msgspec.structs.replace(
        facts,
        device_id=keys.device_id,
        gateway=known.gateway if known else "",
        profile=known.profile if known else "",
        assignment=current.counter if current else 0,
        workloads=tuple(_workload(Slots(folder, name, keys), offers.get(name), counters) for name in names),
        vouchers=left_in(folder, now_s),
        consent=_consent(Consents(folder, keys, lambda: now_s, ignore)),
        privacy=balance_in(folder, now_s),
    )


def _consent(consents: Consents) -> ConsentStatus:
    newest = consents.newest()
    if newest is None:
        return ConsentStatus(number=consents.newest_number())
    standing = consents.standing(newest.number)
    return ConsentStatus(
        subject=newest.subject, number=newest.number, until_s=newest.until_s,
        purposes=tuple(one for one in Purpose if one in standing),
    )  # fmt: skip


def _workload(slots: Slots, offered: int | None, counters: Counters) -> WorkloadStatus:
    state: WorkloadState = slots.state()
    record = slots.record(state.active)
    failed = state.failed
    facts = WorkloadStatus(
        workload=slots.workload,
        offered=offered,
        failed_version=failed.version if failed else None,
        failed_reason=failed.reason if failed else "",
    )
    if record is None:
        return facts
    count = counters.of(release_key(record))
    return msgspec.structs.replace(
        facts,
        version=record.release,
        phase=str(state.phase),
        slot=state.active,
        recipes=tuple(slots.manifest(state.active, variant).recipe for variant in record.variants),
        queries=count.queries,
        errors=count.errors,
    )
