"""What is remembered of each retraining. Plain JSON in the telemetry store: the gateway's pages read it too."""

from __future__ import annotations

import re

from tinymlops.errors import StorageError, UsageError
from tinymlops.retraining.values import RetrainingRecord
from tinymlops.store import ObjectStore
from tinymlops.wire.encoding import decode, encode

_FOLDER = "retraining"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def checked_request_key(key: str) -> str:
    """``key`` as given, if it can name a retraining.

    Raises:
        UsageError: It has other signs than letters, digits, dots, colons, dashes and underlines, or is too long.
    """
    if not _KEY.fullmatch(key):
        raise UsageError(f"{key[:80]!r} can't name a retraining", "use 1 to 128 letters, digits and . _ : -")
    return key


class RetrainingRecords:
    """The records of finished retrainings.

    Args:
        store: Of telemetry.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def keep(self, record: RetrainingRecord) -> RetrainingRecord:
        """Keep a record; what is kept of a key stays, and is what comes back.

        Raises:
            UsageError: The record's key can't name a retraining.
            StorageError: The store can't be written.
        """
        checked_request_key(record.key)
        known = self.find(record.workload, record.key)
        if known is not None:
            return known
        place = f"{_FOLDER}/{record.workload}/{int(record.began_s):012d}-{record.key}.json"
        if self._store.put_if_absent(place, encode(record)) is None:
            return self._read(place)
        return record

    def find(self, workload: str, key: str) -> RetrainingRecord | None:
        """The record of the retraining that a request's key names, or None while it is not over."""
        found = sorted(one for one in self._keys(workload) if one.endswith(f"-{key}.json") and _request(one) == key)
        return self._read(found[0]) if found else None

    def newest(self, workload: str) -> RetrainingRecord | None:
        """The one that began last, or None before the first."""
        found = self.history(workload, most=1)
        return found[-1] if found else None

    def history(self, workload: str, most: int = 90) -> tuple[RetrainingRecord, ...]:
        """The last ``most``, the oldest of them first."""
        return tuple(self._read(place) for place in sorted(self._keys(workload))[-most:])

    def workloads(self) -> tuple[str, ...]:
        """Those that were retrained, sorted."""
        return tuple(sorted({one.key.split("/")[1] for one in self._store.list(f"{_FOLDER}/")}))

    def _keys(self, workload: str) -> list[str]:
        return [one.key for one in self._store.list(f"{_FOLDER}/{workload}/") if one.key.endswith(".json")]

    def _read(self, place: str) -> RetrainingRecord:
        record = decode(self._store.get(place), RetrainingRecord, what=place)
        if record.key != _request(place):
            raise StorageError(f"{place} holds the retraining {record.key!r}", "it was changed: restore it from a copy")
        return record


def _request(place: str) -> str:
    """The request's key in a record's place: all behind twelve digits and a dash."""
    return place.rpartition("/")[2].removesuffix(".json")[13:]
