"""Signed requests: one fixed profile of HTTP Message Signatures (RFC 9421) with Content-Digest (RFC 9530).

Signed are method, path, query, the digest of the body, a time and a nonce. What is not signed decides nothing. The
host is left out, since a proxy may change it; nonces keep a request from being played again.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping

import msgspec

from tinymlops.errors import RefusedError, UntrustedError, UsageError
from tinymlops.wire import cose
from tinymlops.wire.identity import DeviceKeys, verify

CLOCK_WINDOW_S = 300
"""How far the time of a request may be from the receiver's, in seconds."""
NONCE_MEMORY_S = 2 * CLOCK_WINDOW_S + 1
"""How long a nonce is remembered after it arrived, at least, in seconds. A device whose clock is ahead signs for a time
to come, and its request stays timely from one end of the window to the other."""

_TAG = "tinymlops-device-v1"
_COVERED = '("@method" "@path" "@query" "content-digest")'
_INPUT = re.compile(
    r'sig1=(?P<parameters>\("@method" "@path" "@query" "content-digest"\)'
    r';created=(?P<created>0|[1-9][0-9]{0,11});keyid="(?P<device>[0-9a-f]{32})";alg="ed25519"'
    rf';nonce="(?P<nonce>[A-Za-z0-9_-]{{22}})";tag="{_TAG}")'
)
# One spelling alone: the last character holds two bits, and the four below them are 0.
_SIGNATURE = re.compile(r"sig1=:(?P<signature>[A-Za-z0-9+/]{85}[AQgw]==):")
# Visible ASCII without "#": nothing that could end a line of the signed text, or that a parser could drop.
_METHOD = re.compile(r"[A-Z]{1,16}")
_TARGET = re.compile(r"/[!-\"$-~]{0,2047}")


class Request(msgspec.Struct, frozen=True):
    """What of a request is signed.

    Attributes:
        method: For example ``"POST"``, in capitals.
        target: Path and, after a question mark, the query; as sent, escapes and all, never decoded.
        body: Empty for a GET.
    """

    method: str
    target: str
    body: bytes = b""


class RequestSignature(msgspec.Struct, frozen=True):
    """What the headers of a request claim; nothing of it is believed before `check`.

    Attributes:
        device_id: Whose key signed.
        created: When, in seconds since 1970 by the device's clock.
        nonce: 22 characters, different in every request of a device.
        parameters: The signed text of these.
        signature: 64 bytes.
        content_digest: The header of that name.
    """

    device_id: str
    created: int
    nonce: str
    parameters: str
    signature: bytes
    content_digest: str


def sign(request: Request, keys: DeviceKeys, *, now_s: float) -> dict[str, str]:
    """The headers that make ``request`` believable.

    Args:
        request: What is sent.
        keys: Of the device.
        now_s: Seconds since 1970.

    Raises:
        UsageError: The method or target has characters that can't be sent as they are.
    """
    if not _is_plain(request):
        raise UsageError(
            f"the target {request.target!r} can't be signed", "use capitals for the method, escape the path"
        )
    nonce = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()
    created = max(0, int(now_s))
    parameters = f'{_COVERED};created={created};keyid="{keys.device_id}";alg="ed25519";nonce="{nonce}";tag="{_TAG}"'
    digest = _content_digest(request.body)
    signature = base64.b64encode(keys.sign(_base(request, digest, parameters))).decode()
    return {"Content-Digest": digest, "Signature-Input": f"sig1={parameters}", "Signature": f"sig1=:{signature}:"}


def read_signature(headers: Mapping[str, str]) -> RequestSignature:
    """What the headers claim.

    Args:
        headers: Of the request, names in lower case.

    Raises:
        RefusedError: There is no signature, or one of another profile.
    """
    claimed = _INPUT.fullmatch(headers.get("signature-input", ""))
    signature = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if claimed is None or signature is None:
        raise RefusedError("the request is not signed in the way that devices sign", "enrol, and use the agent")
    return RequestSignature(
        device_id=claimed["device"],
        created=int(claimed["created"]),
        nonce=claimed["nonce"],
        parameters=claimed["parameters"],
        signature=base64.b64decode(signature["signature"]),
        content_digest=headers.get("content-digest", ""),
    )


def check(request: Request, claimed: RequestSignature, signing_key: bytes, *, verifier: cose.Verifier = verify) -> None:
    """Check that ``request`` is what the device signed. Time and nonce are the receiver's to judge.

    Args:
        request: As it arrived.
        claimed: From `read_signature`.
        signing_key: Of the device named there, 32 bytes.
        verifier: Checks Ed25519 signatures; OpenSSL's unless given.

    Raises:
        UntrustedError: Body or signature do not hold, or the target could be read in two ways.
    """
    if not _is_plain(request):
        raise UntrustedError("the method or target of the request has characters that nobody signs", "escape them")
    digest = _content_digest(request.body)
    if digest != claimed.content_digest:
        raise UntrustedError("the body of the request is not the one that was signed", "send it again")
    verifier(signing_key, claimed.signature, _base(request, digest, claimed.parameters), what="the request")


def is_timely(claimed: RequestSignature, *, now_s: float) -> bool:
    """Whether the request was signed within `CLOCK_WINDOW_S` of ``now_s``; if so, its nonce decides."""
    return abs(now_s - claimed.created) <= CLOCK_WINDOW_S


def _content_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def _is_plain(request: Request) -> bool:
    return bool(_METHOD.fullmatch(request.method) and _TARGET.fullmatch(request.target))


def _base(request: Request, digest: str, parameters: str) -> bytes:
    path, _, query = request.target.partition("?")
    lines = (
        f'"@method": {request.method}',
        f'"@path": {path}',
        f'"@query": ?{query}',
        f'"content-digest": {digest}',
        f'"@signature-params": {parameters}',
    )
    return "\n".join(lines).encode()
