"""Telemetry as it comes in: each record of each device kept once, however often it is sent.

An object's key is the number behind the last record that was kept before it, so objects form a chain: whoever would
write at the same place finds it taken, reads how far that object goes, and writes only what lies behind it. No two
objects of a device can overlap, whatever is sent again, by whichever gateway and over however broken a link; gaps,
which a device makes when its disk is full, do no harm. The database only remembers how far the chain goes.

Whoever empties the inbox leaves each object there for an hour at least, since a slow gateway may be about to find it.
"""

from __future__ import annotations

import itertools

from tinymlops.errors import FormatError
from tinymlops.fleet import Fleet
from tinymlops.store import ObjectStore
from tinymlops.wire.encoding import decode_packed, encode_packed
from tinymlops.wire.messages import TelemetryBatch

PREFIX = "telemetry/inbox"


class Inbox:
    """Keeps telemetry until something reads it.

    Args:
        store: Where it lies: ``telemetry/inbox/<device>/<number, 16 digits>``, each a `TelemetryBatch` in MessagePack.
        fleet: Remembers how far each device has come.
    """

    def __init__(self, store: ObjectStore, fleet: Fleet) -> None:
        self._store = store
        self._fleet = fleet

    def keep(self, device_id: str, batch: TelemetryBatch) -> int:
        """Keep what is new in ``batch``; the number of the last record that is kept for good.

        Args:
            device_id: Whose telemetry.
            batch: As `checked` lets it through.

        Raises:
            StorageError: Store or database failed; the device sends the batch again.
        """
        known = through = self._fleet.telemetry_through(device_id)
        while fresh := tuple(record for record in batch.records if record.sequence > through):
            key = f"{PREFIX}/{device_id}/{through + 1:016d}"
            content = encode_packed(TelemetryBatch(records=fresh))
            if self._store.put_if_absent(key, content) is not None:
                through = fresh[-1].sequence
            else:
                through = decode_packed(self._store.get(key), TelemetryBatch).records[-1].sequence
        if through > known:
            self._fleet.advance_telemetry(device_id, through)
        return through


def checked(batch: TelemetryBatch) -> TelemetryBatch:
    """``batch``, if its numbers rise.

    Raises:
        FormatError: They do not, or there are none.
    """
    numbers = [record.sequence for record in batch.records]
    if not numbers or any(first >= second for first, second in itertools.pairwise(numbers)):
        raise FormatError("the numbers of the records do not rise", "send records in their order, at least one")
    return batch
