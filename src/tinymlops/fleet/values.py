"""What goes into the fleet's record and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.wire.fields import DeviceId
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.messages import HealthReport, ReleaseHealth, Word
from tinymlops.wire.metering import Checkpoint, Mark, Quota, Serial, UsageReport
from tinymlops.wire.sealing import Cipher


class CodeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What an enrolment code stands for.

    Attributes:
        expires_s: When it stops letting anybody in, in seconds since 1970.
        root_version: Of the TUF root that the code's anchor was made with: the answer must carry exactly that one.
        profile: The only kind of device that may use it, or None for any.
        tags: Given to the device.
        region: Given to the device, or None.
    """

    expires_s: float
    root_version: Annotated[int, Meta(ge=1)]
    profile: Word | None = None
    tags: Annotated[tuple[Word, ...], Meta(max_length=32)] = ()
    region: Word | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device that was let in.

    Attributes:
        device_id: Digest of its keys.
        keys: Its public keys.
        profile: Its kind.
        cipher: The one that its CPU is quickest with.
        key_protection: How it keeps its private keys.
        tags: For choosing devices, sorted.
        region: Likewise, or None.
        agent_version: Of its software, when it was last heard.
        enrolled_s: When it was let in, in seconds since 1970.
        revoked_s: When it was shut out, or None.
        seen_s: When it was last heard, or None.
        sequence: Of its newest health report; -1 before the first.
        battery: Charge left by that report, or None on mains.
        free_bytes: Free on its disk by that report, or None.
        dropped_observations: Lost to its disk quota by that report.
    """

    device_id: str
    keys: PublicKeys
    profile: str
    cipher: Cipher
    key_protection: str
    tags: tuple[str, ...]
    region: str | None
    agent_version: str
    enrolled_s: float
    revoked_s: float | None = None
    seen_s: float | None = None
    sequence: int = -1
    battery: float | None = None
    free_bytes: int | None = None
    dropped_observations: int = 0


class EnrolmentTicket(msgspec.Struct, frozen=True, kw_only=True):
    """What a device that was let in has to be told.

    Attributes:
        device: As it is recorded.
        root_version: Of the TUF root that its code's anchor was made with.
        again: Whether it had been let in with the same code before: its first answer was lost.
    """

    device: Device
    root_version: int
    again: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose signature holds.

    Attributes:
        device_id: Who signed it.
        nonce: Of the request.
        at_s: When it came, in seconds since 1970 by the gateway's clock.
        report: The health that it carries, or None.
    """

    device_id: str
    nonce: str
    at_s: float
    report: HealthReport | None = None


class Verdict(StrEnum):
    """Whether a request counts."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    """Its nonce was there before."""
    REVOKED = "revoked"
    """Its device was shut out, or never let in."""


class Admission(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        verdict: Whether it counts.
        sequence: Of the newest health report that is kept of its device; -1 before the first.
    """

    verdict: Verdict
    sequence: int = -1


class HealthOf(msgspec.Struct, frozen=True, kw_only=True):
    """A release on a device, by the device's newest report.

    Attributes:
        device_id: Which device.
        health: Its own word.
        reported_s: When the report came, in seconds since 1970 by the gateway's clock.
    """

    device_id: str
    health: ReleaseHealth
    reported_s: float


class PastReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report of a device as it came.

    Attributes:
        report: The device's words.
        reported_s: When it came, in seconds since 1970 by the gateway's clock.
    """

    report: HealthReport
    reported_s: float


class StoredRollout(msgspec.Struct, frozen=True, kw_only=True):
    """A roll-out as it is kept.

    Attributes:
        rollout_id: Names it.
        document: JSON; the fleet does not look inside.
        version: Grows with every change, from 1; for `Fleet.save_rollout`.
        updated_s: When it was last changed, in seconds since 1970.
    """

    rollout_id: str
    document: bytes
    version: int
    updated_s: float


Signer = Callable[[bytes], bytes]
"""Makes an Ed25519 signature with the gateway's key."""


class VoucherTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a voucher shall say.

    Attributes:
        serial: 16 random bytes, hexadecimal; the same again gives the same voucher.
        device_id: That may use it.
        workload: The model that it pays for.
        account: Of the customer who pays.
        quota: Queries.
        life_s: How long it lasts, in seconds.
        grace_s: How much longer for a device that can't reach its gateway, in seconds.
        price: Of a prepaid one, in micro-dollars; by the customer's tariff if not given.
    """

    serial: Serial
    device_id: DeviceId
    workload: Word
    account: Word
    quota: Quota
    life_s: Annotated[int, Meta(ge=1, lt=2**32)]
    grace_s: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    price: Annotated[int, Meta(ge=0, lt=2**53)] | None = None


class IssuedVoucher(msgspec.Struct, frozen=True, kw_only=True):
    """A voucher, and how far it is used.

    Attributes:
        serial: Names it.
        device_id: That may use it.
        workload: The model that it pays for.
        epoch: Counts the vouchers of a device and model.
        account: Of the customer.
        quota: Queries.
        price: Paid ahead, in micro-dollars.
        message: As it was signed.
        issued_s: When, in seconds since 1970.
        ends_s: When it is over, with its grace.
        revoked_s: When it was taken back, or None.
        mark: How far its chain is settled.
        reported_s: When its device last reported use, or None.
    """

    serial: str
    device_id: str
    workload: str
    epoch: int
    account: str
    quota: int
    price: int
    message: bytes
    issued_s: float
    ends_s: float
    revoked_s: float | None
    mark: Mark
    reported_s: float | None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Use that does not fit, with its evidence: the device's signed words against what we had.

    Attributes:
        incident_id: Digest of the checkpoint.
        serial: Of the voucher.
        device_id: Its device.
        kind: ``fork``, ``overspent`` or ``counter``.
        at_s: When it came, in seconds since 1970.
        known: Our place in the chain then.
        checkpoint: As the device signed it.
        records: That came with it.
        what: In words.
    """

    incident_id: str
    serial: str
    device_id: str
    kind: str
    at_s: float
    known: Mark
    checkpoint: bytes
    records: bytes
    what: str


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """A report of use whose signature and records hold.

    Attributes:
        device_id: Who sent it.
        checkpoint: What the device signed.
        report: As it came.
        at_s: When, in seconds since 1970 by the gateway's clock.
    """

    device_id: str
    checkpoint: Checkpoint
    report: UsageReport
    at_s: float
