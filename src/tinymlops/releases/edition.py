"""One change to the repository: read what it needs, replace what it changes, commit by a single conditional write.

Every file but ``timestamp.json`` is named by its version and written once, so nothing that a device may be reading
changes under it, and a crash leaves files that nothing names. Two publishers can both write files; only the one whose
timestamp replaces the one that both read has published. The other starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, Targets, Timestamp

from tinymlops.errors import UntrustedError
from tinymlops.releases.keyring import Keyring
from tinymlops.releases.metadata_files import TIMESTAMP_KEY, MetadataFiles, key_of, to_bytes
from tinymlops.releases.roles import DEVICES, SNAPSHOT, TARGETS, TIMESTAMP, Lifetimes, is_bin
from tinymlops.store.protocol import ETag

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class Basis(msgspec.Struct, frozen=True):
    """What an edition starts from.

    Attributes:
        root: The one that verifies what is read.
        timestamp: The newest.
        snapshot: The one that the timestamp names.
        etag: Of the timestamp; None where there is no repository yet.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    etag: ETag | None

    @classmethod
    def read(cls, files: MetadataFiles, roots: Sequence[Root] = ()) -> Basis:
        """The repository as it is now, verified with the newest root or with any of ``roots``."""
        timestamp, etag, root = files.timestamp(roots)
        return cls(root, timestamp, files.snapshot(root, timestamp), etag)

    @classmethod
    def nothing(cls, root: Root) -> Basis:
        """Before the first edition: versions start behind 0."""
        timestamp = Timestamp(version=1, snapshot_meta=MetaFile(1))
        return cls(root, timestamp, Snapshot(meta={}), None)


@dataclass(frozen=True)
class Signing:
    """How editions are signed.

    Attributes:
        keyring: The keys of this machine.
        lifetimes: Of what is signed.
        now: The clock.
        taken: Highest version of each role that was tried, so that whoever starts again need not try it once more.
    """

    keyring: Keyring
    lifetimes: Lifetimes
    now: Clock
    taken: dict[str, int] = field(default_factory=dict)


class Edition:
    """The repository as one timestamp names it, and changes to it that nobody sees before `commit`.

    Args:
        basis: What it starts from.
        files: The metadata in its store.
        signing: Keys, lifetimes, clock.
        sign_with: Roots that what is signed must satisfy; the one of ``basis`` unless given.
    """

    def __init__(self, basis: Basis, files: MetadataFiles, signing: Signing, sign_with: Sequence[Root] = ()) -> None:
        self.basis = basis
        self._files, self._signing = files, signing
        self._roots = sign_with or (basis.root,)
        self._known: dict[str, Targets] = {}
        self._changed: dict[str, Targets] = {}
        self._ready: dict[str, MetaFile] = {}

    def targets(self) -> Targets:
        """What exists: manifests and packages."""
        return self._get(TARGETS, lambda: self.basis.root)

    def devices(self) -> Targets:
        """The delegation to the bins."""
        return self._get(DEVICES, self.targets)

    def bin(self, name: str) -> Targets:
        """What some of the devices are offered."""
        return self._get(name, self.devices)

    def bins(self) -> tuple[str, ...]:
        """Names of all bins."""
        return tuple(name.removesuffix(".json") for name in self.basis.snapshot.meta if is_bin(name))

    def bin_of(self, path: str) -> str:
        """Name of the bin that answers for a device's target."""
        delegations = self.devices().delegations
        if delegations is None or delegations.succinct_roles is None:
            raise UntrustedError("the devices role delegates to no bins", "restore the store from a copy")
        return delegations.succinct_roles.get_role_for_target(path)

    def role(self, name: str) -> Targets:
        """Targets, devices or a bin."""
        known = {TARGETS: self.targets, DEVICES: self.devices}
        return known[name]() if name in known else self.bin(name)

    def change(self, name: str) -> Targets:
        """The role's metadata, to be changed in place; `commit` signs and writes it."""
        self._changed[name] = self.role(name)
        return self._changed[name]

    def bring_in(self, name: str, signed: Targets) -> None:
        """Make ``signed`` the role's metadata."""
        self._known[name] = self._changed[name] = signed

    def bring_in_signed(self, name: str, signed: Targets, meta: MetaFile) -> None:
        """Make ``signed`` the role's metadata; it was signed elsewhere and lies in the store already."""
        self._known[name], self._ready[name] = signed, meta

    def commit(self) -> bool:
        """Sign and write everything that changed, then the timestamp. False if somebody else published meanwhile.

        Raises:
            ReleaseError: A key that is needed is not here; nothing was written then.
        """
        for role in (*self._changed, SNAPSHOT, TIMESTAMP):
            self._signing.keyring.require(role, *self._signing_roles(role))
        _, timestamp, snapshot, etag = msgspec.structs.astuple(self.basis)
        for role, meta in self._ready.items():
            snapshot.meta[f"{role}.json"] = meta
        for role, signed in self._changed.items():
            known = snapshot.meta.get(f"{role}.json")
            snapshot.meta[f"{role}.json"] = self._write(role, signed, known.version if known else 0)
        timestamp.snapshot_meta = self._write(SNAPSHOT, snapshot, timestamp.snapshot_meta.version if etag else 0)
        timestamp.version += 1 if etag else 0
        content, store = self._signed(TIMESTAMP, timestamp), self._files.store
        if etag is None:
            return store.put_if_absent(TIMESTAMP_KEY, content) is not None
        return store.put_if_match(TIMESTAMP_KEY, content, etag) is not None

    def _get(self, role: str, delegator: Callable[[], Root | Targets]) -> Targets:
        if role not in self._known:
            self._known[role] = self._files.targets(role, self.basis.snapshot, delegator())
        return self._known[role]

    def _write(self, role: str, signed: Targets | Snapshot, version: int) -> MetaFile:
        """Write the next free version; one that a publisher took and never committed stays unused."""
        version = max(version, self._signing.taken.get(role, 0))
        while True:
            version += 1
            signed.version = self._signing.taken[role] = version
            content = self._signed(role, signed)
            if self._files.store.put_if_absent(key_of(role, version), content) is None:
                continue
            # Digests of all bins would double the snapshot, which every device fetches.
            return MetaFile(version) if is_bin(role) else MetaFile.from_data(version, content, ["sha256"])

    def _signed(self, role: str, signed: Targets | Snapshot | Timestamp) -> bytes:
        signed.expires = (self._signing.now() + self._signing.lifetimes.of(role)).replace(microsecond=0)
        metadata: Metadata[Any] = Metadata(signed)
        self._signing.keyring.sign(metadata, *self._signing_roles(role))
        return to_bytes(metadata)

    def _signing_roles(self, role: str) -> list[Role]:
        if is_bin(role):
            return [self.devices().get_delegated_role(role)]
        if role == DEVICES:
            return [self.targets().get_delegated_role(role)]
        return [root.roles[role] for root in self._roots]
