"""The gateway's own key: it signs the time, vouchers and acknowledgements, and enrolment codes name it."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tinymlops.errors import FormatError, SetupError, StorageError, UsageError
from tinymlops.files import write_atomic
from tinymlops.wire.messages import SignedBytes


class GatewayKey:
    """An Ed25519 key.

    Args:
        private: The key.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> GatewayKey:
        """A fresh key that is nowhere but in memory."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def create(cls, path: Path) -> GatewayKey:
        """A fresh key, kept in ``path`` (PKCS #8 PEM, for its owner's eyes only), with its public half beside it.

        Args:
            path: Ends in ``.pem``; the public half ends in ``.pub``.

        Raises:
            UsageError: The file exists: every code and device that names its key would be cut off.
            StorageError: It can't be written.
        """
        private = Ed25519PrivateKey.generate()
        content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            write_atomic(path.with_suffix(".pub"), _public_pem(private))
        except FileExistsError as error:
            raise UsageError(
                f"there is a gateway key in {path} already", "keep it: enrolment codes and devices know it by name"
            ) from error
        except OSError as error:
            raise StorageError(f"{path} can't be written ({error.strerror})", "choose another --key") from error
        return cls(private)

    @classmethod
    def load(cls, path: Path) -> GatewayKey:
        """The key in ``path``.

        Raises:
            SetupError: There is none, or others may read it.
            FormatError: It is no Ed25519 key.
        """
        try:
            content, mode = path.read_bytes(), path.stat().st_mode
        except OSError as error:
            raise SetupError(
                f"there is no gateway key in {path} ({error.strerror})", "make one with `tinymlops gateway init`"
            ) from error
        if mode & 0o077:
            raise SetupError(f"others may read the gateway key {path}", f"run `chmod 600 {path}`")
        try:
            private = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _no_key(path) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise _no_key(path)
        return cls(private)

    @staticmethod
    def read_public(path: Path) -> bytes:
        """The public half in ``path``: 32 bytes, for enrolment codes.

        Raises:
            SetupError: There is no such file.
            FormatError: It is no Ed25519 public key.
        """
        try:
            key = load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise SetupError(
                f"there is no public key of the gateway in {path} ({error.strerror})",
                "make one with `tinymlops gateway init`, or copy the .pub file from the gateway",
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _no_key(path) from error
        if not isinstance(key, Ed25519PublicKey):
            raise _no_key(path)
        return key.public_bytes_raw()

    def signature(self, content: bytes) -> bytes:
        """Ed25519 signature of 64 bytes. What is signed must say by its first bytes what it is."""
        return self._private.sign(content)

    def sign(self, content: bytes) -> SignedBytes:
        """``content`` with the gateway's word for it."""
        return SignedBytes(content, self._private.sign(content))


def _public_pem(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _no_key(path: Path) -> FormatError:
    return FormatError(f"{path} holds no Ed25519 key in PEM", "restore the file from its copy")
