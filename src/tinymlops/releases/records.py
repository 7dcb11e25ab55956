"""What the owner remembers of each release: which variants, which packages, which keys. Lies in the private store."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tinymlops.errors import ReleaseError
from tinymlops.store import NotFoundError, ObjectStore
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.manifest import HealthBounds
from tinymlops.wire.sealing import Cipher

_FOLDER = "records"
_WITHDRAWN = "withdrawn"


class SealedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package that was published.

    Attributes:
        path: Target that holds it.
        key_id: Names its content key in the vault.
        cipher: Of its chunks.
        bytes: Its size.
        base: SHA-256 of the model that a difference starts from, or empty.
    """

    path: str
    key_id: str
    cipher: Cipher
    bytes: int
    base: str = ""


class ReleasedVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant for one kind of device.

    Attributes:
        profile: The kind of device.
        recipe: How it was made.
        manifest: Target that describes it.
        sha256: Of the ``.tflite``.
    """

    profile: str
    recipe: str
    manifest: str
    sha256: str


class ReleaseRecord(Versioned, frozen=True, kw_only=True):
    """A release: it exists from the moment that its record is kept.

    Attributes:
        workload: Which task.
        version: Number, from 1.
        created_s: Seconds since 1970.
        variants: For each kind of device, the preferred one first.
        packages: SHA-256 of a ``.tflite`` → its packages, smallest first; kinds of device share them.
        bounds: Profile → what a device of that kind may report.
        why: In words, for people.
        metered: Whether every query has to be paid for with a voucher.
    """

    workload: str
    version: int
    created_s: float
    variants: tuple[ReleasedVariant, ...]
    packages: dict[str, tuple[SealedPackage, ...]]
    bounds: dict[str, HealthBounds]
    why: str = ""
    metered: bool = False

    def of_profile(self, profile: str) -> tuple[ReleasedVariant, ...]:
        """Variants for one kind of device, the preferred one first."""
        return tuple(variant for variant in self.variants if variant.profile == profile)


class Records:
    """The records of all releases.

    Args:
        private: A store that no device can read.
    """

    def __init__(self, private: ObjectStore) -> None:
        self._private = private

    def load(self, workload: str, version: int) -> ReleaseRecord:
        """The record of one release.

        Raises:
            ReleaseError: There is no such release, or it was withdrawn.
        """
        if version in self._withdrawn(workload):
            raise ReleaseError(
                f"release {version} of {workload} was withdrawn", "name another; see `tinymlops releases`"
            )
        try:
            content = self._private.get(_key(workload, version))
        except NotFoundError as error:
            known = ", ".join(str(number) for number in self.versions(workload)) or "none yet"
            raise ReleaseError(
                f"there is no release {version} of {workload}",
                f"the releases are {known}; see `tinymlops releases`",
            ) from error
        return decode(content, ReleaseRecord, what=f"the record of release {version} of {workload}")

    def versions(self, workload: str) -> tuple[int, ...]:
        """Numbers of the releases of a workload that were not withdrawn, rising."""
        return tuple(sorted(self._numbers(_FOLDER, workload) - self._withdrawn(workload)))

    def next_version(self, workload: str) -> int:
        """Number of the next release; those of withdrawn ones are not used again."""
        return max(self._numbers(_FOLDER, workload), default=0) + 1

    def withdraw(self, record: ReleaseRecord) -> None:
        """Mark a release as withdrawn; once more is no mistake."""
        self._private.put(_key(record.workload, record.version, _WITHDRAWN), b"")

    def _withdrawn(self, workload: str) -> set[int]:
        return self._numbers(_WITHDRAWN, workload)

    def _numbers(self, folder: str, workload: str) -> set[int]:
        found = self._private.list(f"{folder}/{workload}/")
        return {int(one.key.rpartition("/")[2].removesuffix(".json")) for one in found}

    def workloads(self) -> tuple[str, ...]:
        """Workloads that have releases, sorted."""
        return tuple(sorted({one.key.split("/")[1] for one in self._private.list(f"{_FOLDER}/")}))

    def newest(self, workload: str) -> ReleaseRecord | None:
        """The newest release of a workload, or None before the first."""
        versions = self.versions(workload)
        return self.load(workload, versions[-1]) if versions else None

    def last(self, workload: str, count: int) -> Iterator[ReleaseRecord]:
        """The last ``count`` releases, newest first."""
        for version in reversed(self.versions(workload)[-count:]):
            yield self.load(workload, version)

    def keep(self, record: ReleaseRecord) -> None:
        """Keep the record of a release that was just published.

        Raises:
            ReleaseError: Another process made a release of this number meanwhile.
        """
        if self._private.put_if_absent(_key(record.workload, record.version), encode(record)) is None:
            raise ReleaseError(
                f"somebody else has just made release {record.version} of {record.workload}", "run the release again"
            )


def _key(workload: str, version: int, folder: str = _FOLDER) -> str:
    return f"{folder}/{workload}/{version:08d}.json"
