"""What devices said of their health."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, func, select

from tinymlops.fleet import tables
from tinymlops.fleet.devices import in_parts
from tinymlops.fleet.values import HealthOf, PastReport
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.messages import HealthReport, ReleaseHealth


def health(
    connection: Connection,
    *,
    workload: str | None = None,
    version: int | None = None,
    device_ids: Iterable[str] | None = None,
) -> tuple[HealthOf, ...]:
    """Releases on devices that are let in, by each device's newest report; in the order of devices and names.

    Args:
        connection: To the database.
        workload: Only of this task.
        version: Only of this release.
        device_ids: Only of these devices.
    """
    h = tables.health.c
    chosen = (
        select(h.device_id, h.reported_s, h.content).join(tables.devices).where(tables.devices.c.revoked_s.is_(None))
    )
    if workload is not None:
        chosen = chosen.where(h.workload == workload)
    if version is not None:
        chosen = chosen.where(h.version == version)
    chosen = chosen.order_by(h.device_id, h.workload, h.version)
    if device_ids is None:
        return _read(connection, chosen)
    parts = (_read(connection, chosen.where(h.device_id.in_(part))) for part in in_parts(sorted(set(device_ids))))
    return tuple(one for part in parts for one in part)


def history(connection: Connection, device_id: str) -> tuple[PastReport, ...]:
    """The last reports of a device, oldest first."""
    h = tables.history.c
    chosen = select(h.reported_s, h.content).where(h.device_id == device_id).order_by(h.sequence)
    return tuple(
        PastReport(report=decode_packed(row.content, HealthReport), reported_s=row.reported_s)
        for row in connection.execute(chosen)
    )


def phases(connection: Connection) -> dict[tuple[str, int, str], int]:
    """(workload, version, phase) → how many devices say so."""
    h = tables.health.c
    counted = (
        select(h.workload, h.version, h.phase, func.count())
        .join(tables.devices)
        .where(tables.devices.c.revoked_s.is_(None))
        .group_by(h.workload, h.version, h.phase)
    )
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(counted)}


def _read(connection: Connection, chosen: Select[Any]) -> tuple[HealthOf, ...]:
    return tuple(
        HealthOf(
            device_id=row.device_id,
            health=decode_packed(row.content, ReleaseHealth),
            reported_s=row.reported_s,
        )
        for row in connection.execute(chosen)
    )
