"""Who sent a webhook: the scheme of Standard Webhooks 1.0 (https://www.standardwebhooks.com), symmetric form.

Three headers: ``webhook-id`` names the request and stays the same when it is sent again, ``webhook-timestamp`` says
when it was sent, and ``webhook-signature`` holds one or more of ``v1,<base64>``, each the HMAC-SHA256 of
``<id>.<timestamp>.<body>`` under one secret. Several secrets hold at once while one is being exchanged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tinymlops.errors import UntrustedError, UsageError
from tinymlops.gateway.private_files import private_text

TOLERANCE_S = 300
"""How far a request's time may be from ours, in seconds; Standard Webhooks' own choice."""
_PREFIX = "whsec_"
_FEWEST_BYTES, _MOST_BYTES = 24, 64
_MOST_SIGNATURES = 8
# no full stop: it ends the name in what is signed
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIME = re.compile(r"[0-9]{1,12}")


class Secret:
    """What both sides know; never shown.

    Args:
        key: 24 to 64 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Secret:
        """A fresh one of 32 random bytes."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> Secret:
        """The secret written as ``whsec_<base64>``.

        Raises:
            UsageError: It is none; the message does not repeat it.
        """
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except ValueError:  # also what binascii raises
            key = b""
        if not text.startswith(_PREFIX) or not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
            raise UsageError(
                f"a webhook secret is not {_PREFIX} and {_FEWEST_BYTES} to {_MOST_BYTES} bytes in base64",
                f'make one with `echo "{_PREFIX}$(openssl rand -base64 32)"`',
            )
        return cls(key)

    def text(self) -> str:
        """As `parse` reads it; for the file that holds it, and nothing else."""
        return _PREFIX + base64.b64encode(self._key).decode()

    def sign(self, webhook_id: str, timestamp_s: int, body: bytes) -> str:
        """``v1,<base64>`` for the header ``webhook-signature``."""
        content = f"{webhook_id}.{timestamp_s}.".encode() + body
        return "v1," + base64.b64encode(hmac.digest(self._key, content, hashlib.sha256)).decode()

    def __repr__(self) -> str:
        return "Secret(…)"


class WebhookHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """What the three headers claim.

    Attributes:
        webhook_id: Name of the request.
        timestamp_s: When it was sent, seconds since 1970.
        signatures: Of which one must hold.
    """

    webhook_id: str
    timestamp_s: int
    signatures: tuple[str, ...]


def read_secrets(file: Path) -> tuple[Secret, ...]:
    """The secrets in ``file``, one a line; empty lines and those that begin with ``#`` do not count.

    Raises:
        UsageError: It can't be read, others may read it, or it holds something else or nothing.
    """
    lines = [line.strip() for line in private_text(file, "secrets").splitlines()]
    found = tuple(Secret.parse(line) for line in lines if line and not line.startswith("#"))
    if not found:
        raise UsageError(f"{file} holds no secret", f'make one with `echo "{_PREFIX}$(openssl rand -base64 32)"`')
    return found


def read_headers(headers: Iterable[tuple[str, str]]) -> WebhookHeaders:
    """What the headers of a request claim.

    Args:
        headers: Names and values as they came. One that comes twice counts as none: nobody could say which was meant.

    Raises:
        UntrustedError: One of the three is missing or malformed.
    """
    found: dict[str, list[str]] = {"webhook-id": [], "webhook-timestamp": [], "webhook-signature": []}
    for name, value in headers:
        found.get(name.lower(), []).append(value)
    name, time, signatures = ("" if len(values) != 1 else values[0] for values in found.values())
    listed = tuple(one for one in signatures.split(" ") if one.startswith("v1,"))[:_MOST_SIGNATURES]
    if not _NAME.fullmatch(name) or not _TIME.fullmatch(time) or not listed:
        raise UntrustedError(
            "the request does not carry webhook-id (letters, digits, _ and -), webhook-timestamp and webhook-signature",
            "sign it as docs/webhooks.md says",
        )
    return WebhookHeaders(webhook_id=name, timestamp_s=int(time), signatures=listed)


def check(claimed: WebhookHeaders, body: bytes, secrets_: Sequence[Secret], *, now_s: float) -> None:
    """Check that one of the secrets signed the request, and lately.

    Every secret is tried against every signature in a time that does not depend on what is right.

    Raises:
        UntrustedError: Not so.
    """
    expected = [one.sign(claimed.webhook_id, claimed.timestamp_s, body).encode() for one in secrets_]
    # bytes, since compare_digest takes no text beyond ASCII
    given = [one.encode() for one in claimed.signatures]
    holds = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(holds):
        raise UntrustedError("the signature of the webhook does not hold", "check the secret, and that the body is raw")
    if abs(now_s - claimed.timestamp_s) > TOLERANCE_S:
        raise UntrustedError(
            f"the webhook is dated more than {TOLERANCE_S} seconds from the gateway's time",
            "set the clock right, or sign it again with the time it is now",
        )
