"""What a release's windows are compared with: the features in the manifests of its variants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from tinymlops.errors import ReleaseError
from tinymlops.premises import Premises, passphrase_from_environment
from tinymlops.releases.records import Records
from tinymlops.releases.repository import Repository
from tinymlops.wire.encoding import decode
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.observations import Feature

Variant = tuple[str, str]
"""Profile and recipe."""


@dataclass(frozen=True)
class References:
    """Everything that one release counts.

    Attributes:
        manifests: Profile and recipe → the manifest of that variant.
    """

    manifests: Mapping[Variant, Manifest]

    @cached_property
    def layouts(self) -> dict[str, tuple[Feature, ...]]:
        """Layout → its features; the references are those of the first variant that has it."""
        found: dict[str, tuple[Feature, ...]] = {}
        for manifest in self.manifests.values():
            found.setdefault(manifest.layout, manifest.features)
        return found

    @property
    def classifies(self) -> bool:
        """Whether the model answers with classes."""
        return any(manifest.classifies for manifest in self.manifests.values())

    def features(self, variant: Variant, layout: str) -> tuple[Feature, ...]:
        """Those of one variant; where it has another layout, those of the layout."""
        manifest = self.manifests.get(variant)
        return manifest.features if manifest is not None and manifest.layout == layout else self.layouts[layout]


def references_of(
    records: Records, repository: Repository, workload: str, releases: Iterable[int]
) -> dict[int, References]:
    """Release → what it counts; releases that were withdrawn, or never were, are not in it.

    Args:
        records: Of all releases.
        repository: Holds the signed manifests.
        workload: Which task.
        releases: That windows came from.
    """
    found = {}
    for release in sorted(set(releases)):
        try:
            record = records.load(workload, release)
        except ReleaseError:
            continue
        found[release] = References(
            {
                (one.profile, one.recipe): decode(repository.target(one.manifest), Manifest, what=one.manifest)
                for one in record.variants
            }
        )
    return found


class ReferenceFinder:
    """`references_of` the owner's own records and repository.

    Args:
        premises: Where they are.
        workload: Which task.
    """

    def __init__(self, premises: Premises, workload: str) -> None:
        self._premises, self._workload = premises, workload

    def __call__(self, releases: Iterable[int]) -> dict[int, References]:
        """Release → what it counts; nothing is opened where no releases are asked for."""
        wanted = tuple(releases)
        if not wanted:
            return {}
        return references_of(self._premises.records(), self._repository(), self._workload, wanted)

    def _repository(self) -> Repository:
        """To read from: where there are online keys, the others stay shut."""
        online = self._premises.keys / "online"
        premises = msgspec.structs.replace(self._premises, keys=online) if online.is_dir() else self._premises
        return premises.repository(passphrase_from_environment)
