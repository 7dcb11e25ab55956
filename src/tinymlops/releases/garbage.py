"""Files that nothing names any more: superseded metadata, files of withdrawn targets, what a crash left behind.

A device may be in the middle of reading an older edition, so whatever an edition of the grace period names stays, and
so does every file younger than that: its publisher may be about to name it. Roots stay for ever: a device that was
off for years follows them one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuf.api.metadata import Snapshot, Targets

from tinymlops.releases.metadata_files import TIMESTAMP_KEY, key_of, parse
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import SNAPSHOT
from tinymlops.releases.stored import stored_as
from tinymlops.store.protocol import Listed, NotFoundError

WEEK_S = 7 * 24 * 3600.0
_ROOT = re.compile(r"metadata/[0-9]+\.root\.json")
_SNAPSHOT = re.compile(r"metadata/([0-9]+)\.snapshot\.json")


def collect_garbage(repository: Repository, *, grace_s: float = WEEK_S) -> tuple[str, ...]:
    """Delete what no edition of the last ``grace_s`` seconds names; gives back the keys that are gone.

    Raises:
        UntrustedError: The current edition is not signed as it should be; nothing is deleted then.
    """
    edition = repository.read()
    listed = [*repository.store.list("metadata/"), *repository.store.list("targets/")]
    youngest = repository.now().timestamp() - grace_s
    versions = _snapshots(listed, edition.basis.snapshot.version, youngest)
    kept = {TIMESTAMP_KEY} | {key for version in versions for key in _named_by(repository, version)}
    gone = tuple(
        found.key
        for found in listed
        if found.key not in kept and found.modified_s < youngest and not _ROOT.fullmatch(found.key)
    )
    for key in gone:
        repository.store.delete(key)
    return gone


def _snapshots(listed: list[Listed], current: int, youngest: float) -> set[int]:
    """Versions that were current in the grace period: those made in it, and the newest made before."""
    made = {int(found[1]): each.modified_s for each in listed if (found := _SNAPSHOT.fullmatch(each.key))}
    older = [version for version, modified_s in made.items() if modified_s < youngest and version <= current]
    return {version for version in made if made[version] >= youngest} | {max(older, default=current), current}


def _named_by(repository: Repository, version: int) -> Iterator[str]:
    """Keys of a snapshot and of everything below it."""
    key = key_of(SNAPSHOT, version)
    yield key
    snapshot = parse(repository.store.get(key), Snapshot, key).signed
    for name, meta in snapshot.meta.items():
        below = key_of(name.removesuffix(".json"), meta.version)
        yield below
        try:
            targets = parse(repository.store.get(below), Targets, below).signed.targets
        except NotFoundError:
            continue  # a snapshot that a publisher left half-way
        yield from (stored_as(entry) for entry in targets.values())
