"""What devices hand in, durable before it is acknowledged: many devices' records in one object and one transaction.

First the object is written, then the database remembers how far each device has come, then devices are told. A crash
in between leaves an object whose records will come again, in another object; so a record can be in the inbox twice,
and whoever loads it leaves out what the tables have (`tinymlops.telemetry.delta`). What was acknowledged is never
written again, so an object can go as soon as it is loaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec

from tinymlops.errors import FormatError
from tinymlops.fleet import Fleet
from tinymlops.store import ObjectStore
from tinymlops.telemetry.segments import Entry, Segment, new_key
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.messages import Record, TelemetryBatch


class Delivery(msgspec.Struct, frozen=True):
    """Records of a device that has proved who it is.

    Attributes:
        device_id: Whose they are.
        records: Their numbers rise (`checked`).
    """

    device_id: str
    records: tuple[Record, ...]


class Inbox:
    """Keeps what devices hand in until it is loaded.

    Args:
        store: Where it lies, as segments; no device can read it.
        fleet: Remembers how far each device has come.
        clock: Seconds since 1970.
    """

    def __init__(self, store: ObjectStore, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._store = store
        self._fleet = fleet
        self._clock = clock

    def keep(self, deliveries: Sequence[Delivery]) -> tuple[int, ...]:
        """Keep what is new in them, in one object; for each, the number of the last record that is kept for good.

        Raises:
            StorageError: Store or database failed; devices send everything again.
        """
        known = self._fleet.telemetry_marks({one.device_id for one in deliveries})
        marks = dict(known)
        now_s = self._clock()
        entries = tuple(entry for one in deliveries if (entry := _fresh(one, marks, now_s)) is not None)
        if entries:
            segment = Segment(entries=entries)
            self._store.put(new_key(segment, now_s=now_s), encode_packed(segment))
            self._fleet.advance_telemetry(
                {name: through for name, through in marks.items() if known.get(name) != through}
            )
        return tuple(marks[one.device_id] for one in deliveries)


def checked(batch: TelemetryBatch) -> TelemetryBatch:
    """``batch``, if its numbers rise.

    Raises:
        FormatError: They do not, or there are none.
    """
    numbers = [record.sequence for record in batch.records]
    if not numbers or any(first >= second for first, second in itertools.pairwise(numbers)):
        raise FormatError("the numbers of the records do not rise", "send records in their order, at least one")
    return batch


def _fresh(delivery: Delivery, marks: dict[str, int], now_s: float) -> Entry | None:
    """What of a delivery is behind the device's mark, which moves on."""
    through = marks.get(delivery.device_id, -1)
    records = delivery.records
    if records[0].sequence <= through:
        records = tuple(record for record in records if record.sequence > through)
    if not records:
        return None
    marks[delivery.device_id] = records[-1].sequence
    return Entry(delivery.device_id, now_s, records)
