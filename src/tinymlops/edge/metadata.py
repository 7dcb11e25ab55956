"""The signed repository, as a device follows it: python-tuf's rules, our link, folder and clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import quote

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from tinymlops.edge.link import AbsentError, Link
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import StorageError, UnreachableError, UntrustedError

FOLDER = "tuf"
_BASE = "/v1/metadata/"
_SAVED = {
    "timestamp": Transition.TIMESTAMP_SAVED,
    "snapshot": Transition.SNAPSHOT_SAVED,
}


class ExpiredError(UntrustedError):
    """Metadata that was right once. It blocks updates, never the model that runs."""


class Target:
    """A file of the repository, with what is signed about it.

    Args:
        file: Of the metadata.
    """

    def __init__(self, file: TargetFile) -> None:
        digest = file.hashes.get("sha256")
        if digest is None or len(digest) != 64:
            raise UntrustedError(f"{file.path} is listed without a SHA-256", "the owner has to publish it anew")
        self.path, self.length, self.sha256 = file.path, file.length, digest

    @property
    def url(self) -> str:
        """Path at the gateway, after the rule for consistent snapshots."""
        folder, _, name = self.path.rpartition("/")
        return "/v1/targets/" + (f"{quote(folder)}/" if folder else "") + f"{self.sha256}.{quote(name)}"


class Metadata:
    """One walk through the repository's metadata, from the root down; make another one for the next.

    Args:
        folder: Keeps what was verified.
        link: To the gateway.
        root: Where trust begins: from the enrolment.
        now_s: The trusted time, which decides what has expired.
        observe: Told of what was saved.
    """

    def __init__(self, folder: Folder, link: Link, root: bytes, now_s: float, observe: Observer) -> None:
        self._observe = observe
        with _in_our_words():
            self._updater = _Updater(folder, _Fetcher(link), root, now_s, observe)

    def refresh(self) -> None:
        """Fetch and verify what is new.

        Raises:
            UntrustedError: Something does not hold, or has expired (`ExpiredError`).
            UnreachableError: The gateway does not answer.
            RefusedError: It says no.
        """
        with _in_our_words():
            self._updater.refresh()
        self._observe(Transition.METADATA_REFRESHED, "")

    def find(self, path: str) -> Target | None:
        """What is signed about a target, or None where there is no such; raises as `refresh` does."""
        with _in_our_words():
            found = self._updater.get_targetinfo(path)
        return None if found is None else Target(found)


class _Fetcher(FetcherInterface):
    """python-tuf's way to the gateway; nothing of it goes through temporary files."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError(url)  # pragma: no cover - only whole files are asked for, see download_bytes

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """The file at ``url``; `DownloadHTTPError` tells python-tuf that there is none."""
        try:
            return self._link.get(url, most_bytes=max_length)
        except AbsentError as error:
            raise DownloadHTTPError(str(error), error.status) from error


class _Updater(Updater):
    """python-tuf's updater, with our durable folder in place of its cache and our clock in place of the machine's."""

    def __init__(self, folder: Folder, fetcher: FetcherInterface, root: bytes, now_s: float, observe: Observer) -> None:
        self._folder = folder
        self._told = observe
        config = UpdaterConfig(
            max_root_rotations=256,
            max_delegations=8,
            root_max_length=256 * 1024,
            timestamp_max_length=16 * 1024,
            snapshot_max_length=2 * 1024 * 1024,
            targets_max_length=4 * 1024 * 1024,
        )
        super().__init__(str(folder.path(FOLDER)), _BASE, fetcher=fetcher, config=config, bootstrap=root)
        # Nothing was judged by the time yet: expiry of the root is looked at once the last one is known.
        self._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)

    def _load_local_metadata(self, rolename: str) -> bytes:
        content = self._folder.read(f"{FOLDER}/{quote(rolename, '')}.json")
        if content is None:
            raise FileNotFoundError(rolename)
        return content

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        self._folder.write(f"{FOLDER}/{quote(rolename, '')}.json", data)
        self._told(_SAVED.get(rolename, Transition.TARGETS_SAVED), rolename)

    def _persist_root(self, version: int, data: bytes) -> None:
        name = f"{FOLDER}/root_history/{version}.root.json"
        if self._folder.read(name) != data:
            self._folder.write(name, data)
            self._told(Transition.ROOT_SAVED, str(version))

    def _update_root_symlink(self) -> None:
        """We always begin with the root of the enrolment, so no link to the newest one is needed."""


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except ExpiredMetadataError as error:
        raise ExpiredError(
            f"the signed metadata has expired ({error})",
            "updates wait for fresh metadata, and the model goes on running; the owner runs `tinymlops keys renew`",
        ) from error
    except RepositoryError as error:
        raise UntrustedError(
            f"the signed metadata does not hold ({_first_line(error)})", "nothing of it is used; it is asked for later"
        ) from error
    except DownloadHTTPError as error:
        raise (error.__cause__ or _unreachable(error)) from None
    except DownloadError as error:
        raise _unreachable(error) from error
    except OSError as error:
        raise StorageError(
            f"metadata can't be kept ({error.strerror or error})", "free some space; the model goes on running"
        ) from error


def _unreachable(error: Exception) -> UnreachableError:
    return UnreachableError(f"metadata can't be fetched ({_first_line(error)})", "it is tried again later")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
