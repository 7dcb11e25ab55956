"""Finding devices, and shutting them out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from tinymlops.errors import UsageError
from tinymlops.fleet import tables
from tinymlops.fleet.values import Device
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.sealing import Cipher

_MOST_IN_A_LIST = 1000
"""Ids in one statement: databases limit its variables."""


def find(connection: Connection, device_id: str) -> Device | None:
    """The device called ``device_id``, also a revoked one, or None."""
    found = choose(connection, ids=(device_id,), revoked=True)
    return found[0] if found else None


def choose(  # noqa: PLR0913 - each narrows the choice
    connection: Connection,
    *,
    ids: Iterable[str] | None = None,
    profiles: Collection[str] = (),
    tags: Collection[str] = (),
    regions: Collection[str] = (),
    revoked: bool = False,
    after: str = "",
    limit: int | None = None,
) -> tuple[Device, ...]:
    """Devices that fit every condition that is given, in the order of their ids.

    Args:
        connection: To the database.
        ids: Only these; None for all.
        profiles: One of these.
        tags: At least one of these.
        regions: One of these.
        revoked: Whether revoked devices are meant too.
        after: Only ids behind this one.
        limit: At most so many.
    """
    c = tables.devices.c
    conditions: list[ColumnElement[bool]] = []
    if profiles:
        conditions.append(c.profile.in_(profiles))
    if regions:
        conditions.append(c.region.in_(regions))
    if tags:
        conditions.append(c.device_id.in_(select(tables.tags.c.device_id).where(tables.tags.c.tag.in_(tags))))
    if not revoked:
        conditions.append(c.revoked_s.is_(None))
    if after:
        conditions.append(c.device_id > after)
    if ids is None:
        return _read(connection, conditions, limit)
    parts = (_read(connection, [*conditions, c.device_id.in_(part)], limit) for part in in_parts(sorted(set(ids))))
    return tuple(device for part in parts for device in part)[:limit]


def revoke(connection: Connection, device_id: str, *, now_s: float) -> Device:
    """Shut a device out, for good. The next request that it makes is refused.

    Raises:
        UsageError: There is no such device.
    """
    c = tables.devices.c
    shut = update(tables.devices).where(c.device_id == device_id, c.revoked_s.is_(None)).values(revoked_s=now_s)
    connection.execute(shut)
    device = find(connection, device_id)
    if device is None:
        raise UsageError(f"there is no device {device_id!r}", "see `tinymlops fleet list`")
    return device


def in_parts(items: Sequence[str]) -> Iterator[list[str]]:
    """``items`` in lists that a statement can hold."""
    rest = iter(items)
    while part := list(islice(rest, _MOST_IN_A_LIST)):
        yield part


def _read(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int | None = None
) -> tuple[Device, ...]:
    chosen = select(tables.devices).where(*conditions).order_by(tables.devices.c.device_id).limit(limit)
    rows = connection.execute(chosen).all()
    own = select(tables.tags)
    if len(rows) <= _MOST_IN_A_LIST:  # else reading all of them is quicker than naming the devices
        own = own.where(tables.tags.c.device_id.in_([row.device_id for row in rows]))
    labels: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(own):
        labels[row.device_id].append(row.tag)
    return tuple(_device(row, labels[row.device_id]) for row in rows)


def _device(row: Row[Any], labels: Iterable[str]) -> Device:
    return Device(
        device_id=row.device_id,
        keys=PublicKeys(row.signing_key, row.sealing_key),
        profile=row.profile,
        cipher=Cipher(row.cipher),
        key_protection=row.key_protection,
        tags=tuple(sorted(labels)),
        region=row.region,
        agent_version=row.agent_version,
        enrolled_s=row.enrolled_s,
        revoked_s=row.revoked_s,
        seen_s=row.seen_s,
        sequence=row.sequence,
        battery=row.battery,
        free_bytes=row.free_bytes,
        dropped_observations=row.dropped_observations,
    )
