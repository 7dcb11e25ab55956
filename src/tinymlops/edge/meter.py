"""A voucher on the device: counts queries so that no crash gives any away, and keeps the proof of them.

Three files in ``meter/<serial>/``:

* ``reserved``: how many queries are paid for at most. It is on the disk before the first of them is answered; a crash
  costs what is left of a reservation, at most `RESERVATION` queries.
* ``records``: the hash chain behind the last acknowledged place, one record for some time and not for each query.
  They are on the disk before they are sent: a device must never come back in a state older than what it said.
* ``state.json``: the last place that the owner has acknowledged.

A voucher that is spent, over, revoked or in conflict with the owner's record pays for nothing more, and stays.
"""

from __future__ import annotations

import math
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from operator import length_hint

import msgspec

from tinymlops.edge.monotonic import Steady
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import QuotaError
from tinymlops.wire import cose
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.metering import (
    CHECKPOINT,
    MOST_RECORDS,
    MOST_UNITS,
    RECORD_BYTES,
    VOUCHER,
    Checkpoint,
    Mark,
    UsageAcknowledgement,
    UsageRecord,
    UsageReport,
    Voucher,
    end_of,
    first_mark,
    walk,
)

HOME = "meter"
RESERVATION = 100
TICK_S = 900.0
_CONFLICT = "the owner's record of it is another one than this device's"
_TOP = struct.Struct(">QI")
_CHECK = struct.Struct(">I")
_FRAME_BYTES = RECORD_BYTES + _CHECK.size
_MOST_RESERVED_BYTES = 4096
_MOST_SENT_BYTES = MOST_RECORDS * RECORD_BYTES


class MeterState(Versioned, frozen=True, kw_only=True):
    """What is kept beside records and reservation.

    Attributes:
        base: The last acknowledged place; records go on from it.
        trouble: Why the voucher pays for nothing more, or empty.
        conflict: Whether that is because the owner's record contradicts this one: then there is nothing to report.
    """

    base: Mark
    trouble: str = ""
    conflict: bool = False


