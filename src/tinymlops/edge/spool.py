"""What waits on the device for the gateway: observations, of which the oldest may be dropped, and receipts, never.

Each kind has segments of its own, files of framed records that are only appended to:

    length, u32 │ CRC-32, u32 │ record, MessagePack

A crash may tear the last frame; it is cut off at the next start. Sequence numbers run over both kinds together.
"""

from __future__ import annotations

import itertools
import struct
import threading
import zlib
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

import msgspec

from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import FormatError, StorageError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.messages import Count, Record

_HOME = "spool"
_FRAME = struct.Struct(">II")
_MOST_SEGMENT_BYTES = 64 * 1024
_SEGMENTS_PER_QUOTA = 8
_MOST_RECORD_BYTES = 256 * 1024


class Kind(StrEnum):
    """How a record is treated when space runs out."""

    OBSERVATION = "observations"
    """May be dropped, the oldest first."""
    RECEIPT = "receipts"
    """Never dropped; where there is no room for one, what it would be a receipt of is not done."""


class SpoolState(Versioned, frozen=True, kw_only=True):
    """What is kept beside the segments.

    Attributes:
        through: Highest sequence number that the gateway keeps for good.
        dropped: Observations lost to the quota.
        dropped_through: Highest sequence number among them.
        purged_through: Highest sequence number that was given out before records were taken back; it is not given out
            again, for the gateway may have seen it.
    """

    through: Count = 0
    dropped: Count = 0
    dropped_through: Count = 0
    purged_through: Count = 0


