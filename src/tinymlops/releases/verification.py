"""The whole repository read as a device reads it, and every file held against its digest."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from tuf.api.metadata import TargetFile

from tinymlops.errors import UntrustedError
from tinymlops.files import sha256
from tinymlops.releases.edition import Edition
from tinymlops.releases.renewal import Expiry, expiries
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import DEVICE_PATHS
from tinymlops.releases.stored import stored_as
from tinymlops.store.protocol import NotFoundError, ObjectStore


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify_repository` found.

    Attributes:
        root: Version of the newest root.
        timestamp: Version of the timestamp.
        targets: Files under ``releases/``.
        devices: Devices that are offered something.
        expiries: When each role runs out.
        problems: What is wrong with files that the metadata lists, in words; empty if all is well.
    """

    root: int
    timestamp: int
    targets: int
    devices: int
    expiries: tuple[Expiry, ...]
    problems: tuple[str, ...]


def verify_repository(repository: Repository) -> Verified:
    """Follow every signature and read every file.

    Raises:
        UntrustedError: Metadata that is not signed as it should be; devices refuse it too.
    """
    edition = repository.read()
    listed = tuple(edition.targets().targets.values())
    offered = tuple(entry for name in edition.bins() for entry in _of_bin(edition, name))
    problems = (_problem(repository.store, entry) for entry in (*listed, *offered))
    ends = expiries(repository)
    over = (f"{end.role} ran out on {end.expires:%Y-%m-%d}" for end in ends if end.expires <= repository.now())
    return Verified(
        root=edition.basis.root.version,
        timestamp=edition.basis.timestamp.version,
        targets=len(listed),
        devices=len(offered),
        expiries=ends,
        problems=(*over, *filter(None, problems)),
    )


def _of_bin(edition: Edition, name: str) -> Iterator[TargetFile]:
    for path, entry in edition.bin(name).targets.items():
        if not path.startswith(DEVICE_PATHS.removesuffix("*")) or edition.bin_of(path) != name:
            raise UntrustedError(f"{name} lists {path}, which is not its own", "find out who holds the devices key")
        yield entry


def _problem(store: ObjectStore, entry: TargetFile) -> str | None:
    try:
        intact = sha256(store.get(stored_as(entry))) == entry.hashes["sha256"]
    except NotFoundError:
        return f"{entry.path} is missing"
    return None if intact else f"{entry.path} is not the signed one"
