"""Segments of the inbox: what many devices handed in, in one object."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.store import ObjectStore
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import DeviceId, Moment
from tinymlops.wire.messages import Record
from tinymlops.wire.observations import RecordName

PREFIX = "inbox/"
_CONSENTS, _PLAIN = "consents", "plain"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Records of one device that came together.

    Attributes:
        device_id: Whose they are: the request that brought them was signed by its key.
        received_s: When, by the gateway's clock.
        records: In their order.
    """

    device_id: DeviceId
    received_s: Moment
    records: Annotated[tuple[Record, ...], Meta(max_length=1000)]


class Segment(Versioned, frozen=True, kw_only=True):
    """Entries that became durable together."""

    entries: tuple[Entry, ...]


def new_key(segment: Segment, *, now_s: float) -> str:
    """A fresh key that sorts by time, and tells whether there are consents in the segment.

    Consents are needed before the windows that rest on them; so they can be found without reading everything.
    """
    kind = _CONSENTS if _has_consents(segment) else _PLAIN
    return f"{PREFIX}{int(now_s * 1000):015d}-{secrets.token_hex(8)}-{kind}"


def has_consents(key: str) -> bool:
    """Whether the segment under ``key`` holds consents."""
    return key.endswith(f"-{_CONSENTS}")


def segment_keys(store: ObjectStore) -> list[str]:
    """Of all segments that wait, oldest first."""
    return sorted(found.key for found in store.list(PREFIX))


def _has_consents(segment: Segment) -> bool:
    return any(record.kind == RecordName.CONSENT for record in _records(segment))


def _records(segment: Segment) -> Iterator[Record]:
    for entry in segment.entries:
        yield from entry.records
