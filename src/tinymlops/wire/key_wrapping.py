"""A package's content key, wrapped for one device by HPKE (RFC 9180, base mode).

Base mode does not tell who wrapped the key. That comes from the signed assignment that carries it.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire.identity import DeviceKeys, PublicKeys, sealing_public_key

CONTENT_KEY_BYTES = 32
WRAPPED_KEY_BYTES = 80
"""32 encapsulated, 32 of key, 16 of tag."""

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def new_content_key() -> bytes:
    """32 bytes from the operating system's randomness."""
    return os.urandom(CONTENT_KEY_BYTES)


def wrap(content_key: bytes, device: PublicKeys, key_id: str) -> bytes:
    """``content_key`` for ``device`` alone: 80 bytes, bound to the device and to the package's key id.

    Raises:
        FormatError: The content key is not 32 bytes long.
    """
    if len(content_key) != CONTENT_KEY_BYTES:
        raise FormatError(f"the content key {key_id} is not {CONTENT_KEY_BYTES} bytes long", "seal the package again")
    return _SUITE.encrypt(content_key, sealing_public_key(device), info=_info(device.device_id, key_id))


def unwrap(wrapped: bytes, device: DeviceKeys, key_id: str) -> bytes:
    """The content key out of `wrap`'s 80 bytes.

    Raises:
        UntrustedError: It was wrapped for another device or package, or damaged.
    """
    problem = f"the content key {key_id} was not wrapped for this device and package"
    # Whoever knows the device's public key can wrap something, so the length is not proved by the tag.
    if len(wrapped) != WRAPPED_KEY_BYTES:
        raise UntrustedError(problem, "wait for the next assignment")
    try:
        return _SUITE.decrypt(wrapped, device.sealing, info=_info(device.device_id, key_id))
    except (InvalidTag, ValueError) as error:
        raise UntrustedError(problem, "wait for the next assignment") from error


def _info(device_id: str, key_id: str) -> bytes:
    # The device id has a fixed length and the key id is last: no two pairs give the same text.
    return f"tinymlops/content-key/v1|{device_id}|{key_id}".encode()
