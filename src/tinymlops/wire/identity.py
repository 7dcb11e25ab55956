"""Who a device is: an Ed25519 key that signs and an X25519 key that packages are sealed to."""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tinymlops.errors import FormatError, UntrustedError

KEY_BYTES = 32
_HEADER = b"TMK\x01"
_ID_DOMAIN = b"tinymlops/device/v1"
_PRIME = 2**255 - 19
# Points of order 1, 2, 4 or 8. With such a signing key anybody's signature would hold; with such a sealing key
# everybody would know the shared secret, and X25519 stops. Both coordinates are listed modulo the prime: RFC 7748 §6.1,
# RFC 8032 §8.9, and the lists in Cremers and Jackson (CSF 2019).
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)
_SMALL_ORDER_U = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)


class PublicKeys(msgspec.Struct, frozen=True):
    """What everybody may know of a device.

    Attributes:
        signing: Ed25519, 32 bytes.
        sealing: X25519, 32 bytes.

    Raises:
        FormatError: A key is not 32 bytes long, or a point of small order, which protects nothing.
    """

    signing: bytes
    sealing: bytes

    def __post_init__(self) -> None:
        if len(self.signing) != KEY_BYTES or len(self.sealing) != KEY_BYTES:
            raise FormatError("a device's public keys are not 32 bytes each", "enrol the device again")
        if _coordinate(self.signing) in _SMALL_ORDER_Y or _coordinate(self.sealing) in _SMALL_ORDER_U:
            raise FormatError("a device's public key is a point of small order", "make new keys and enrol again")

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
        """Ed25519 signature, 64 bytes (RFC 8032).

        What this key signs must say by its first bytes what it is: requests start with ``"@method"``, everything else
        that the device signs for itself starts with a name of its own.
        """
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


def read_public_pem(content: bytes, name: object) -> bytes:
    """The Ed25519 public key in a PEM file: 32 bytes.

    Args:
        content: Of the file.
        name: Of the file, for the error.

    Raises:
        FormatError: It holds no such key.
    """
    try:
        key: object = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise FormatError(f"{name} holds no Ed25519 public key in PEM", "restore the file from its copy")
    return key.public_bytes_raw()


def sealing_public_key(public: PublicKeys) -> X25519PublicKey:
    """The key that content keys are wrapped to."""
    return X25519PublicKey.from_public_bytes(public.sealing)


def _coordinate(key: bytes) -> int:
    # The top bit is a sign or is ignored, and numbers above the prime stand for the same points again.
    return int.from_bytes(key, "little") % 2**255 % _PRIME
