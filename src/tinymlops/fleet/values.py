"""What goes into the fleet's record and what comes out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.messages import HealthReport, ReleaseHealth, Word
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
