"""What an inbox holds."""

from __future__ import annotations

from tinymlops.store import ObjectStore
from tinymlops.telemetry.segments import Entry, Segment, segment_keys
from tinymlops.wire.encoding import decode_packed


def entries(store: ObjectStore) -> list[Entry]:
    """Of all segments, oldest first."""
    return [entry for key in segment_keys(store) for entry in decode_packed(store.get(key), Segment).entries]


def kept(store: ObjectStore, device_id: str) -> list[int]:
    """Numbers of all records that the inbox holds of a device, oldest segment first."""
    return [record.sequence for one in entries(store) if one.device_id == device_id for record in one.records]
