"""Counts that never go back, whatever kills the agent.

Queries are counted in memory. What is on the disk is always ahead: a batch is reserved before it is used, so after a
crash the count goes on from the end of the batch. It may then be too high by at most that batch, never too low.
Errors are rare and judged, so each is written at once and exact.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

import msgspec

from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import StorageError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.messages import Count

_FILE = "counters.json"
_LEAST_BATCH, _MOST_BATCH = 64, 65_536
_WRITES_APART_S = 1.0


class ReleaseCount(msgspec.Struct, frozen=True):
    """Queries of one installed release.

    Attributes:
        queries: Answered; on the disk, the end of the reserved batch.
        errors: Failed.
    """

    queries: Count = 0
    errors: Count = 0


class _Saved(Versioned, frozen=True, kw_only=True):
    health: Count = 0
    releases: dict[str, ReleaseCount] = msgspec.field(default_factory=dict)


class _Running:
    """A release's counts in memory."""

    __slots__ = ("batch", "end", "errors", "queries", "reserved_at")

    def __init__(self, saved: ReleaseCount) -> None:
        self.queries = self.end = saved.queries
        self.errors = saved.errors
        self.batch = _LEAST_BATCH
        self.reserved_at = float("-inf")


class Counters:
    """The counts of an agent; thread-safe. Releases go by a key that the caller chooses.

    Args:
        folder: Of the agent.
        monotonic: Tells how quickly batches are used up.
        observe: Told of the transitions.

    Raises:
        FormatError: The file is damaged, which no crash of ours can do. Counts must not begin anew unnoticed.
    """

    def __init__(self, folder: Folder, monotonic: Callable[[], float], observe: Observer) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._observe = observe
        self._lock = threading.Lock()
        saved = _read(folder)
        self._health = saved.health
        self._running = {key: _Running(count) for key, count in saved.releases.items()}

    def of(self, key: str) -> ReleaseCount:
        """The counts of a release; zero where it was never counted."""
        with self._lock:
            count = self._running.get(key)
            return ReleaseCount() if count is None else ReleaseCount(count.queries, count.errors)

    def begin(self, key: str, forget: Iterable[str] = ()) -> None:
        """Be ready to count for a release, from where it was; and drop the counts of others.

        Raises:
            StorageError: The disk is full.
        """
        with self._lock:
            gone = [old for old in forget if self._running.pop(old, None) is not None]
            if key not in self._running or gone:
                self._running.setdefault(key, _Running(ReleaseCount()))
                self._write()

    def known(self, prefix: str) -> list[str]:
        """Keys of the releases that are counted, as far as they begin with ``prefix``."""
        with self._lock:
            return [key for key in self._running if key.startswith(prefix)]

    def query(self, key: str) -> None:
        """Count a query. A full disk does not keep a model from answering."""
        with self._lock:
            count = self._running.get(key)
            if count is None:
                return  # a query that was under way while its release was replaced twice
            reserve = count.queries >= count.end
            if reserve:
                self._reserve(count)
            count.queries += 1
        if reserve:
            self._observe(Transition.COUNTERS_RESERVED, key)

    def error(self, key: str) -> None:
        """Count a query that could not be answered."""
        with self._lock, contextlib.suppress(StorageError):
            if key in self._running:
                self._running[key].errors += 1
                self._write()

    def next_health(self) -> int:
        """A sequence number that no report had before, with all counts safe that the report may name.

        Raises:
            StorageError: The disk is full.
        """
        with self._lock:
            self._health += 1
            self._write()
            return self._health

    def save(self) -> None:
        """Write the exact counts, at a clean stop.

        Raises:
            StorageError: The disk is full.
        """
        with self._lock:
            for count in self._running.values():
                count.end = count.queries
            self._write()
        self._observe(Transition.COUNTERS_SAVED, "")

    def _reserve(self, count: _Running) -> None:
        now = self._monotonic()
        quick = now - count.reserved_at < _WRITES_APART_S
        count.batch = min(count.batch * 2, _MOST_BATCH) if quick else max(count.batch // 2, _LEAST_BATCH)
        count.reserved_at, count.end = now, count.queries + count.batch
        # On a full disk the count goes on in memory. Nobody hears of it before it is safe: see next_health.
        with contextlib.suppress(StorageError):
            self._write()

    def _write(self) -> None:
        releases = {
            key: ReleaseCount(max(count.end, count.queries), count.errors) for key, count in self._running.items()
        }
        self._folder.write(_FILE, encode(_Saved(health=self._health, releases=releases)))


def _read(folder: Folder) -> _Saved:
    content = folder.read(_FILE)
    return _Saved() if content is None else decode(content, _Saved, what="the saved counts")
