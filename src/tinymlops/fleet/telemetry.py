"""How far each device's telemetry has come: the number of the last record that is kept for good."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from tinymlops.fleet import tables
from tinymlops.fleet.database import insert
from tinymlops.fleet.devices import in_parts


def marks(connection: Connection, device_ids: Collection[str]) -> dict[str, int]:
    """Device → that number, of those that have handed in any."""
    c = tables.telemetry.c
    found: dict[str, int] = {}
    for part in in_parts(sorted(device_ids)):
        rows = connection.execute(select(c.device_id, c.through).where(c.device_id.in_(part)))
        found.update((row.device_id, row.through) for row in rows)
    return found


def advance(connection: Connection, numbers: Mapping[str, int]) -> None:
    """Remember how far devices have come; never goes back.

    In the order of their ids, so that two gateways never wait for each other.
    """
    c = tables.telemetry.c
    first = insert(connection, tables.telemetry)
    grown = first.on_conflict_do_update(
        index_elements=[c.device_id],
        set_={"through": first.excluded.through},
        where=c.through < first.excluded.through,
    )
    rows = [{"device_id": device_id, "through": through} for device_id, through in sorted(numbers.items())]
    if rows:
        connection.execute(grown, rows)
