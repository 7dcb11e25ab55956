"""From the inbox into the tables, each record once: killed at any point and run again, it ends the same.

Segments go only after their rows are committed; rows that are there already are left out (`Delta.append`). Consents
go first. A device sends a consent before what rests on it, so the consent's segment was there before the window's;
it is therefore in a listing that begins after the window's segment was listed, or already in the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from tinymlops.errors import FormatError
from tinymlops.fleet import Fleet
from tinymlops.store import NotFoundError, ObjectStore
from tinymlops.telemetry.consents import Given
from tinymlops.telemetry.reading import FORGED, Known, consents_in, sort
from tinymlops.telemetry.rows import Place, consent_rows, quarantine_rows, sample_rows, window_rows
from tinymlops.telemetry.schemas import TableName
from tinymlops.telemetry.segments import Entry, Segment, has_consents, segment_keys
from tinymlops.telemetry.tables import Tables
from tinymlops.telemetry.totals import count
from tinymlops.telemetry.values import Loaded
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.observations import Consent, Purpose

_MOST_BYTES = 8 * 1024 * 1024
"""Of segments whose rows are committed together, some 20,000 windows: it bounds the memory, half a GiB with them."""
DAMAGED = "damaged/"
"""Where segments go that can't be read, for somebody to look at."""


class Loader:
    """Empties an inbox into tables.

    Args:
        store: Holds the inbox.
        fleet: Knows devices, their keys and groups.
        tables: Take the rows.
    """

    def __init__(self, store: ObjectStore, fleet: Fleet, tables: Tables) -> None:
        self._store = store
        self._fleet = fleet
        self._tables = tables

    def load(self, progress: Callable[[int, int], None] | None = None) -> Loaded:
        """Load everything that is in the inbox now.

        Args:
            progress: Told how many segments are done, of how many.

        Raises:
            StorageError: Store, database or tables failed; what was not loaded stays in the inbox.
        """
        waiting = segment_keys(self._store)
        loaded = self._load_consents([key for key in segment_keys(self._store) if has_consents(key)])
        for keys, entries in self._batches(waiting):
            loaded += self._load_batch(entries)
            for key in keys:
                self._store.delete(key)
            loaded += Loaded(segments=len(keys))
            if progress is not None:
                progress(loaded.segments, len(waiting))
        if loaded != Loaded():
            count(self._store, loaded)
        return loaded

    def _load_consents(self, keys: Sequence[str]) -> Loaded:
        loaded = Loaded()
        for _, entries in self._batches(keys):
            found, forged = consents_in(entries, self._known(entries))
            new = self._tables.append(TableName.CONSENTS, consent_rows(found))
            loaded += Loaded(consents=new, refused={FORGED: forged} if forged else {})
        return loaded

    def _load_batch(self, entries: Sequence[Entry]) -> Loaded:
        found = sort(entries, self._known(entries, consents=True))
        rows = {
            TableName.WINDOWS: window_rows(found.windows),
            TableName.SAMPLES: sample_rows(found.samples),
            TableName.QUARANTINE: quarantine_rows(found.doubted),
        }
        new = {name: self._tables.append(name, table) for name, table in rows.items()}
        return Loaded(
            windows=new[TableName.WINDOWS],
            samples=new[TableName.SAMPLES],
            quarantined=new[TableName.QUARANTINE],
            again=sum(table.num_rows for table in rows.values()) - sum(new.values()),
            refused=dict(found.refused),
        )

    def _batches(self, keys: Sequence[str]) -> Iterator[tuple[list[str], list[Entry]]]:
        """Segments, some at a time, with what is in them; those that somebody else has loaded meanwhile are gone."""
        names: list[str] = []
        entries: list[Entry] = []
        size = 0
        for key in keys:
            content = self._content(key)
            if content is None:
                continue
            names.append(key)
            entries += self._entries(key, content)
            size += len(content)
            if size >= _MOST_BYTES:
                yield names, entries
                names, entries, size = [], [], 0
        if names:
            yield names, entries

    def _content(self, key: str) -> bytes | None:
        try:
            return self._store.get(key)
        except NotFoundError:
            return None

    def _entries(self, key: str, content: bytes) -> Sequence[Entry]:
        try:
            return decode_packed(content, Segment).entries
        except FormatError:  # it must not stop what comes behind it
            self._store.put(DAMAGED + key, content)
            return ()

    def _known(self, entries: Sequence[Entry], *, consents: bool = False) -> dict[str, Known]:
        ids = {one.device_id for one in entries}
        given = self._given(ids) if consents else {}
        return {
            device.device_id: Known(
                place=Place(profile=device.profile, region=device.region, tags=device.tags),
                signing_key=device.keys.signing,
                given=given.get(device.device_id, ()),
            )
            for device in self._fleet.devices(ids=ids, revoked=True)
        }

    def _given(self, ids: set[str]) -> dict[str, list[Given]]:
        wanted = self._tables.scan(TableName.CONSENTS).filter(pl.col("device_id").is_in(ids)).sort("sequence")
        given: dict[str, list[Given]] = defaultdict(list)
        for row in wanted.collect().iter_rows(named=True):
            given[row["device_id"]].append(Given(row["sequence"], _consent(row)))
        return given


def _consent(row: Mapping[str, Any]) -> Consent:
    return Consent(
        subject=row["subject"],
        number=row["number"],
        purposes=tuple(Purpose(one) for one in row["purposes"]),
        given_s=int(row["given_s"]),
        until_s=int(row["until_s"]),
        wording=row["wording"],
    )