class Meter:
    """Counts the queries of one voucher; thread-safe. One process at a time: the agent's lock sees to that.

    Args:
        folder: Of the agent.
        voucher: What it pays for.
        message: The voucher as it was signed; the chain starts at it.
        now: Seconds since 1970, as the device trusts them.
        observe: Told of the transitions.
        monotonic: Tells at each query whether the voucher's end has come, without a question to the other clock.

    Raises:
        StorageError: The disk is full or broken.
        FormatError: The state is damaged.
    """

    def __init__(
        self,
        folder: Folder,
        voucher: Voucher,
        message: bytes,
        now: Callable[[], float],
        observe: Observer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.voucher = voucher
        self._folder, self._now, self._observe = folder, now, observe
        self._monotonic, self._over_at = monotonic, math.inf
        self._home = f"{HOME}/{voucher.serial}"
        self._lock = threading.Lock()
        saved = folder.read(f"{self._home}/state.json")
        first = MeterState(base=first_mark(message))
        self._state = first if saved is None else decode(saved, MeterState, what="the state of a meter")
        self._records = self._repaired()
        self._mark = end_of(self._state.base, self._records)
        self._sent: UsageReport | None = None
        self._sent_seq = 0
        # What is reserved and not answered yet. To take one is a single step of the interpreter, so that a query costs
        # no lock and no look at the clock; each item goes to one caller only, whatever else happens to the block.
        self._paid: Iterator[int] = iter(range(0))
        self._end = self._reserved = self._mark.used
        self._back = 0
        self._open_s = now()
        self._recover()

    @property
    def trouble(self) -> str:
        """Why it pays for nothing more, or empty; being spent or over is no trouble."""
        return self._state.trouble

    @property
    def base(self) -> Mark:
        """The last place that the owner has acknowledged."""
        return self._state.base

    @property
    def served(self) -> int:
        """Queries that count."""
        with self._lock:
            return self._served()

    @property
    def in_conflict(self) -> bool:
        """Whether the owner knows another use of this voucher."""
        return self._state.conflict

    def charge(self) -> None:
        """Count a query that is about to be answered.

        No query is answered behind the voucher's end, reserved or not.

        Raises:
            QuotaError: The voucher pays for no more.
            StorageError: There is no room to reserve any: nothing is answered that can't be counted.
        """
        if self._monotonic() > self._over_at:
            self.look_at_clock()
        if next(self._paid, None) is None:
            with self._lock:
                while next(self._paid, None) is None:
                    self._reserve()

    def give_back(self) -> None:
        """A query that was counted could not be answered: it costs nothing."""
        with self._lock:
            if self._served() > self._mark.used:
                self._back += 1

    def look_at_clock(self) -> None:
        """Give up what is reserved where the voucher is over; to be called when the time was learnt anew."""
        with self._lock:
            self._over_at = self._monotonic() + self.voucher.ends_s - self._now()
            if self._now() > self.voucher.ends_s and length_hint(self._paid):
                self._note_exactly()

    def report(self, sign: Callable[[bytes], bytes], counter: Steady) -> UsageReport | None:
        """What the owner does not know yet, or a part of it; None where there is nothing. The same until acknowledged.

        Args:
            sign: By the device's key.
            counter: Stepped for a new checkpoint.

        Raises:
            StorageError: The disk is full.
            UntrustedError: The counter says that this is not the newest state.
        """
        with self._lock:
            self._close_record()
            if not self._records or self._state.conflict:
                return None
            if self._sent is None or (self._sent_seq < self._mark.seq and len(self._sent.records) < _MOST_SENT_BYTES):
                self._sent = self._new_report(sign, counter)
            return self._sent

    def acknowledge(self, told: UsageAcknowledgement) -> bool:
        """Take over how far the owner's record goes; whether that was news.

        Raises:
            StorageError: It can't be kept; the same is sent again.
        """
        with self._lock:
            if told.mark.seq <= self._state.base.seq:
                return False
            passed = next((at for at in walk(self._state.base, self._records) if at.seq == told.mark.seq), None)
            if passed != told.mark:
                self._stop(_CONFLICT, conflict=True)
                return True
            self._keep(msgspec.structs.replace(self._state, base=told.mark))
            self._observe(Transition.USAGE_ACKNOWLEDGED, f"{self.voucher.serial} {told.mark.used}")
            waiting = (self._mark.seq - told.mark.seq) * RECORD_BYTES
            self._records = self._records[len(self._records) - waiting :]
            self._sent = None
            self._folder.write(f"{self._home}/records", _framed(self._records))
            self._observe(Transition.RECORDS_PRUNED, self.voucher.serial)
            return True

    def revoke(self) -> None:
        """Pay for nothing more; what was answered is reported all the same."""
        with self._lock:
            self._note_exactly()
            self._stop("it was revoked", conflict=False)

    def refute(self) -> None:
        """Pay for nothing more: the owner knows another use of this voucher than this device does."""
        with self._lock:
            self._stop(_CONFLICT, conflict=True)

    def close(self) -> None:
        """Note the exact count, at a clean stop: then nothing of the reservation is lost."""
        with self._lock:
            self._note_exactly()

    def _served(self) -> int:
        return self._end - length_hint(self._paid) - self._back

    def _drop(self) -> None:
        """Give up what is reserved; who is about to take from the old block finds it empty."""
        self._end -= len(list(self._paid)) + self._back
        self._back = 0

    def _note_exactly(self) -> None:
        self._drop()
        self._close_record()
        if self._reserved > self._end:
            self._sync_records()
            self._folder.write(f"{self._home}/reserved", _top(self._end))
            self._reserved = self._end

    def _reserve(self) -> None:
        """Begin a new block, now that the last one is used up."""
        if self._state.trouble:
            raise QuotaError(f"the voucher pays for nothing more: {self._state.trouble}", "ask the owner")
        if self._now() > self.voucher.ends_s:
            raise QuotaError("the voucher is over", "let the device reach its gateway, or ask the owner for more")
        served = self._served()
        if served >= self.voucher.quota:
            raise QuotaError("the voucher is spent", "let the device reach its gateway, or ask the owner for more")
        if self._now() - self._open_s >= TICK_S or served - self._mark.used > MOST_UNITS - RESERVATION:
            self._close_record()
        top = min(served + RESERVATION, self.voucher.quota)
        name = f"{self._home}/reserved"
        if (self._folder.size(name) or 0) >= _MOST_RESERVED_BYTES:
            self._folder.write(name, _top(top))
        else:
            self._folder.append(name, _top(top))
        self._end = self._reserved = top
        self._over_at = self._monotonic() + self.voucher.ends_s - self._now()
        self._back, self._paid = 0, iter(range(top - served))
        self._observe(Transition.QUOTA_RESERVED, self.voucher.serial)

    def _close_record(self) -> None:
        """Put what was answered since the last record into the chain."""
        while units := min(self._served() - self._mark.used, MOST_UNITS):
            record = UsageRecord.new(self._mark.seq + 1, units, self._open_s).to_bytes()
            self._folder.append(f"{self._home}/records", _framed(record), durable=False)
            self._mark = end_of(self._mark, record)
            self._records += record
            self._observe(Transition.RECORD_CLOSED, self.voucher.serial)
        self._open_s = self._now()

    def _new_report(self, sign: Callable[[bytes], bytes], counter: Steady) -> UsageReport:
        self._sync_records()
        records = self._records[:_MOST_SENT_BYTES]
        end = end_of(self._state.base, records)
        checkpoint = Checkpoint(
            serial=self.voucher.serial,
            start=self._state.base,
            end=end,
            at_s=int(max(self._now(), 0.0)),
            counter_kind=counter.kind,
            counter=counter.step(),
        )
        self._sent_seq = end.seq
        self._observe(Transition.CHECKPOINT_MADE, self.voucher.serial)
        return UsageReport(checkpoint=cose.signed(checkpoint, CHECKPOINT, sign), records=records)

    def _repaired(self) -> bytes:
        """The records behind the base, as far as they are whole; what follows was never sent."""
        content = self._folder.read(f"{self._home}/records") or b""
        records, place, whole = b"", None, 0
        for at in range(0, len(content) - _FRAME_BYTES + 1, _FRAME_BYTES):
            record = content[at : at + RECORD_BYTES]
            seq = int.from_bytes(record[:8], "big")
            if _CHECK.unpack_from(content, at + RECORD_BYTES)[0] != zlib.crc32(record):
                break
            if place is not None and seq != place + 1:
                break
            place, whole = seq, at + _FRAME_BYTES
            # a crash after an acknowledgement leaves records that are acknowledged already
            records += record if seq > self._state.base.seq else b""
        if records and int.from_bytes(records[:8], "big") != self._state.base.seq + 1:
            records = b""
        if whole < len(content):
            self._folder.truncate(f"{self._home}/records", whole)
        return records

    def _recover(self) -> None:
        """Count everything that was reserved before a crash as used."""
        content = self._folder.read(f"{self._home}/reserved") or b""
        good = _good_tops(content)
        if len(good) * _TOP.size != len(content):
            self._folder.write(f"{self._home}/reserved", _top(good[-1] if good else self._mark.used))
        if good and good[-1] > self._mark.used:
            self._end = self._reserved = good[-1]
            self._close_record()

    def _sync_records(self) -> None:
        if self._folder.size(f"{self._home}/records"):
            self._folder.sync(f"{self._home}/records")

    def _stop(self, why: str, *, conflict: bool) -> None:
        if not self._state.trouble or conflict > self._state.conflict:
            self._keep(msgspec.structs.replace(self._state, trouble=why, conflict=conflict))
            self._drop()
            self._observe(Transition.VOUCHER_STOPPED, f"{self.voucher.serial}: {why}")

    def _keep(self, state: MeterState) -> None:
        self._folder.write(f"{self._home}/state.json", encode(state))
        self._state = state


class Peek(msgspec.Struct, frozen=True, kw_only=True):
    """A meter as its files show it, also while the agent runs.

    Attributes:
        voucher: That it counts for; its signature was not looked at.
        state: What is kept beside the records.
        reserved: Queries that count at most.
    """

    voucher: Voucher
    state: MeterState
    reserved: int


def peek(folder: Folder, serial: str) -> Peek | None:
    """The meter of a voucher, or None where there is none; reads only.

    Raises:
        FormatError: It is damaged.
    """
    message, saved = folder.read(f"{HOME}/{serial}/voucher"), folder.read(f"{HOME}/{serial}/state.json")
    if message is None:
        return None
    state = MeterState(base=first_mark(message)) if saved is None else decode(saved, MeterState, what="a meter's state")
    tops = _good_tops(folder.read(f"{HOME}/{serial}/reserved") or b"")
    voucher = cose.unchecked(message, VOUCHER, Voucher)
    return Peek(voucher=voucher, state=state, reserved=max([state.base.used, *tops[-1:]]))


def _good_tops(content: bytes) -> list[int]:
    """The reservations that a file holds, up to a torn end."""
    tops = [_TOP.unpack_from(content, at) for at in range(0, len(content) - _TOP.size + 1, _TOP.size)]
    return [top for top, check in tops if check == zlib.crc32(top.to_bytes(8, "big"))]


def _top(value: int) -> bytes:
    return _TOP.pack(value, zlib.crc32(value.to_bytes(8, "big")))


def _framed(records: bytes) -> bytes:
    parts = (records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES))
    return b"".join(part + _CHECK.pack(zlib.crc32(part)) for part in parts)
