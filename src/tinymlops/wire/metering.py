"""Pay per query: the voucher, the records of use as a hash chain, the device's checkpoint and the answer to it.

The chain starts at the digest of the voucher, and every record carries fresh randomness. Two devices that went on from
the same place, or one that was put back to an earlier place, are therefore at different heads from their next record
on, however much alike their use was.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.errors import FormatError
from tinymlops.wire import cose
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import Count, DeviceId, Word
from tinymlops.wire.identity import verify

VOUCHER, CHECKPOINT, ACKNOWLEDGEMENT, REVOCATION = "voucher", "checkpoint", "acknowledgement", "revocation"
"""Kinds of signed messages, for `tinymlops.wire.cose`."""
RECORD_BYTES = 18
MOST_UNITS = 2**16 - 1
MOST_RECORDS = 4000
"""Records in one report of use: 72 kB."""
HOUR_S = 3600
_RECORD = struct.Struct(">QHI4s")
_HEAD_DOMAIN = b"tinymlops/usage/v1"

Serial = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)")]
Head = Annotated[bytes, Meta(min_length=32, max_length=32)]
Second = Annotated[int, Meta(ge=0, lt=2**40)]
"""Whole seconds since 1970."""
Quota = Annotated[int, Meta(ge=1, lt=2**48)]
Message = Annotated[bytes, Meta(max_length=2048)]


class Voucher(Versioned, frozen=True, kw_only=True):
    """The right to a number of queries on one device. Signed by the gateway's key.

    Attributes:
        serial: Names it: 16 random bytes, hexadecimal.
        device: The only one that may use it.
        workload: The only model that it pays for.
        quota: Queries.
        issued_s: When it was made, in seconds since 1970.
        expires_s: When it ends, by the time that the device trusts.
        grace_s: How much longer a device goes on that can't reach its gateway, in seconds.
        epoch: Counts the vouchers of a device and workload from 1; they are used up in this order.
    """

    serial: Serial
    device: DeviceId
    workload: Word
    quota: Quota
    issued_s: Second
    expires_s: Second
    grace_s: Second = 0
    epoch: Annotated[int, Meta(ge=1, lt=2**32)] = 1

    @property
    def ends_s(self) -> int:
        """When even the grace is over."""
        return self.expires_s + self.grace_s


class Revocation(Versioned, frozen=True, kw_only=True):
    """A voucher is worth nothing any more. Signed by the gateway's key.

    Attributes:
        serial: Of the voucher.
        revoked_s: Since when, in seconds since 1970.
    """

    serial: Serial
    revoked_s: Second


class Mark(msgspec.Struct, frozen=True):
    """A place in a chain.

    Attributes:
        seq: Records up to here.
        used: Queries in them.
        head: Digest over all of them.
    """

    seq: Count
    used: Count
    head: Head


class Checkpoint(Versioned, frozen=True, kw_only=True):
    """How far a device has come with a voucher. Signed by the device's key; to the customer it is the receipt.

    Attributes:
        serial: Of the voucher.
        start: Where the records begin that are sent with it.
        end: Where they lead.
        at_s: By the device's clock; nothing is decided by it.
        counter_kind: What keeps the device's counter: ``"file"`` protects nothing.
        counter: Its value, one higher with each new checkpoint.
    """

    serial: Serial
    start: Mark
    end: Mark
    at_s: Second
    counter_kind: Word = "file"
    counter: Count = 0


class Verdict(StrEnum):
    """What became of a checkpoint."""

    BILLED = "billed"
    """It extends what was known: the difference is billed."""
    STALE = "stale"
    """All of it was known."""
    GAP = "gap"
    """It starts behind what is known; the records between are missing."""
    FORK = "fork"
    """It contradicts what is known: two devices use the voucher, or one was put back to an earlier state."""
    OVERSPENT = "overspent"
    """It extends what was known beyond the voucher's quota; the quota is billed."""


class UsageAcknowledgement(Versioned, frozen=True, kw_only=True):
    """What the owner keeps for good. Signed by the gateway's key; to the customer it is the proof of what counts.

    Attributes:
        serial: Of the voucher.
        mark: How far the owner's record goes.
        verdict: What became of the checkpoint that this answers.
        at_s: When, in seconds since 1970.
    """

    serial: Serial
    mark: Mark
    verdict: Verdict
    at_s: Second


