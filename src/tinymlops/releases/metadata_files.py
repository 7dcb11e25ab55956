"""Metadata in a store: every version written once, every byte that is read verified before it is built on.

Whoever can write to the store but has no key must not get anything signed: if the publisher read a planted bin and
signed it anew with one device changed, it would vouch for the plant. So reading here is as strict as on a device: from
a root that the publisher keeps itself, along the chain of roots, down to the bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from tinymlops.errors import ReleaseError, UntrustedError
from tinymlops.store.protocol import ETag, NotFoundError, ObjectStore

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)

TIMESTAMP_KEY = "metadata/timestamp.json"
_COMPACT = JSONSerializer(compact=True)


def key_of(role: str, version: int) -> str:
    """Where one version lies."""
    return f"metadata/{version}.{role}.json"


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """As it is stored and served."""
    return metadata.to_bytes(_COMPACT)


def parse(content: bytes, kind: type[T], what: str) -> Metadata[T]:
    """Metadata of type ``kind``; signatures are not looked at.

    Raises:
        UntrustedError: It is something else.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(content)
    except (DeserializationError, RecursionError) as error:
        raise _planted(what, "is not metadata") from error
    if not isinstance(metadata.signed, kind):
        raise _planted(what, f"is {metadata.signed.type} metadata, not {kind.type}")
    return metadata


class MetadataFiles:
    """Metadata in ``store``, trusted from ``trusted_root`` on.

    Args:
        store: Where it lies, under ``metadata/``.
        trusted_root: A root that this machine keeps itself, of any version.

    Raises:
        UntrustedError: It is no root, or has not enough signatures of its own keys.
    """

    def __init__(self, store: ObjectStore, trusted_root: bytes) -> None:
        self.store = store
        self._root = parse(trusted_root, Root, "the trusted root")
        self.root_bytes = trusted_root
        self.previous = self._root.signed
        _verify(self._root.signed, "root", self._root, "the trusted root")

    def root(self) -> Root:
        """The newest root, reached from the trusted one step by step.

        Raises:
            UntrustedError: A root on the way has too few signatures of the one before it, or of its own.
        """
        while True:
            what = key_of("root", self._root.signed.version + 1)
            try:
                content = self.store.get(what)
            except NotFoundError:
                return self._root.signed
            self._follow(content, what)

    def check_next_root(self, content: bytes) -> Root:
        """The root in ``content`` if it may follow the newest one.

        Raises:
            ReleaseError: It is not the next version.
            UntrustedError: It has too few signatures of the keys of the newest root, or of its own.
        """
        following = parse(content, Root, "the new root")
        if following.signed.version != self._root.signed.version + 1:
            raise ReleaseError(
                f"the new root is version {following.signed.version}, and {self._root.signed.version} is published",
                "draft it again from the root that is published now",
            )
        for delegator in (self._root.signed, following.signed):
            _verify(delegator, "root", following, "the new root")
        return following.signed

    def _follow(self, content: bytes, what: str) -> None:
        try:
            self.check_next_root(content)
        except ReleaseError as error:
            raise _planted(what, "has another version inside") from error
        self.previous = self._root.signed
        self._root, self.root_bytes = parse(content, Root, what), content

    def timestamp(self, roots: Sequence[Root] = ()) -> tuple[Timestamp, ETag, Root]:
        """The timestamp, its tag for replacing it, and the root that verified it.

        The timestamp is read before the root: whoever exchanges a key publishes the root first and a timestamp after
        it, so a tag that still holds at the commit proves that no root came in between.

        Args:
            roots: Any of these may verify it; the newest one unless given.

        Raises:
            NotFoundError: There is no repository yet.
            UntrustedError: It is not signed by the timestamp key.
        """
        content, etag = self.store.get_tagged(TIMESTAMP_KEY)
        *others, last = roots or (self.root(),)
        metadata = parse(content, Timestamp, TIMESTAMP_KEY)
        for root in others:
            if root.get_verification_result("timestamp", metadata.signed_bytes, metadata.signatures):
                return metadata.signed, etag, root
        _verify(last, "timestamp", metadata, TIMESTAMP_KEY)
        return metadata.signed, etag, last

    def snapshot(self, root: Root, timestamp: Timestamp) -> Snapshot:
        """The snapshot that ``timestamp`` names."""
        return self._read("snapshot", timestamp.snapshot_meta.version, Snapshot, root)

    def targets(self, role: str, snapshot: Snapshot, delegator: Root | Targets) -> Targets:
        """Targets, devices or a bin in the version that ``snapshot`` names.

        Raises:
            UntrustedError: It is not what its delegator's keys signed, or the snapshot does not list it.
        """
        meta = snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise _planted("the snapshot", f"lists no {role}")
        return self._read(role, meta.version, Targets, delegator)

    def _read(self, role: str, version: int, kind: type[T], delegator: Root | Targets) -> T:
        what = key_of(role, version)
        metadata = parse(self.store.get(what), kind, what)
        _verify(delegator, role, metadata, what)
        if metadata.signed.version != version:
            raise _planted(what, f"has version {metadata.signed.version} inside")
        return metadata.signed


def _verify(delegator: Root | Targets, role: str, metadata: Metadata[Any], what: str) -> None:
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise _planted(what, f"is not signed as it should be ({error})") from error


def _planted(what: str, why: str) -> UntrustedError:
    return UntrustedError(
        f"{what} {why}", "somebody or something changed the store: restore it from a copy before publishing"
    )
