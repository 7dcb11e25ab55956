"""The one-time code that a person carries from the owner to a device: ``TM1-<secret>-<anchor>``.

The secret lets the device in, once. The anchor is a digest over the root of trust, so that the device knows the right
one even if whoever answers its first request lies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re

import msgspec

from tinymlops.errors import UntrustedError, UsageError

_VERSION = "TM1"
_PART_BYTES = 15
_CODE = re.compile(r"TM1-(?P<secret>[A-Z2-7]{24})-(?P<anchor>[A-Z2-7]{24})")


class EnrolmentCode(msgspec.Struct, frozen=True):
    """A code.

    Attributes:
        secret: 15 random bytes; the gateway keeps its digest alone.
        anchor: First 15 bytes of a digest over the root metadata and the gateway's key.

    Raises:
        UsageError: A part is not 15 bytes long.
    """

    secret: bytes
    anchor: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != _PART_BYTES or len(self.anchor) != _PART_BYTES:
            raise UsageError(f"the parts of an enrolment code are not {_PART_BYTES} bytes each", "make a new code")

    def __repr__(self) -> str:
        # Tracebacks and logs show values by this; `str` is for the person who asked for the code.
        return f"EnrolmentCode(secret=…, anchor={self.anchor.hex()})"

    @classmethod
    def new(cls, root: bytes, gateway_key: bytes) -> EnrolmentCode:
        """A fresh code for devices that shall trust ``root`` and ``gateway_key``."""
        return cls(os.urandom(_PART_BYTES), _anchor(root, gateway_key))

    @classmethod
    def parse(cls, text: str) -> EnrolmentCode:
        """The code that a person typed or pasted; case and blanks around it do not matter.

        Raises:
            UsageError: This is no code.
        """
        found = _CODE.fullmatch(text.strip().upper())
        if found is None:
            raise UsageError(
                "this is not an enrolment code (TM1-…-…)", "copy the whole line that `tinymlops fleet code` printed"
            )
        return cls(base64.b32decode(found["secret"]), base64.b32decode(found["anchor"]))

    def __str__(self) -> str:
        return "-".join((_VERSION, base64.b32encode(self.secret).decode(), base64.b32encode(self.anchor).decode()))

    def check_anchor(self, root: bytes, gateway_key: bytes) -> None:
        """Check that an answer names the root of trust that the owner meant.

        Raises:
            UntrustedError: It does not: somebody else answered.
        """
        if not hmac.compare_digest(self.anchor, _anchor(root, gateway_key)):
            raise UntrustedError(
                "the root of trust that the gateway sent is not the one of this enrolment code",
                "check the gateway's address; if it is right, somebody sits in between",
            )


def secret_digest(secret: bytes) -> str:
    """What the gateway keeps of a secret, hexadecimal."""
    return hashlib.sha256(b"tinymlops/enrolment/v1" + secret).hexdigest()


def _anchor(root: bytes, gateway_key: bytes) -> bytes:
    parts = hashlib.sha256(root).digest() + gateway_key
    return hashlib.sha256(b"tinymlops/anchor/v1" + parts).digest()[:_PART_BYTES]
