"""Content keys of sealed packages, kept by the owner under one vault key.

They belong in a store that no device and no gateway route reaches: whoever has a content key can open its package.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tinymlops.errors import ReleaseError, UntrustedError, UsageError
from tinymlops.store.protocol import ObjectStore

KEY_BYTES = 32
_PREFIX = "content-keys/"
_VERSION = b"\x01"
_NONCE_BYTES = 12
_PURPOSE = b"tinymlops/vault/v1/"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def new_vault_key() -> bytes:
    """32 random bytes."""
    return os.urandom(KEY_BYTES)


class Vault:
    """Content keys by id, each encrypted with AES-256-GCM and bound to its id.

    Args:
        store: The owner's private one.
        key: The vault key, 32 bytes.

    Raises:
        UsageError: The key has another length.
    """

    def __init__(self, store: ObjectStore, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise UsageError(f"a vault key of {len(key)} bytes can't be", f"give the {KEY_BYTES} bytes that were made")
        self._store = store
        self._cipher = AESGCM(key)
        self._opened: dict[str, bytes] = {}  # an id never gets another key

    def put(self, key_id: str, content_key: bytes) -> None:
        """Keep ``content_key``; once more is no mistake.

        Raises:
            ReleaseError: Another key is kept under this id.
            UsageError: This is no id.
        """
        nonce = os.urandom(_NONCE_BYTES)
        sealed = _VERSION + nonce + self._cipher.encrypt(nonce, content_key, _bound_to(key_id))
        if self._store.put_if_absent(_PREFIX + key_id, sealed) is None and self.get(key_id) != content_key:
            raise ReleaseError(f"the vault holds another key called {key_id}", "seal with a fresh id")

    def get(self, key_id: str) -> bytes:
        """The content key.

        Raises:
            NotFoundError: There is none.
            UntrustedError: The vault key is another one, or the entry was changed or moved.
        """
        if key_id not in self._opened:
            self._opened[key_id] = self._open(key_id)
        return self._opened[key_id]

    def list(self) -> Iterator[str]:
        """All ids."""
        return (found.key.removeprefix(_PREFIX) for found in self._store.list(_PREFIX))

    def _open(self, key_id: str) -> bytes:
        bound = _bound_to(key_id)
        sealed = self._store.get(_PREFIX + key_id)
        if sealed[:1] != _VERSION:
            raise _not_ours(key_id)
        start = 1 + _NONCE_BYTES
        try:
            return self._cipher.decrypt(sealed[1:start], sealed[start:], bound)
        except (InvalidTag, ValueError) as error:  # the second where the nonce itself is cut off
            raise _not_ours(key_id) from error


def _not_ours(key_id: str) -> UntrustedError:
    return UntrustedError(
        f"the vault's entry {key_id} does not open", "check the vault key; restore the entry from a copy"
    )


def _bound_to(key_id: str) -> bytes:
    if _KEY_ID.fullmatch(key_id) is None:
        raise UsageError(f"{key_id[:80]!r} is no key id", "use up to 64 letters, digits, - and _")
    return _PURPOSE + key_id.encode()
