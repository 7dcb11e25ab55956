"""HPKE base mode with X25519, HKDF-SHA256 and ChaCha20-Poly1305, written from RFC 9180 §4 and §5 for comparison."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_KEM = b"KEM\x00\x20"
_SUITE = b"HPKE\x00\x20\x00\x01\x00\x03"


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + material, hashlib.sha256)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    # No output here is longer than one block of SHA-256.
    return hmac.digest(key, labelled + b"\x01", hashlib.sha256)[:length]


def _key_and_nonce(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    context = b"\x00" + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, shared, b"secret", b"")
    return _expand(_SUITE, secret, b"key", context, 32), _expand(_SUITE, secret, b"base_nonce", context, 12)


def shared_secret(exchanged: bytes, encapsulated: bytes, recipient: bytes) -> bytes:
    key = _extract(_KEM, b"", b"eae_prk", exchanged)
    return _expand(_KEM, key, b"shared_secret", encapsulated + recipient, 32)


def seal(plain: bytes, recipient: X25519PublicKey, ephemeral: X25519PrivateKey, info: bytes, aad: bytes = b"") -> bytes:
    encapsulated = ephemeral.public_key().public_bytes_raw()
    shared = shared_secret(ephemeral.exchange(recipient), encapsulated, recipient.public_bytes_raw())
    key, nonce = _key_and_nonce(shared, info)
    return encapsulated + ChaCha20Poly1305(key).encrypt(nonce, plain, aad)


def unseal(sealed: bytes, recipient: X25519PrivateKey, info: bytes, aad: bytes = b"") -> bytes:
    exchanged = recipient.exchange(X25519PublicKey.from_public_bytes(sealed[:32]))
    shared = shared_secret(exchanged, sealed[:32], recipient.public_key().public_bytes_raw())
    key, nonce = _key_and_nonce(shared, info)
    return ChaCha20Poly1305(key).decrypt(nonce, sealed[32:], aad)
