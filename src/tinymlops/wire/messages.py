"""What an agent and the gateway send each other over HTTP."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import (
    Count,
    Delay,
    DeviceId,
    Fraction,
    Line,
    Microseconds,
    Moment,
    PublicKey,
    Sha256,
    Sha256OrNothing,
    Signature,
    Word,
    WordOrNothing,
    one_line,
)
from tinymlops.wire.identity import verify
from tinymlops.wire.sealing import Cipher

__all__ = [
    "Acknowledgement",
    "Count",
    "Delay",
    "Enrolment",
    "EnrolmentRequest",
    "Fraction",
    "HealthReport",
    "Microseconds",
    "Moment",
    "Phase",
    "Problem",
    "Record",
    "ReleaseHealth",
    "Sha256",
    "SignedBytes",
    "TelemetryBatch",
    "TimeAnswer",
    "TimeRequest",
    "Word",
]


class EnrolmentRequest(Versioned, frozen=True, kw_only=True):
    """A device asks to be let in. The request itself is signed by the key in it: proof that the device has it.

    Attributes:
        secret: Of the enrolment code.
        signing_key: Ed25519, 32 bytes.
        sealing_key: X25519, 32 bytes.
        profile: Name of the device profile.
        agent_version: Of the software on the device.
        cipher: The one that its CPU is quickest with.
        key_protection: How its private keys are kept: ``"file"`` until there is better.
    """

    secret: Annotated[bytes, Meta(min_length=15, max_length=15)]
    signing_key: PublicKey
    sealing_key: PublicKey
    profile: Word
    agent_version: Word
    cipher: Cipher
    key_protection: Word = "file"

    def __repr__(self) -> str:
        # The secret lets a device in: it has no business in a traceback or a log.
        return f"EnrolmentRequest(profile={self.profile!r}, signing_key={self.signing_key.hex()}, secret=…)"


class Enrolment(Versioned, frozen=True, kw_only=True):
    """The answer. The device checks ``root`` and ``gateway_key`` against its enrolment code before it believes them.

    Attributes:
        device_id: The one that the device has computed from its keys.
        root: TUF root metadata to start from.
        gateway_key: Ed25519, 32 bytes: signs the time.
        poll_s: How often to ask for news, in seconds, when all is well. Nobody vouches for it: a device keeps to
            bounds of its own.
    """

    device_id: DeviceId
    root: Annotated[bytes, Meta(max_length=512_000)]
    gateway_key: PublicKey
    poll_s: Delay = 3600.0


class Phase(StrEnum):
    """How far a release has come on a device."""

    DOWNLOADING = "downloading"
    TRIAL = "trial"
    """It passed its self-test and serves; its health is being watched."""
    GOOD = "good"
    FAILED = "failed"
    """It could not be loaded or failed its self-test or its trial; the device runs the one before."""


class ReleaseHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a release does on a device.

    Attributes:
        workload: Which task.
        version: Of the release.
        assignment: Counter of the assignment that offered it.
        phase: How far it has come.
        recipe: The variant that runs, or empty.
        sha256: Of the variant that runs, or empty.
        reason: Why it failed, one sentence; empty otherwise. Whatever it is made from, it becomes one line of at most
            500 printable characters.
        queries: Answered with this release since it was installed.
        errors: Queries that this release failed to answer.
        latency_p50_us: Median over the last queries, or None before the first.
        latency_p95_us: 95th percentile of the same.
    """

    workload: Word
    version: Count
    assignment: Count
    phase: Phase
    recipe: WordOrNothing = ""
    sha256: Sha256OrNothing = ""
    reason: Line = ""
    queries: Count = 0
    errors: Count = 0
    latency_p50_us: Microseconds | None = None
    latency_p95_us: Microseconds | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "reason", one_line(self.reason))


class HealthReport(Versioned, frozen=True, kw_only=True):
    """How a device does.

    Attributes:
        sequence: Grows with every report of a device; a report that is not newer than the last one changes nothing.
        sent_at: By the device's clock.
        agent_version: Of the software on the device.
        releases: The newest release of each workload, and the one that runs if that is another.
        battery: Charge left, or None on mains.
        free_bytes: Free on the disk that the agent may use.
        dropped_observations: Lost to the disk quota since the device was enrolled.
    """

    sequence: Count
    sent_at: Moment
    agent_version: Word
    releases: Annotated[tuple[ReleaseHealth, ...], Meta(max_length=64)] = ()
    battery: Fraction | None = None
    free_bytes: Count | None = None
    dropped_observations: Count = 0


class Acknowledgement(Versioned, frozen=True, kw_only=True):
    """What was sent is kept for good.

    Nobody signs this: it is as true as the connection. A device believes no number above what it has sent, and keeps
    to its own bounds for the delay.

    Attributes:
        through: Highest sequence number that is durable.
        poll_s: When to come back, in seconds.
    """

    through: Count
    poll_s: Delay | None = None


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a device's spool.

    Attributes:
        sequence: Grows by one with each record of a device.
        kind: What it is, for example ``"window"``.
        content: For the reader of that kind.
    """

    sequence: Count
    kind: Word
    content: bytes


class TelemetryBatch(Versioned, frozen=True, kw_only=True):
    """Records from the spool, oldest first. Sent again until acknowledged, and kept once."""

    records: Annotated[tuple[Record, ...], Meta(max_length=1000)]


class TimeRequest(Versioned, frozen=True, kw_only=True):
    """A device that does not trust its own clock asks for the time. The nonce makes an old answer worthless."""

    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]


class TimeAnswer(Versioned, frozen=True, kw_only=True):
    """The time at the gateway.

    Attributes:
        now_s: Seconds since 1970.
        nonce: Of the request.
        kind: Always ``"time"``. The gateway's key signs `SignedBytes` of several kinds, and none may pass for another.
    """

    now_s: Moment
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    kind: Literal["time"] = "time"


class SignedBytes(msgspec.Struct, frozen=True):
    """Something that the gateway vouches for, exactly as it was signed.

    Attributes:
        content: For `tinymlops.wire.encoding.decode`, once the signature holds. It has a field ``kind`` of its own.
        signature: Ed25519 by the gateway's key.
    """

    content: bytes
    signature: Signature

    def checked(self, gateway_key: bytes, *, what: str) -> bytes:
        """The content.

        Raises:
            UntrustedError: The gateway did not sign this.
        """
        verify(gateway_key, self.signature, self.content, what=what)
        return self.content


class Problem(msgspec.Struct, frozen=True):
    """The body of every answer that is an error.

    Attributes:
        error: What is wrong, one sentence.
        next_step: What to do about it.
        now_s: The gateway's clock, where the request's time was the problem. A hint for people: nobody signed it, so
            it moves no clock.
    """

    error: Line
    next_step: Line
    now_s: Moment | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "error", one_line(self.error))
        msgspec.structs.force_setattr(self, "next_step", one_line(self.next_step))
