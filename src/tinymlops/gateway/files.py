"""What of the repository a device may read, out of a bounded memory where it is asked for often.

Everything but the timestamp has its version or its digest in its name and never changes, so it is kept as long as there
is room. What is missing is missing for a moment only: the next root, say, which every device asks for each time.
"""

from __future__ import annotations

import asyncio
import re
import struct
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import TypeVar

from tinymlops.gateway.problems import Refusal, not_found
from tinymlops.store import NotFoundError, ObjectStore
from tinymlops.wire.messages import Problem

SMALL_BYTES = 4 * 1024 * 1024
"""Larger packages are passed on in parts and not kept."""
PART_BYTES = 1024 * 1024
TIMESTAMP = "timestamp.json"
_MOMENT_BYTES = struct.calcsize("d")
_ENTRY_BYTES = 200
"""What an entry weighs besides its content."""

_METADATA = re.compile(r"timestamp\.json|[1-9][0-9]{0,9}\.[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.json")
_WORD = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
_PACKAGE = re.compile(rf"releases/{_WORD}/[0-9]{{1,16}}/[0-9a-f]{{64}}\.{_WORD}")
_ASSIGNMENT = re.compile(r"devices/[0-9a-f]{64}\.(?P<device>[0-9a-f]{32})")

T = TypeVar("T")


def metadata_key(name: str) -> str:
    """Where the metadata file ``name`` lies.

    Raises:
        Refusal: There can be no such file.
    """
    if _METADATA.fullmatch(name) is None:
        raise not_found()
    return f"metadata/{name}"


def target_key(path: str, device_id: str) -> str:
    """Where the target ``path`` lies, for a device that may have it.

    Raises:
        Refusal: There can be no such target, or it is another device's.
    """
    own = _ASSIGNMENT.fullmatch(path)
    if own is not None and own["device"] != device_id:
        problem = Problem("this belongs to another device", "ask for devices/<own id> alone")
        raise Refusal(403, "other device", problem)
    if own is None and _PACKAGE.fullmatch(path) is None:
        raise not_found()
    return f"targets/{path}"


class Cache:
    """The least recently used values go first.

    Args:
        most_bytes: Of all values together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """The value of ``key``, or None."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value`` if it fits at all."""
        self.drop(key)
        self._values[key] = value
        self._bytes += len(value) + _ENTRY_BYTES
        while self._bytes > self._most_bytes:
            self.drop(next(iter(self._values)))

    def drop(self, key: str) -> None:
        """Forget ``key``."""
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= len(value) + _ENTRY_BYTES


class Files:
    """Reads metadata and targets.

    Args:
        store: Holds the repository.
        threads: Where the store is waited for.
        cache_bytes: Kept in memory.
        timestamp_ttl_s: How long the timestamp, or that something is missing, is believed; in real seconds.
    """

    def __init__(self, store: ObjectStore, threads: Executor, *, cache_bytes: int, timestamp_ttl_s: float) -> None:
        self.store = store
        self._threads = threads
        self._ttl_s = timestamp_ttl_s
        self._kept = Cache(cache_bytes)
        self._brief = Cache(cache_bytes // 8)
        self._under_way: dict[str, asyncio.Task[bytes]] = {}

    async def metadata(self, name: str) -> bytes:
        """The metadata file ``name``.

        Raises:
            Refusal: There can be no such file.
            NotFoundError: There is none.
        """
        return await self._read(metadata_key(name), changes=name == TIMESTAMP)

    async def target(self, key: str) -> bytes | None:
        """The target at ``key``, or None for one that is better passed on in parts."""
        content = await self._read(key, changes=False)
        return content if len(content) <= SMALL_BYTES else None

    async def size(self, key: str) -> int:
        """Bytes of the target at ``key``."""
        return (await self._in_thread(lambda: self.store.head(key))).size

    async def parts(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes ``start`` … ``end`` of the target at ``key``, a part at a time."""
        for at in range(start, end, PART_BYTES):
            length = min(PART_BYTES, end - at)
            yield await self._in_thread(lambda at=at, length=length: self.store.get(key, start=at, length=length))  # type: ignore[misc]

    async def url(self, key: str, seconds: int) -> str | None:
        """Where the store itself gives the target out, for a while; None if it does not."""
        return await self._in_thread(lambda: self.store.presign(key, seconds))

    async def _read(self, key: str, *, changes: bool) -> bytes:
        content = self._kept.get(key)
        if content is None:
            content = self._believed(key)
        if content is not None:
            return content
        task = self._under_way.get(key)
        if task is None:  # of a thousand devices that want the same, one makes the store work
            task = self._under_way[key] = asyncio.ensure_future(self._fetch(key, changes=changes))
        return await asyncio.shield(task)

    async def _fetch(self, key: str, *, changes: bool) -> bytes:
        try:
            # one byte more than is kept shows that there is more
            content = await self._in_thread(lambda: self.store.get(key, start=0, length=SMALL_BYTES + 1))
        except NotFoundError:
            self._believe(key, b"")
            raise
        finally:
            del self._under_way[key]
        if changes:
            self._believe(key, content)
        elif len(content) <= SMALL_BYTES:
            self._kept.put(key, content)
        return content

    def _believe(self, key: str, content: bytes) -> None:
        self._brief.put(key, struct.pack("d", time.monotonic()) + content)

    def _believed(self, key: str) -> bytes | None:
        entry = self._brief.get(key)
        if entry is None:
            return None
        (since_s,) = struct.unpack_from("d", entry)
        if time.monotonic() - since_s >= self._ttl_s:
            self._brief.drop(key)
            return None
        if len(entry) == _MOMENT_BYTES:
            raise NotFoundError(key, self.store.address)
        return entry[_MOMENT_BYTES:]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of the range that is asked for; None for the whole (RFC 9110 §14.2).

    A header that is not understood, or that names several ranges, counts as none.

    Raises:
        Refusal: No byte of the range exists.
    """
    found = re.fullmatch(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})", header or "")
    if found is None or found.group() == "bytes=-":
        return None
    if found["first"]:
        start, end = int(found["first"]), min(int(found["last"]) + 1, size) if found["last"] else size
        if found["last"] and int(found["last"]) < start:
            return None
    else:
        start, end = max(0, size - int(found["last"])), size
    if start >= end:
        problem = Problem(f"there are {size} bytes, and none in that range", "ask for the whole")
        raise Refusal(416, "range", problem, {"Content-Range": f"bytes */{size}"})
    return start, end
