"""Keys as files: one PKCS#8 PEM a key, readable by its owner alone, never overwritten.

::

    keys/
      root.json                 public: the first root. What every device and every publisher trusts from the start
      offline/root-1.pem …      one each for as many people or places
      offline/targets.pem       comes out when a model is released
      online/devices.pem        the three that the server signs with, and a copy of root.json:
      online/snapshot.pem       the folder to give to the gateway
      online/timestamp.pem
      online/vault.key          opens the content keys of sealed packages
      …/*.pub                   the public half beside each
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from tinymlops.errors import ReleaseError, StorageError, UsageError
from tinymlops.files import write_atomic
from tinymlops.releases.edition import Clock, utc_now
from tinymlops.releases.keyring import Keyring, RoleKeys
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import ONLINE, ROOT, TARGETS, RepositorySettings
from tinymlops.releases.roots import ROOT_ROLES, first_root, sign_root
from tinymlops.releases.vault import new_vault_key
from tinymlops.store.protocol import ObjectStore

Passphrase = Callable[[Path], bytes]
"""Asked for the passphrase of one encrypted file."""

ROOT_FILE = "root.json"
VAULT_FILE = "vault.key"
_SHORTEST_PASSPHRASE = 12
_GENERATED_BYTES = 15


def new_passphrase() -> str:
    """120 random bits in groups of four letters and digits.

    PEM files stretch a passphrase 2,048 times only (PBKDF2 as OpenSSL does it), so one that a person makes up is worth
    little against somebody who has the file; this one needs no stretching.
    """
    text = base64.b32encode(secrets.token_bytes(_GENERATED_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def write_key(path: Path, signer: CryptoSigner, passphrase: bytes | None) -> None:
    """Write a private key to ``path``, mode 0600, and its public half beside it.

    Args:
        path: Ends in ``.pem``.
        signer: Holds the key.
        passphrase: Encrypts it; None leaves it open.

    Raises:
        UsageError: The file exists, or the passphrase is shorter than 12 characters.
        StorageError: It can't be written.
    """
    if passphrase is not None and len(passphrase) < _SHORTEST_PASSPHRASE:
        raise UsageError(
            f"a passphrase of {len(passphrase)} characters is too short",
            f"take at least {_SHORTEST_PASSPHRASE}, or let one be made",
        )
    _write_secret(path, _private_pem(signer, passphrase))
    write_atomic(path.with_suffix(".pub"), _public_pem(signer.public_key))


def read_key(path: Path, passphrase: Passphrase | None = None) -> CryptoSigner:
    """The private key in ``path``.

    Raises:
        ReleaseError: It is no Ed25519 key, or the passphrase is missing or wrong.
        StorageError: It can't be read.
    """
    content = _read(path)
    given = passphrase(path) if b"ENCRYPTED" in content and passphrase is not None else None
    try:
        key = serialization.load_pem_private_key(content, given)
    except TypeError as error:
        raise ReleaseError(f"{path} is encrypted", "give its passphrase with --passphrase-file") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ReleaseError(f"{path} does not open ({error})", "check the passphrase and the file") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{path} is not an Ed25519 key", "make one with `tinymlops keys new`")
    return CryptoSigner(key)


def read_public_key(path: Path) -> Key:
    """The public key in ``path``.

    Raises:
        ReleaseError: It is no Ed25519 public key.
        StorageError: It can't be read.
    """
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ReleaseError(f"{path} is not a public key ({error})", "name a .pub file") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ReleaseError(f"{path} is not an Ed25519 key", "make one with `tinymlops keys new`")
    return SSlibKey.from_crypto(key)


def create_keys(
    folder: Path,
    *,
    passphrase: bytes | None,
    root_keys: int = 3,
    threshold: int = 2,
    settings: RepositorySettings | None = None,
    now: Clock = utc_now,
) -> bytes:
    """Make all keys of a repository and its signed first root in ``folder``; gives back the root.

    Args:
        folder: Must not hold any of the files.
        passphrase: For the offline keys; None leaves them open, which is for development alone.
        root_keys: How many.
        threshold: How many of them must sign a root.
        settings: Lifetimes.
        now: The clock.

    Raises:
        UsageError: There are keys in the folder already.
        ReleaseError: Fewer root keys than the threshold.
        StorageError: The folder can't be written.
    """
    keys = RoleKeys.generate(root_keys=root_keys)
    public = {ROOT: [key.public_key for key in keys.root]}
    public |= {role: [getattr(keys, role).public_key] for role in ROOT_ROLES if role != ROOT}
    lifetimes = (settings or RepositorySettings()).lifetimes
    root = sign_root(first_root(public, threshold=threshold, now=now(), lifetimes=lifetimes), keys.root)
    files: dict[Path, tuple[Signer, bytes | None]] = {
        folder / "offline" / f"root-{number}.pem": (key, passphrase) for number, key in enumerate(keys.root, start=1)
    }
    files[folder / "offline" / f"{TARGETS}.pem"] = (keys.targets, passphrase)
    files |= {folder / "online" / f"{role}.pem": (getattr(keys, role), None) for role in ONLINE}
    refuse_existing((*files, folder / ROOT_FILE, folder / "online" / VAULT_FILE))
    for path, (signer, secret) in files.items():
        assert isinstance(signer, CryptoSigner)  # noqa: S101 - made above
        write_key(path, signer, secret)
    install_root(folder, root)
    return root


def install_root(folder: Path, root: bytes) -> None:
    """Put the first root beside the keys, where it is trusted from now on; and a vault key if there is none.

    Raises:
        UsageError: There is a root already.
        StorageError: The folder can't be written.
    """
    copies = (folder / ROOT_FILE, folder / "online" / ROOT_FILE)
    refuse_existing(copies)
    if not (folder / "online" / VAULT_FILE).exists():
        _write_secret(folder / "online" / VAULT_FILE, new_vault_key())
    for copy in copies:
        write_atomic(copy, root)


def load_keyring(places: Iterable[Path], passphrase: Passphrase | None = None) -> Keyring:
    """Every ``.pem`` in some files and folders, with the folders below.

    Raises:
        ReleaseError: There is none, or one does not open.
    """
    files = key_files_in(places)
    if not files:
        raise ReleaseError("there are no keys", "make them with `tinymlops keys create`, or name their folder")
    return Keyring(read_key(file, passphrase) for file in files)


def key_files_in(places: Iterable[Path]) -> list[Path]:
    """Every ``.pem`` in some files and folders, with the folders below."""
    return [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.pem")))]


def trusted_root(folder: Path) -> bytes:
    """The root that was put beside the keys when they were made, in ``folder`` or the one above.

    Raises:
        ReleaseError: There is none.
    """
    for place in (folder, folder.parent):
        if (place / ROOT_FILE).is_file():
            return _read(place / ROOT_FILE)
    raise ReleaseError(f"there is no {ROOT_FILE} in {folder}", "copy it from the folder that the keys were made in")


def open_repository(
    store: ObjectStore,
    folder: Path,
    *,
    passphrase: Passphrase | None = None,
    settings: RepositorySettings | None = None,
    now: Clock = utc_now,
) -> Repository:
    """The repository in ``store`` with the keys of ``folder``: all of them, or ``keys/online`` alone.

    Raises:
        ReleaseError: No keys, no root, or a passphrase that is missing or wrong.
    """
    keyring = load_keyring([folder], passphrase)
    return Repository(store, keyring, trusted_root=trusted_root(folder), settings=settings, now=now)


def refuse_existing(paths: Iterable[Path]) -> None:
    """Check that nothing would be overwritten.

    Raises:
        UsageError: One of ``paths`` exists.
    """
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists already", "keys are never overwritten: choose another folder with --out")


def _private_pem(signer: CryptoSigner, passphrase: bytes | None) -> bytes:
    if passphrase is None:
        return signer.private_bytes
    key = serialization.load_pem_private_key(signer.private_bytes, None)
    encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _public_pem(key: SSlibKey) -> bytes:
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_secret(path: Path, content: bytes) -> None:
    refuse_existing([path])
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path} can't be written ({error.strerror})", "choose another folder with --out") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} can't be read ({error.strerror})", "check its name and permissions") from error
