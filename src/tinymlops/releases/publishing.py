"""Publish a release: seal every variant, whole and as differences, sign the list, keep the record.

Order matters, so that a crash anywhere costs nothing: content keys, then targets, then the record. A release without a
record was never offered to anybody, and the next attempt takes its number.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tinymlops.errors import ReleaseError
from tinymlops.files import sha256
from tinymlops.releases.deltas import smallest
from tinymlops.releases.records import Records, ReleasedVariant, ReleaseRecord, SealedPackage
from tinymlops.releases.repository import Repository, Target
from tinymlops.releases.vault import Vault
from tinymlops.wire import deltas
from tinymlops.wire.encoding import encode
from tinymlops.wire.key_wrapping import new_content_key
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.sealing import Cipher, SealedModel, read_header, seal, unseal

BASES = 3
"""Differences are made from this many earlier releases; a device that is further behind gets the whole model."""

_NAME_DIGITS = 16


@dataclass(frozen=True)
class Publisher:
    """What publishing needs.

    Attributes:
        repository: Signed; its keyring holds the targets, snapshot and timestamp keys.
        vault: Content keys.
        records: Of the releases.
    """

    repository: Repository
    vault: Vault
    records: Records

    def next_version(self, workload: str) -> int:
        """Number of the next release."""
        return self.records.next_version(workload)

    def publish(
        self, manifests: Sequence[Manifest], models: Mapping[str, bytes], *, why: str, now_s: float
    ) -> ReleaseRecord:
        """Make a release of ``manifests``; when this returns, roll-outs can offer it.

        Args:
            manifests: All of one workload and version; for each profile the preferred variant first.
            models: SHA-256 → ``.tflite``.
            why: For the record, in words.
            now_s: Seconds since 1970.

        Raises:
            ReleaseError: The manifests do not fit together or to the models, or the signing keys are not here.
        """
        workload, version = _only_one(manifests, models)
        sealed = _Sealed(f"releases/{workload}/{version}")
        older = self._older_models(workload, {(one.profile, one.recipe) for one in manifests})
        for digest in dict.fromkeys(manifest.sha256 for manifest in manifests):
            sealed.add(models[digest], digest, None, None)
            own = {(one.profile, one.recipe) for one in manifests if one.sha256 == digest}
            bases = {base: content for key in own for base, content in older.get(key, {}).items() if base != digest}
            for base, content in sorted(bases.items()):
                sealed.add(models[digest], digest, base, content)
        variants = tuple(_variant(manifest) for manifest in manifests)
        targets = {one.manifest: Target(encode(manifest)) for one, manifest in zip(variants, manifests, strict=True)}
        for key_id, key in sealed.keys.items():
            self.vault.put(key_id, key)
        self.repository.publish_targets(targets | sealed.targets)
        record = ReleaseRecord(
            workload=workload,
            version=version,
            created_s=now_s,
            variants=variants,
            packages={
                digest: tuple(sorted(found, key=lambda one: one.bytes)) for digest, found in sealed.packages.items()
            },
            bounds={one.profile: one.bounds for one in reversed(manifests)},
            why=why,
            metered=any(manifest.metered for manifest in manifests),
        )
        self.records.keep(record)
        return record

    def withdraw(self, record: ReleaseRecord) -> None:
        """Take a release off the signed list, then mark its record; its number is never used again.

        Raises:
            ReleaseError: The targets, snapshot or timestamp key is not here.
        """
        packages = [one.path for found in record.packages.values() for one in found]
        self.repository.remove_targets([*packages, *(variant.manifest for variant in record.variants)])
        self.records.withdraw(record)

    def model(self, record: ReleaseRecord, digest: str) -> bytes:
        """A released ``.tflite``, out of its own sealed package.

        Raises:
            ReleaseError: The release has no such model.
            UntrustedError: The package is not the one that was published.
        """
        whole = next((one for one in record.packages.get(digest, ()) if not one.base), None)
        if whole is None:
            raise ReleaseError(
                f"release {record.version} of {record.workload} has no model {digest[:12]}", "name one of its variants"
            )
        package = self.repository.target(whole.path)
        header = read_header(package)
        payload = unseal(package, self.vault.get(whole.key_id))
        return deltas.apply(header.encoding, payload, base=None, size=header.size)

    def _older_models(
        self, workload: str, wanted: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], dict[str, bytes]]:
        """(profile, recipe) → SHA-256 → model: what a device of that kind most likely has.

        These are, of each of the last releases, the preferred variant and the one of the same recipe.
        """
        models: dict[tuple[str, str], dict[str, bytes]] = {key: {} for key in wanted}
        loaded: dict[str, bytes] = {}
        for record in self.records.last(workload, BASES):
            for profile, recipe in wanted:
                own = record.of_profile(profile)
                for variant in {*own[:1], *(one for one in own if one.recipe == recipe)}:
                    if variant.sha256 not in loaded:
                        loaded[variant.sha256] = self.model(record, variant.sha256)
                    models[profile, recipe][variant.sha256] = loaded[variant.sha256]
        return models


class _Sealed:
    """Packages of a release as they are made: each with a content key of its own, once for each cipher."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.keys: dict[str, bytes] = {}
        self.targets: dict[str, Target] = {}
        self.packages: dict[str, list[SealedPackage]] = {}

    def add(self, model: bytes, digest: str, base: str | None, old: bytes | None) -> None:
        """Seal ``model``, whole or, where that is smaller, as its difference from ``old``."""
        encoding, payload = smallest(old, model)
        if base is not None and encoding == deltas.Encoding.ZSTD:
            return
        for cipher in Cipher:
            key_id, key = secrets.token_hex(16), new_content_key()
            facts = SealedModel(key_id=key_id, encoding=encoding, sha256=digest, size=len(model), base=base or "")
            package = seal(payload, key, facts, cipher)
            start = f"-from-{base[:_NAME_DIGITS]}" if base else ""
            path = f"{self._folder}/{digest[:_NAME_DIGITS]}{start}.{cipher}.tmz"
            self.keys[key_id] = key
            self.targets[path] = Target(package)
            made = SealedPackage(path=path, key_id=key_id, cipher=cipher, bytes=len(package), base=base or "")
            self.packages.setdefault(digest, []).append(made)


def _variant(manifest: Manifest) -> ReleasedVariant:
    return ReleasedVariant(
        profile=manifest.profile,
        recipe=manifest.recipe,
        manifest=f"releases/{manifest.workload}/{manifest.version}/{manifest.recipe}.{manifest.profile}.manifest",
        sha256=manifest.sha256,
    )


def _only_one(manifests: Sequence[Manifest], models: Mapping[str, bytes]) -> tuple[str, int]:
    """Workload and version of all manifests.

    Raises:
        ReleaseError: There are none or several, or a manifest is not of its model.
    """
    kinds = {(one.workload, one.version) for one in manifests}
    if len(kinds) != 1:
        raise ReleaseError(f"a release is of one workload and version, not of {len(kinds)}", "release them one by one")
    for one in manifests:
        if one.sha256 not in models or sha256(models[one.sha256]) != one.sha256:
            raise ReleaseError(f"the manifest of {one.recipe} is not of its model", "build again, then release")
    return next(iter(kinds))


def unchanged(record: ReleaseRecord | None, variants: Iterable[tuple[str, str, str]], *, metered: bool = False) -> bool:
    """Whether a release holds exactly these (profile, recipe, SHA-256), in this order, and is metered or not alike."""
    if record is None or record.metered != metered:
        return False
    return [(one.profile, one.recipe, one.sha256) for one in record.variants] == list(variants)
