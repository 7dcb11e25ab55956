"""Small repositories, and a device that reads them with python-tuf's own client."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from tinymlops.releases.creation import create_repository
from tinymlops.releases.edition import Clock, utc_now
from tinymlops.releases.keyring import RoleKeys
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import RepositorySettings
from tinymlops.releases.roots import ROOT_ROLES, first_root, sign_root
from tinymlops.store import NotFoundError, ObjectStore

FEW_BINS = RepositorySettings(bin_bits=2)
HOST = "http://repository/"


def device_id(number: int) -> str:
    """A well-formed id."""
    return f"{number:032x}"


def ago(**span: float) -> Clock:
    """A clock that is behind."""
    return lambda: datetime.now(UTC) - timedelta(**span)


def signed_root(keys: RoleKeys, *, threshold: int = 2, now: Clock = utc_now) -> bytes:
    """A first root, signed by all root keys."""
    public = {role: [getattr(keys, role).public_key] for role in ROOT_ROLES if role != "root"}
    public["root"] = [key.public_key for key in keys.root]
    return sign_root(first_root(public, threshold=threshold, now=now()), keys.root)


def new_repository(
    store: ObjectStore,
    keys: RoleKeys | None = None,
    *,
    settings: RepositorySettings = FEW_BINS,
    now: Clock = utc_now,
) -> Repository:
    """A fresh repository with all keys at hand."""
    keys = keys or RoleKeys.generate()
    root = signed_root(keys, now=now)
    return create_repository(store, keys.keyring(), root=root, devices_key=keys.devices, settings=settings, now=now)


class Device:
    """What python-tuf's reference client makes of a repository.

    Args:
        store: Where the repository lies.
        root: What the device trusts from the start.
        folder: Its memory.
    """

    def __init__(self, store: ObjectStore, root: bytes, folder: Path) -> None:
        self._fetcher, self._root, self._folder = _FromStore(store), root, folder
        (folder / "targets").mkdir(parents=True, exist_ok=True)

    def refresh(self) -> Updater:
        """A client that has followed the repository to its newest state."""
        updater = Updater(
            str(self._folder),
            f"{HOST}metadata/",
            str(self._folder / "targets"),
            f"{HOST}targets/",
            fetcher=self._fetcher,
            config=UpdaterConfig(prefix_targets_with_hash=True),
            bootstrap=self._root,
        )
        updater.refresh()
        return updater

    def read(self, path: str) -> bytes | None:
        """A target, or None if nobody who may has signed it."""
        updater = self.refresh()
        info = updater.get_targetinfo(path)
        return None if info is None else Path(updater.download_target(info)).read_bytes()


class _FromStore(FetcherInterface):
    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        key = urllib.parse.unquote(url.removeprefix(HOST))
        try:
            return iter([self._store.get(key)])
        except NotFoundError as error:
            raise DownloadHTTPError(key, 404) from error


def key_id(signer: Signer) -> str:
    """Id of a signer's key."""
    return str(signer.public_key.keyid)
