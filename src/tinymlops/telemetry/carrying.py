"""What was carried to us by strangers: believed by its signature alone, kept as what comes over HTTP is kept.

A nonce is not remembered and a date not held against the clock, since a message may lie in a broker for days. Neither
is needed: records have numbers, what is behind a device's mark is not kept again, and each message begins with the
oldest record that its device was not acknowledged, so no order in which messages come loses one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from tinymlops.errors import FormatError, RefusedError, UntrustedError
from tinymlops.fleet import Device, Fleet
from tinymlops.telemetry.inbox import Delivery, Inbox, checked
from tinymlops.wire.carried import CarriedRequest, TelemetryKept
from tinymlops.wire.encoding import decode_packed, encode
from tinymlops.wire.messages import SignedBytes, TelemetryBatch
from tinymlops.wire.request_signing import RequestSignature


class Fate(StrEnum):
    """What became of a message."""

    KEPT = "kept"
    """Durable, now or before."""
    MALFORMED = "malformed"
    STRANGER = "not enrolled"
    REVOKED = "revoked"
    FORGED = "signature"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """For the device whose records were kept.

    Attributes:
        device_id: Whose they are.
        content: A `SignedBytes` of `TelemetryKept`, as JSON.
    """

    device_id: str
    content: bytes


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What keeping did.

    Attributes:
        fates: One for each message, in their order.
        answers: One for each device of which something is kept.
    """

    fates: tuple[Fate, ...]
    answers: tuple[Answer, ...]


class _Claim(msgspec.Struct, frozen=True):
    request: CarriedRequest
    claimed: RequestSignature


class CarriedTelemetry:
    """Keeps messages.

    Args:
        inbox: Where they go.
        fleet: Knows the devices.
        sign: Gives the gateway's word for some bytes.
        clock: Seconds since 1970.
    """

    def __init__(
        self, inbox: Inbox, fleet: Fleet, sign: Callable[[bytes], SignedBytes], clock: Callable[[], float]
    ) -> None:
        self._inbox = inbox
        self._fleet = fleet
        self._sign = sign
        self._clock = clock

    def keep(self, messages: Sequence[bytes]) -> Carried:
        """Keep what is to be believed, durable when this returns, in one object.

        Raises:
            StorageError: Store or database failed; nothing may be acknowledged.
            UnreachableError: Likewise.
        """
        claims = [_claim(message) for message in messages]
        named = {claim.claimed.device_id for claim in claims if claim is not None}
        devices = {one.device_id: one for one in self._fleet.devices(ids=named, revoked=True)} if named else {}
        judged = [_judged(claim, devices) for claim in claims]
        deliveries = [one for one in judged if isinstance(one, Delivery)]
        through = self._inbox.keep(deliveries) if deliveries else ()
        # of two messages of a device, the second says how far it goes
        marks = {one.device_id: mark for one, mark in zip(deliveries, through, strict=True)}
        return Carried(
            fates=tuple(Fate.KEPT if isinstance(one, Delivery) else one for one in judged),
            answers=tuple(self._answers(marks)),
        )

    def _answers(self, marks: Mapping[str, int]) -> Iterable[Answer]:
        now_s = self._clock()
        for device_id, through in marks.items():
            told = TelemetryKept(device_id=device_id, through=through, now_s=now_s)
            yield Answer(device_id=device_id, content=encode(self._sign(encode(told))))


def _claim(message: bytes) -> _Claim | None:
    try:
        request = decode_packed(message, CarriedRequest, what="the message")
        return _Claim(request, request.claimed())
    except (FormatError, RefusedError):
        return None


def _judged(claim: _Claim | None, devices: Mapping[str, Device]) -> Delivery | Fate:
    """The records of a message, or why they are not kept."""
    if claim is None:
        return Fate.MALFORMED
    device = devices.get(claim.claimed.device_id)
    if device is None:
        return Fate.STRANGER
    try:
        claim.request.check(claim.claimed, device.keys.signing)
        if device.revoked_s is not None:
            return Fate.REVOKED
        batch = checked(decode_packed(claim.request.body, TelemetryBatch, what="the telemetry"))
    except UntrustedError:
        return Fate.FORGED
    except FormatError:
        return Fate.MALFORMED
    return Delivery(device.device_id, batch.records)
