"""Ed25519 checked by libsodium: what a gateway spends most of its time on takes two thirds of what OpenSSL needs.

Both refuse the same forgeries. libsodium is the stricter one: it also refuses keys and points of small order, and
numbers that are not in their one form, so nothing passes here that a customer's own check would not let pass.
"""

from __future__ import annotations

from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError, CryptoError

from tinymlops.errors import UntrustedError


def verify(signing_key: bytes, signature: bytes, message: bytes, *, what: str) -> None:
    """Check an Ed25519 signature; as `tinymlops.wire.identity.verify`, and without the interpreter's lock.

    Args:
        signing_key: Public key, 32 bytes.
        signature: 64 bytes.
        message: What was signed.
        what: Words for the error.

    Raises:
        UntrustedError: The signature does not hold.
    """
    try:
        if len(signature) != crypto_sign_BYTES:
            raise BadSignatureError
        crypto_sign_open(signature + message, signing_key)
    except (CryptoError, ValueError) as error:
        raise UntrustedError(
            f"the signature of {what} does not hold", "do not use it; ask again, and report it if it stays"
        ) from error
