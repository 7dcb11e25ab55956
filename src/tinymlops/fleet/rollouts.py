"""Roll-outs and assignments as they are kept. What they mean is the business of `tinymlops.rollouts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, case, select, update

from tinymlops.fleet import tables
from tinymlops.fleet.database import insert
from tinymlops.fleet.devices import in_parts
from tinymlops.fleet.values import StoredRollout
from tinymlops.wire.assignment import Assignment
from tinymlops.wire.encoding import decode, encode


def load(connection: Connection, rollout_id: str) -> StoredRollout | None:
    """The roll-out of that name, or None."""
    row = connection.execute(select(tables.rollouts).where(tables.rollouts.c.rollout_id == rollout_id)).one_or_none()
    return None if row is None else _stored(row)


def load_all(connection: Connection) -> tuple[StoredRollout, ...]:
    """All roll-outs, the one that was changed last first."""
    c = tables.rollouts.c
    rows = connection.execute(select(tables.rollouts).order_by(c.updated_s.desc(), c.rollout_id))
    return tuple(_stored(row) for row in rows)


def save(connection: Connection, rollout_id: str, document: bytes, *, expected: int | None, now_s: float) -> int | None:
    """Keep a roll-out, if nobody else has changed it since it was read.

    Args:
        connection: To the database.
        rollout_id: Names it.
        document: JSON.
        expected: Version that it had when it was read; None for a new one.
        now_s: Seconds since 1970.

    Returns:
        Its new version, or None if somebody was quicker.
    """
    values = {"document": document.decode(), "updated_s": now_s}
    if expected is None:
        new = insert(connection, tables.rollouts).on_conflict_do_nothing().returning(tables.rollouts.c.version)
        return connection.execute(new, {"rollout_id": rollout_id, "version": 1, **values}).scalar()
    c = tables.rollouts.c
    change = update(tables.rollouts).where(c.rollout_id == rollout_id, c.version == expected)
    changed = connection.execute(change.values(version=expected + 1, **values)).rowcount
    return expected + 1 if changed else None


def next_counters(connection: Connection, device_ids: Iterable[str], seen: Mapping[str, int]) -> dict[str, int]:
    """A fresh assignment counter for each device: no two callers ever get the same one for a device."""
    rows = [{"device_id": device, "counter": 1 + seen.get(device, 0)} for device in sorted(set(device_ids))]
    if not rows:
        return {}
    a = tables.assignments.c
    first = insert(connection, tables.assignments)
    ahead = case((a.counter + 1 < first.excluded.counter, first.excluded.counter), else_=a.counter + 1)
    grown = first.on_conflict_do_update(index_elements=[a.device_id], set_={"counter": ahead})
    return {row.device_id: row.counter for row in connection.execute(grown.returning(a.device_id, a.counter), rows)}


def record_assignments(connection: Connection, published: Iterable[Assignment]) -> None:
    """Remember what was published; an older one never replaces a newer one."""
    a = tables.assignments.c
    rows = [
        {"device_id": one.device_id, "counter": one.counter, "content": encode(one), "issued_s": one.issued_s}
        for one in published
    ]
    if not rows:
        return
    first = insert(connection, tables.assignments)
    changed = {
        "content": first.excluded.content,
        "issued_s": first.excluded.issued_s,
        "counter": first.excluded.counter,
    }
    newer = first.on_conflict_do_update(
        index_elements=[a.device_id], set_=changed, where=a.counter <= first.excluded.counter
    )
    connection.execute(newer, rows)


def assignments(connection: Connection, device_ids: Iterable[str] | None = None) -> dict[str, Assignment]:
    """Device → the newest assignment that was published for it, where there is one."""
    a = tables.assignments.c
    chosen = select(a.device_id, a.content).where(a.content.is_not(None))
    if device_ids is None:
        return _decoded(connection.execute(chosen))
    found: dict[str, Assignment] = {}
    for part in in_parts(sorted(set(device_ids))):
        found.update(_decoded(connection.execute(chosen.where(a.device_id.in_(part)))))
    return found


def _decoded(rows: Iterable[Row[Any]]) -> dict[str, Assignment]:
    return {row.device_id: decode(row.content, Assignment, what="a kept assignment") for row in rows}


def _stored(row: Row[Any]) -> StoredRollout:
    return StoredRollout(
        rollout_id=row.rollout_id, document=row.document.encode(), version=row.version, updated_s=row.updated_s
    )