class Spool:
    """Records on their way to the gateway; thread-safe.

    Args:
        folder: Of the agent.
        quotas: Bytes for each kind.
        observe: Told of the transitions.
    """

    def __init__(self, folder: Folder, quotas: dict[Kind, int], observe: Observer) -> None:
        self._folder = folder
        self._quotas = quotas
        self._observe = observe
        self._lock = threading.Lock()
        self._state = saved_state(folder)
        self._unsynced: set[str] = set()
        last = max((self._repair(kind) for kind in Kind), default=0)
        self._next = max(last, self._state.through, self._state.dropped_through, self._state.purged_through) + 1

    @property
    def state(self) -> SpoolState:
        """What the gateway keeps, and what was dropped."""
        return self._state

    def append(self, kind: Kind, name: str, content: bytes) -> int:
        """Keep a record; its sequence number.

        Args:
            kind: Whether it may be dropped.
            name: What it is, for its reader.
            content: For that reader.

        Raises:
            StorageError: There is no room: only for a receipt, or on a full disk.
            FormatError: It is larger than any.
        """
        if len(content) > _MOST_RECORD_BYTES:
            raise FormatError(f"a record of {len(content):,} bytes is too large", "split it")
        with self._lock:
            sequence = self._next
            frame = _framed(Record(sequence, name, content))
            self._make_room(kind, len(frame))
            segment = self._segment_for(kind, sequence, len(frame))
            self._folder.append(segment, frame, durable=kind is Kind.RECEIPT)
            self._unsynced.add(segment)
            self._next = sequence + 1
        receipt = kind is Kind.RECEIPT
        self._observe(Transition.RECEIPT_APPENDED if receipt else Transition.OBSERVATION_APPENDED, str(sequence))
        return sequence

    def waiting(
        self, most: int, most_bytes: int = 1024 * 1024, *, kinds: Collection[Kind] = tuple(Kind)
    ) -> tuple[Record, ...]:
        """The oldest records that the gateway does not have, on the disk for certain before anybody hears of them.

        Args:
            most: Records at most.
            most_bytes: Content at most, though one record is always given.
            kinds: That may leave now. Records leave in order, so one of another kind holds up those behind it.
        """
        with self._lock:
            for segment in self._unsynced:
                self._folder.sync(segment)
            self._unsynced.clear()
            found = sorted(
                ((record, kind) for kind in Kind for record in self._first(kind, most)), key=lambda one: one[0].sequence
            )[:most]
        records = [record for record, _ in itertools.takewhile(lambda one: one[1] in kinds, found)]
        size, count = 0, 0
        for record in records:
            size += len(record.content)
            if count and size > most_bytes:
                break
            count += 1
        return tuple(records[:count])

    def acknowledge(self, through: int) -> None:
        """The gateway keeps everything up to ``through`` for good: forget it.

        Raises:
            StorageError: That can't be noted; the records are sent again.
        """
        with self._lock:
            through = min(through, self._next - 1)
            if through <= self._state.through:
                return
            self._keep(msgspec.structs.replace(self._state, through=through))
            self._observe(Transition.SPOOL_ACKNOWLEDGED, str(through))
            for kind in Kind:
                for segment in self._segments(kind):
                    if self._last_of(segment) <= through:
                        self._folder.remove(segment)
                        self._unsynced.discard(segment)
        self._observe(Transition.SPOOL_PRUNED, str(through))

    def purge(self, doomed: Callable[[Record], bool]) -> int:
        """Take back observations that wait, for good; how many those were.

        Raises:
            StorageError: That can't be noted; they still wait.
        """
        with self._lock:
            found = [
                (segment, records, kept)
                for segment in self._segments(Kind.OBSERVATION)
                if (records := list(_records(self._folder.read(segment) or b"")))
                and (kept := [record for record in records if not doomed(record)]) != records
            ]
            if not found:
                return 0
            self._keep(msgspec.structs.replace(self._state, purged_through=self._next - 1))
            for segment, _, kept in found:
                if kept:
                    self._folder.write(segment, b"".join(map(_framed, kept)))
                else:
                    self._folder.remove(segment)
                self._unsynced.discard(segment)
        count = sum(len(records) - len(kept) for _, records, kept in found)
        self._observe(Transition.OBSERVATIONS_PURGED, f"{count}")
        return count

    def holds(self, content: bytes) -> bool:
        """Whether an observation with just this content waits."""
        with self._lock:
            return any(
                record.content == content
                for segment in self._segments(Kind.OBSERVATION)
                for record in _records(self._folder.read(segment) or b"")
            )

    def _first(self, kind: Kind, most: int) -> list[Record]:
        found: list[Record] = []
        for segment in self._segments(kind):
            found += [
                record
                for record in _records(self._folder.read(segment) or b"")
                if record.sequence > self._state.through
            ]
            if len(found) >= most:
                break
        return found

    def _make_room(self, kind: Kind, size: int) -> None:
        """Drop whole segments of the oldest observations, or refuse a receipt."""
        segments = self._segments(kind)
        used = sum(self._folder.size(segment) or 0 for segment in segments)
        while used + size > self._quotas[kind]:
            if kind is Kind.RECEIPT or not segments:
                raise StorageError(
                    f"there is no room for more {kind} ({used:,} of {self._quotas[kind]:,} bytes are taken)",
                    "let the device reach its gateway, or give it a larger quota",
                )
            used -= self._drop(segments.pop(0))

    def _drop(self, segment: str) -> int:
        content = self._folder.read(segment) or b""
        lost = [record for record in _records(content) if record.sequence > self._state.through]
        if lost:
            # Noted before they are gone: counted once, wherever a crash falls.
            dropped = self._state.dropped + sum(record.sequence > self._state.dropped_through for record in lost)
            self._keep(msgspec.structs.replace(self._state, dropped=dropped, dropped_through=lost[-1].sequence))
        self._folder.remove(segment)
        self._unsynced.discard(segment)
        self._observe(Transition.OBSERVATIONS_DROPPED, f"{len(lost)}")
        return len(content)

    def _keep(self, state: SpoolState) -> None:
        self._folder.write(f"{_HOME}/state.json", encode(state))
        self._state = state

    def _segments(self, kind: Kind) -> list[str]:
        return [f"{_HOME}/{kind}/{name}" for name in self._folder.names(f"{_HOME}/{kind}")]

    def _segment_for(self, kind: Kind, sequence: int, size: int) -> str:
        """The last segment while it has room, else a new one, called after its first record."""
        segments = self._segments(kind)
        if segments and (self._folder.size(segments[-1]) or 0) + size <= min(
            _MOST_SEGMENT_BYTES, self._quotas[kind] // _SEGMENTS_PER_QUOTA
        ):
            return segments[-1]
        return f"{_HOME}/{kind}/{sequence:016d}"

    def _last_of(self, segment: str) -> int:
        return max((record.sequence for record in _records(self._folder.read(segment) or b"")), default=0)

    def _repair(self, kind: Kind) -> int:
        """Cut off a torn end, drop what was noted as dropped; the highest sequence number of a kind."""
        last = 0
        for segment in self._segments(kind):
            content = self._folder.read(segment) or b""
            records = list(_records(content))
            whole = sum(len(_framed(record)) for record in records)
            if whole < len(content):
                self._folder.truncate(segment, whole)
            if not records or records[-1].sequence <= self._gone_through(kind):
                self._folder.remove(segment)
            else:
                last = records[-1].sequence
        return last

    def _gone_through(self, kind: Kind) -> int:
        gone = self._state.through
        return gone if kind is Kind.RECEIPT else max(gone, self._state.dropped_through)


def _framed(record: Record) -> bytes:
    packed = msgspec.msgpack.encode(record)
    return _FRAME.pack(len(packed), zlib.crc32(packed)) + packed


def _records(content: bytes) -> Iterator[Record]:
    """The whole records of a segment, up to the first that is torn."""
    at = 0
    while at + _FRAME.size <= len(content):
        length, crc = _FRAME.unpack_from(content, at)
        packed = content[at + _FRAME.size : at + _FRAME.size + length]
        if len(packed) != length or zlib.crc32(packed) != crc:
            return
        yield msgspec.msgpack.decode(packed, type=Record)
        at += _FRAME.size + length


def saved_state(folder: Folder) -> SpoolState:
    """What is kept beside the segments; raises `FormatError` where it is damaged."""
    content = folder.read(f"{_HOME}/state.json")
    return SpoolState() if content is None else decode(content, SpoolState, what="the saved state of the spool")