class UsageReport(Versioned, frozen=True, kw_only=True):
    """What a device sends.

    Attributes:
        checkpoint: Signed.
        records: That lead from its start to its end, 18 bytes each.
    """

    checkpoint: Message
    records: Annotated[bytes, Meta(max_length=MOST_RECORDS * RECORD_BYTES)] = b""


class UsageAnswer(Versioned, frozen=True, kw_only=True):
    """What it is told.

    Attributes:
        acknowledgement: Signed.
    """

    acknowledgement: Message


class VoucherList(Versioned, frozen=True, kw_only=True):
    """The vouchers of a device.

    Attributes:
        vouchers: Signed, those that are not used up or over.
        revocations: Signed, of those that were taken back.
    """

    vouchers: Annotated[tuple[Message, ...], Meta(max_length=64)] = ()
    revocations: Annotated[tuple[Message, ...], Meta(max_length=64)] = ()


class UsageRecord(msgspec.Struct, frozen=True):
    """Some queries: not one line for each, so that nobody learns when exactly a device was used.

    Attributes:
        seq: From 1, without gaps.
        units: Queries.
        hour: Hours since 1970, by the device's clock; nothing is decided by it.
        entropy: 4 random bytes. Without them two copies of a device with equal use would have equal chains.
    """

    seq: Count
    units: Annotated[int, Meta(ge=1, le=MOST_UNITS)]
    hour: Annotated[int, Meta(ge=0, lt=2**32)]
    entropy: Annotated[bytes, Meta(min_length=4, max_length=4)]

    @classmethod
    def new(cls, seq: int, units: int, now_s: float, random: Callable[[int], bytes] = os.urandom) -> UsageRecord:
        """A record of ``units`` queries at ``now_s``."""
        return cls(seq, units, min(int(max(now_s, 0.0)) // HOUR_S, 2**32 - 1), random(4))

    def to_bytes(self) -> bytes:
        """18 bytes: sequence, units, hour, entropy; big-endian."""
        return _RECORD.pack(self.seq, self.units, self.hour, self.entropy)


def records_of(content: bytes) -> tuple[UsageRecord, ...]:
    """The records in ``content``, for people; `walk` is what checks them."""
    return tuple(UsageRecord(*fields) for fields in _RECORD.iter_unpack(content))


def first_mark(voucher: bytes) -> Mark:
    """Where the chain of a voucher begins: bound to its very bytes."""
    return Mark(0, 0, hashlib.sha256(_HEAD_DOMAIN + voucher).digest())


def advanced(mark: Mark, record: UsageRecord) -> Mark:
    """The next place in a chain.

    Raises:
        FormatError: The record is not the next one.
    """
    return end_of(mark, record.to_bytes())


def walk(mark: Mark, records: bytes) -> Iterator[Mark]:
    """Every place that ``records`` lead to from ``mark``.

    Raises:
        FormatError: They are no whole records, count nothing, or leave some out.
    """
    if len(records) % RECORD_BYTES:
        raise FormatError("the records of use are cut off", "send whole records of 18 bytes")
    before, used, head = mark.seq, mark.used, mark.head
    for at in range(0, len(records), RECORD_BYTES):
        record = records[at : at + RECORD_BYTES]
        seq, units, _, _ = _RECORD.unpack(record)
        if seq != before + 1 or not units:
            raise FormatError(f"record {seq} of {units} queries can't follow record {before}", "send all, in order")
        before, used, head = seq, used + units, hashlib.sha256(head + record).digest()
        yield Mark(seq, used, head)


def end_of(mark: Mark, records: bytes) -> Mark:
    """The last place that ``records`` lead to; raises as `walk` does."""
    for place in walk(mark, records):
        mark = place
    return mark


def checked_report(report: UsageReport, signing_key: bytes, *, check: cose.Verifier = verify) -> Checkpoint:
    """The checkpoint of a report that its device signed and whose records lead where it says.

    Args:
        report: As it came.
        signing_key: Of the device, 32 bytes.
        check: Another library's check of the signature, where there is a quicker one.

    Raises:
        UntrustedError: The device did not sign it.
        FormatError: It contradicts itself.
    """
    checkpoint = cose.opened(report.checkpoint, CHECKPOINT, signing_key, Checkpoint, check=check)
    if end_of(checkpoint.start, report.records) != checkpoint.end:
        raise FormatError("the records of use do not lead to the checkpoint", "send the records that belong to it")
    return checkpoint
