"""Which requests count, and the health that they carry: many at once, in one transaction.

A nonce is kept, and its device looked up, in the transaction that keeps the health. So a replay is refused by whichever
gateway it is sent to and also after a restart, and a revocation holds from the moment that it was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, select, update

from tinymlops.fleet import tables
from tinymlops.fleet.database import insert
from tinymlops.fleet.devices import in_parts
from tinymlops.fleet.values import Admission, Heard, Verdict
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.request_signing import NONCE_MEMORY_S

NONCE_LIFE_S = NONCE_MEMORY_S + 60
"""A request may be dated up to a window ahead, and is timely until a window after that; a minute for slow ones."""
HISTORY = 50
"""Reports kept of each device."""

_SEEN = update(tables.devices).where(tables.devices.c.device_id == bindparam("id")).values(seen_s=bindparam("at"))
_REPORTED = (
    update(tables.devices)
    .where(tables.devices.c.device_id == bindparam("id"))
    .values(
        agent_version=bindparam("agent"),
        sequence=bindparam("number"),
        battery=bindparam("charge"),
        free_bytes=bindparam("free"),
        dropped_observations=bindparam("dropped"),
    )
)
_OLD_REPORTS = delete(tables.history).where(
    tables.history.c.device_id == bindparam("id"), tables.history.c.sequence <= bindparam("number")
)
_OLD_HEALTH = delete(tables.health).where(tables.health.c.device_id == bindparam("id"))


def admit(connection: Connection, batch: Sequence[Heard]) -> tuple[Admission, ...]:
    """What becomes of each request; in the order of ``batch``. Durable once the transaction is committed."""
    newest = _lock_devices(connection, {heard.device_id for heard in batch})
    fresh = _remember(connection, [heard for heard in batch if heard.device_id in newest])
    verdicts = [_verdict(heard, newest, fresh) for heard in batch]
    accepted = [heard for heard, verdict in zip(batch, verdicts, strict=True) if verdict == Verdict.ACCEPTED]
    if accepted:
        _record(connection, accepted, newest)
    return tuple(
        Admission(verdict, newest.get(heard.device_id, -1)) for heard, verdict in zip(batch, verdicts, strict=True)
    )


def prune(connection: Connection, *, now_s: float) -> int:
    """Forget nonces whose requests are too old to be accepted anyway; how many."""
    return connection.execute(delete(tables.nonces).where(tables.nonces.c.expires_s < now_s)).rowcount


def _lock_devices(connection: Connection, ids: set[str]) -> dict[str, int]:
    """Device → number of its newest report, of those that are let in.

    Locked one after the other in one order, so that two gateways never wait for each other.
    """
    c = tables.devices.c
    found: dict[str, int] = {}
    for part in in_parts(sorted(ids)):
        let_in = select(c.device_id, c.sequence).where(c.device_id.in_(part), c.revoked_s.is_(None))
        rows = connection.execute(let_in.order_by(c.device_id).with_for_update())
        found.update((row.device_id, row.sequence) for row in rows)
    return found


def _remember(connection: Connection, batch: Sequence[Heard]) -> set[tuple[str, str]]:
    """The (device, nonce) pairs that were not there before."""
    if not batch:
        return set()
    rows = [
        {"device_id": one.device_id, "nonce": one.nonce, "expires_s": one.at_s + NONCE_LIFE_S}
        for one in {(one.device_id, one.nonce): one for one in batch}.values()
    ]
    nonces = tables.nonces.c
    new = insert(connection, tables.nonces).on_conflict_do_nothing().returning(nonces.device_id, nonces.nonce)
    return {(row.device_id, row.nonce) for row in connection.execute(new, rows)}


def _verdict(heard: Heard, newest: Mapping[str, int], fresh: set[tuple[str, str]]) -> Verdict:
    if heard.device_id not in newest:
        return Verdict.REVOKED
    try:
        fresh.remove((heard.device_id, heard.nonce))  # the second of two equal ones in a batch finds it gone
    except KeyError:
        return Verdict.REPLAYED
    return Verdict.ACCEPTED


def _record(connection: Connection, accepted: Sequence[Heard], newest: dict[str, int]) -> None:
    seen = {heard.device_id: heard.at_s for heard in accepted}
    connection.execute(_SEEN, [{"id": device_id, "at": at_s} for device_id, at_s in sorted(seen.items())])
    kept: dict[tuple[str, int], Heard] = {}
    for heard in accepted:
        if heard.report is not None and heard.report.sequence > newest[heard.device_id]:
            kept[heard.device_id, heard.report.sequence] = heard
    if not kept:
        return
    # sorted by sequence too: the last one of each device is its newest
    latest = {device_id: heard for (device_id, _), heard in sorted(kept.items(), key=lambda item: item[0])}
    newest.update((device_id, number) for device_id, number in sorted(kept))
    _keep_history(connection, kept.values(), newest)
    _replace_health(connection, latest)


def _keep_history(connection: Connection, kept: Iterable[Heard], newest: Mapping[str, int]) -> None:
    rows = [
        {
            "device_id": heard.device_id,
            "sequence": heard.report.sequence,
            "reported_s": heard.at_s,
            "content": encode_packed(heard.report),
        }
        for heard in kept
        if heard.report is not None
    ]
    connection.execute(insert(connection, tables.history).on_conflict_do_nothing(), rows)
    devices = {str(row["device_id"]) for row in rows}
    connection.execute(_OLD_REPORTS, [{"id": one, "number": newest[one] - HISTORY} for one in sorted(devices)])


def _replace_health(connection: Connection, latest: Mapping[str, Heard]) -> None:
    reports = [(device_id, heard.at_s, heard.report) for device_id, heard in latest.items() if heard.report is not None]
    connection.execute(
        _REPORTED,
        [
            {
                "id": device_id,
                "agent": report.agent_version,
                "number": report.sequence,
                "charge": report.battery,
                "free": report.free_bytes,
                "dropped": report.dropped_observations,
            }
            for device_id, _, report in reports
        ],
    )
    connection.execute(_OLD_HEALTH, [{"id": device_id} for device_id, _, _ in reports])
    # keyed, since nothing keeps a device from naming a version twice
    rows = {
        (device_id, one.workload, one.version): {
            "device_id": device_id,
            "workload": one.workload,
            "version": one.version,
            "phase": one.phase.value,
            "reported_s": at_s,
            "content": encode_packed(one),
        }
        for device_id, at_s, report in reports
        for one in report.releases
    }
    if rows:
        connection.execute(insert(connection, tables.health), list(rows.values()))  # type: ignore[call-overload]
