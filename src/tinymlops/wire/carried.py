"""Telemetry that strangers carry, such as an MQTT broker: a signed request in one piece, and a signed answer to it.

The message is the very request that would go to ``POST /v1/telemetry``. Nothing around it is believed, neither its
topic nor who brought it, and it may come late, twice or never: records have numbers and are kept once, so an old
message changes nothing, and what is not acknowledged is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from tinymlops.wire import request_signing
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import Count, DeviceId, Moment
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.request_signing import Request, RequestSignature

TARGET = "/v1/telemetry"
TOLD = "tinymlops/v1/telemetry"
"""Topic of what devices tell, each below it under its id."""
KEPT = "tinymlops/v1/kept"
"""Topic of what the owner has kept, likewise."""
MOST_BODY_BYTES = 1024 * 1024
"""As over HTTP."""

_Header = Annotated[str, Meta(max_length=400)]


class CarriedRequest(Versioned, frozen=True, kw_only=True):
    """A signed request with telemetry.

    Attributes:
        content_digest: The header of that name.
        signature_input: Likewise.
        signature: Likewise.
        body: A `TelemetryBatch`, packed.
    """

    content_digest: _Header
    signature_input: _Header
    signature: _Header
    body: Annotated[bytes, Meta(max_length=MOST_BODY_BYTES)]

    @classmethod
    def signed(cls, body: bytes, keys: DeviceKeys, *, now_s: float) -> CarriedRequest:
        """``body`` with the word of the device that has ``keys`` for it."""
        return cls.of(request_signing.sign(Request("POST", TARGET, body), keys, now_s=now_s), body)

    @classmethod
    def of(cls, headers: Mapping[str, str], body: bytes) -> CarriedRequest:
        """A request that is signed already.

        Args:
            headers: As `tinymlops.wire.request_signing.sign` makes them.
            body: What was signed.
        """
        return cls(
            content_digest=headers["Content-Digest"],
            signature_input=headers["Signature-Input"],
            signature=headers["Signature"],
            body=body,
        )

    def claimed(self) -> RequestSignature:
        """Who it says has signed it, and when.

        Raises:
            RefusedError: It is not signed in the way that devices sign.
        """
        return request_signing.read_signature(
            {
                "content-digest": self.content_digest,
                "signature-input": self.signature_input,
                "signature": self.signature,
            }
        )

    def check(self, claimed: RequestSignature, signing_key: bytes) -> None:
        """Check that the device that is claimed has signed it.

        Args:
            claimed: From `claimed`.
            signing_key: Of that device, 32 bytes.

        Raises:
            UntrustedError: It has not.
        """
        request_signing.check(Request("POST", TARGET, self.body), claimed, signing_key)


class TelemetryKept(Versioned, frozen=True, kw_only=True):
    """What a device's records have come to; the gateway's key signs it.

    Attributes:
        device_id: Whose they are.
        through: Highest number that is durable. A device believes none above what it has sent.
        now_s: When that was said.
        kind: Always ``"telemetry"``. The gateway's key signs `SignedBytes` of several kinds, and none may pass for
            another.
    """

    device_id: DeviceId
    through: Count
    now_s: Moment
    kind: Literal["telemetry"] = "telemetry"


def told_topic(device_id: str) -> str:
    """Where a device publishes what it tells."""
    return f"{TOLD}/{device_id}"


def kept_topic(device_id: str) -> str:
    """Where a device learns what is durable."""
    return f"{KEPT}/{device_id}"
