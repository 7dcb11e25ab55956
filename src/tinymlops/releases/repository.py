"""The signed repository that devices read: what exists, and what each of them is offered (TUF, theupdateframework.io).

::

    root (offline, 2 of 3)
     ├─ targets (offline)      releases/<workload>/<version>/…   manifests and sealed packages
     │   └─ devices (online)   devices/* and nothing else
     │       └─ bin-00 … ff    devices/<device id>                one small assignment each
     ├─ snapshot (online)      which versions belong together
     └─ timestamp (online)     which snapshot is the newest

Whoever steals the online keys can offer a device only what the targets key has signed: never another model.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tuf.api.metadata import Root, TargetFile, Targets

from tinymlops.errors import ReleaseError, UntrustedError
from tinymlops.files import sha256
from tinymlops.releases.edition import Basis, Clock, Edition, Signing, utc_now
from tinymlops.releases.keyring import Keyring
from tinymlops.releases.metadata_files import TIMESTAMP_KEY, MetadataFiles
from tinymlops.releases.roles import TARGETS, RepositorySettings
from tinymlops.releases.stored import stored_as
from tinymlops.releases.values import Published, Target, TargetFacts
from tinymlops.store.protocol import NotFoundError, ObjectStore
from tinymlops.wire.assignment import target_of

__all__ = ["Published", "Repository", "Target", "TargetFacts"]

_ATTEMPTS = 30
_LONGEST_WAIT_S = 1.0
_RELEASES = "releases/"


class Repository:
    """A repository in a store, for whoever publishes.

    Args:
        store: Holds it.
        keyring: The keys of this machine; a method says which it needs.
        trusted_root: A root that this machine keeps beside its keys: never one out of the store.
        settings: Lifetimes of what is signed from now on.
        now: The clock.

    Raises:
        UntrustedError: ``trusted_root`` is no root that its own keys signed.
    """

    def __init__(
        self,
        store: ObjectStore,
        keyring: Keyring,
        *,
        trusted_root: bytes,
        settings: RepositorySettings | None = None,
        now: Clock = utc_now,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.settings = settings or RepositorySettings()
        self.now = now
        self.files = MetadataFiles(store, trusted_root)
        self._seen = 0
        self._taken: dict[str, int] = {}

    def publish_targets(self, targets: Mapping[str, Target]) -> Published:
        """List and store files under ``releases/``; one commit for all. Needs targets, snapshot and timestamp keys.

        Raises:
            ReleaseError: A path outside ``releases/``, or a key that is not here.
        """
        entries = [_entry(_under_releases(path), target.content, target.custom) for path, target in targets.items()]
        self._store(entries, [target.content for target in targets.values()])
        return self.edit(lambda edition: edition.change(TARGETS).targets.update({each.path: each for each in entries}))

    def remove_targets(self, paths: Iterable[str]) -> Published:
        """Take files off the list; devices that are offered them find them no more. Needs the keys of publishing."""
        gone = tuple(paths)

        def remove(edition: Edition) -> None:
            listed = edition.change(TARGETS).targets
            for path in gone:
                listed.pop(path, None)

        return self.edit(remove)

    def assign(self, assignments: Mapping[str, bytes]) -> Published:
        """Offer each device its assignment, all in one commit. Needs devices, snapshot and timestamp keys.

        Args:
            assignments: Bytes of `tinymlops.wire.assignment.Assignment` by device id.
        """
        entries = [_entry(target_of(device), content) for device, content in assignments.items()]
        self._store(entries, list(assignments.values()))

        def offer(edition: Edition) -> None:
            for entry in entries:
                edition.change(edition.bin_of(entry.path)).targets[entry.path] = entry

        return self.edit(offer)

    def unassign(self, device_ids: Iterable[str]) -> Published:
        """Offer nothing to some devices from now on, as for revoked ones. Needs the keys of `assign`."""
        paths = [target_of(device) for device in device_ids]

        def withdraw(edition: Edition) -> None:
            for path in paths:
                edition.change(edition.bin_of(path)).targets.pop(path, None)

        return self.edit(withdraw)

    def targets(self) -> dict[str, TargetFacts]:
        """What exists under ``releases/``."""
        return {path: _facts(entry) for path, entry in self.read().targets().targets.items()}

    def target(self, path: str) -> bytes:
        """Content of a file under ``releases/``, held against its signed digest.

        Raises:
            NotFoundError: It is not listed.
            UntrustedError: The stored bytes are not the signed ones.
        """
        return self._content(self.read().targets(), path)

    def assignment(self, device_id: str) -> bytes | None:
        """What a device is offered; None for nothing."""
        path, edition = target_of(device_id), self.read()
        listed = edition.bin(edition.bin_of(path))
        return self._content(listed, path) if path in listed.targets else None

    def read(self, *, verify_with: Sequence[Root] = (), sign_with: Sequence[Root] = ()) -> Edition:
        """The repository as it is now.

        Args:
            verify_with: Any of these roots may verify it; the newest one unless given.
            sign_with: Roots that must be satisfied by what is signed; the same unless given.

        Raises:
            ReleaseError: There is none in the store.
            UntrustedError: It is older than what this object has seen, or not signed as it should be.
        """
        try:
            basis = Basis.read(self.files, verify_with)
        except NotFoundError as error:
            if error.key != TIMESTAMP_KEY:
                raise
            raise ReleaseError(f"there is no repository in {self.store.address}", "create it first") from error
        if basis.timestamp.version < self._seen:
            raise UntrustedError(
                f"the store {self.store.address} went back from version {self._seen} to {basis.timestamp.version}",
                "restore the newer state: devices refuse the older one",
            )
        self._seen = basis.timestamp.version
        signing = Signing(self.keyring, self.settings.lifetimes, self.now, self._taken)
        return Edition(basis, self.files, signing, sign_with)

    def edit(
        self, change: Callable[[Edition], object], *, verify_with: Sequence[Root] = (), sign_with: Sequence[Root] = ()
    ) -> Published:
        """Read, change and commit, again from the start for as long as other publishers come first.

        Raises:
            ReleaseError: A key is missing, or others kept coming first.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            edition = self.read(verify_with=verify_with, sign_with=sign_with)
            change(edition)
            if edition.commit():
                basis = edition.basis
                self._seen = basis.timestamp.version
                return Published(timestamp=basis.timestamp.version, snapshot=basis.snapshot.version, attempts=attempt)
            time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, 0.01 * 2**attempt)))  # noqa: S311 - no secret
        raise ReleaseError(
            f"other publishers came first {_ATTEMPTS} times in a row", "let one publisher do the work, or try again"
        )

    def _store(self, entries: Iterable[TargetFile], contents: Iterable[bytes]) -> None:
        # Also what is there already: a fresh date keeps the garbage collection from it until it is listed.
        keys = [stored_as(entry) for entry in entries]
        self.store.put_many(dict(zip(keys, contents, strict=True)))

    def _content(self, listed: Targets, path: str) -> bytes:
        entry = listed.targets.get(path)
        if entry is None:
            raise NotFoundError(path, f"the signed targets of {self.store.address}")
        content = self.store.get(stored_as(entry))
        if sha256(content) != entry.hashes["sha256"]:
            raise UntrustedError(f"the stored {path} is not the signed one", "publish it again")
        return content


def _entry(path: str, content: bytes, custom: Mapping[str, Any] | None = None) -> TargetFile:
    entry = TargetFile.from_data(path, content, ["sha256"])
    if custom is not None:
        entry.unrecognized_fields["custom"] = dict(custom)
    return entry


def _facts(entry: TargetFile) -> TargetFacts:
    return TargetFacts(path=entry.path, size=entry.length, sha256=entry.hashes["sha256"], custom=entry.custom)


def _under_releases(path: str) -> str:
    if not path.startswith(_RELEASES):
        raise ReleaseError(f"{path!r} is no path of a release", f"begin it with {_RELEASES}")
    return path
