"""Who a device is: an Ed25519 key that signs and an X25519 key that packages are sealed to."""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tinymlops.errors import FormatError, UntrustedError

KEY_BYTES = 32
_HEADER = b"TMK\x01"
_ID_DOMAIN = b"tinymlops/device/v1"


class PublicKeys(msgspec.Struct, frozen=True):
    """What everybody may know of a device.

    Attributes:
        signing: Ed25519, 32 bytes.
        sealing: X25519, 32 bytes.

    Raises:
        FormatError: A key is not 32 bytes long.
    """

    signing: bytes
    sealing: bytes

    def __post_init__(self) -> None:
        if len(self.signing) != KEY_BYTES or len(self.sealing) != KEY_BYTES:
            raise FormatError("a device's public keys are not 32 bytes each", "enrol the device again")

    @property
    def device_id(self) -> str:
        """32 hexadecimal digits of a digest over both keys: nobody else can have it, and nobody has to give it out."""
        return hashlib.sha256(_ID_DOMAIN + self.signing + self.sealing).hexdigest()[:32]


class DeviceKeys:
    """A device's two private keys. They never leave the device.

    Args:
        signing: Signs requests, health and the device's own records.
        sealing: Opens content keys that were wrapped for this device.
    """

    def __init__(self, signing: Ed25519PrivateKey, sealing: X25519PrivateKey) -> None:
        self._signing = signing
        self.sealing = sealing
        self.public = PublicKeys(signing.public_key().public_bytes_raw(), sealing.public_key().public_bytes_raw())
        self.device_id = self.public.device_id

    @classmethod
    def generate(cls) -> DeviceKeys:
        """Fresh keys from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, content: bytes) -> DeviceKeys:
        """Keys as `to_bytes` wrote them.

        Raises:
            FormatError: These are no keys, or of a version that is not known.
        """
        body = content[len(_HEADER) :]
        if not content.startswith(_HEADER) or len(body) != 2 * KEY_BYTES:
            raise FormatError(
                "this is not a device key file of a known version", "restore the file, or enrol the device anew"
            )
        return cls(
            Ed25519PrivateKey.from_private_bytes(body[:KEY_BYTES]),
            X25519PrivateKey.from_private_bytes(body[KEY_BYTES:]),
        )

    def to_bytes(self) -> bytes:
        """68 secret bytes: version, signing key, sealing key."""
        return _HEADER + self._signing.private_bytes_raw() + self.sealing.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes (RFC 8032)."""
        return self._signing.sign(message)


def verify(signing_key: bytes, signature: bytes, message: bytes, *, what: str) -> None:
    """Check an Ed25519 signature.

    Args:
        signing_key: Public key, 32 bytes.
        signature: 64 bytes.
        message: What was signed.
        what: Words for the error, for example ``"the time answer"``.

    Raises:
        UntrustedError: The signature does not hold.
    """
    try:
        Ed25519PublicKey.from_public_bytes(signing_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise UntrustedError(
            f"the signature of {what} does not hold", "do not use it; ask again, and report it if it stays"
        ) from error


def sealing_public_key(public: PublicKeys) -> X25519PublicKey:
    """The key that content keys are wrapped to."""
    return X25519PublicKey.from_public_bytes(public.sealing)
