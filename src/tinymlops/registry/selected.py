"""Read back what was registered: the variant that each device's alias points to, and what was measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tinymlops.errors import ReleaseError, StorageError
from tinymlops.files import sha256
from tinymlops.measurement import Measurement
from tinymlops.registry.connection import connect, newest_versions, plain_errors
from tinymlops.registry.values import RegistrySettings, model_name, plain_name

_MEASUREMENTS = "measurements.json"


class RegisteredVariant(msgspec.Struct, frozen=True):
    """A version of a registered model.

    Attributes:
        recipe: How it was made.
        version: Number in the registry.
        sha256: Of ``tflite``.
        tflite: The file.
    """

    recipe: str
    version: str
    sha256: str
    tflite: bytes


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry knows of a workload.

    Attributes:
        workload: Its name.
        model: Name of the registered model.
        seed: Of the newest build that a selected variant comes from.
        selected: Device → recipe that its alias points to.
        variants: Recipe → version, of that build.
        measurements: Of these variants.
    """

    workload: str
    model: str
    seed: int
    selected: dict[str, str]
    variants: dict[str, RegisteredVariant]
    measurements: tuple[Measurement, ...]


class _Build(msgspec.Struct, frozen=True):
    seed: int
    measurements: tuple[Measurement, ...]


def read_selected(workload: str, *, settings: RegistrySettings, devices: Sequence[str] | None = None) -> Registered:
    """The variants that devices were given, with what the newest build measured.

    The aliases have the last word: a person who moved one is obeyed.

    Args:
        workload: Name of the workload.
        settings: Where the registry is.
        devices: Only these; all that have an alias if not given.

    Raises:
        ReleaseError: Nothing was registered, a device has no alias, or the newest build did not measure its variant.
        StorageError: The registry can't be read, or a file in it is not the one that was registered.
    """
    with plain_errors(settings.tracking_uri), tempfile.TemporaryDirectory(prefix="tinymlops-registry-") as scratch:
        reader = _Reader(connect(settings), workload, Path(scratch))
        aliases, build = reader.aliases(devices), reader.newest_build()
        measured = {(m.device, m.variant.sha256): m.variant.recipe for m in build.measurements}
        versions = reader.versions()
        recipes = {m.variant.recipe: m.variant.sha256 for m in build.measurements}
        variants = {
            recipe: reader.variant(recipe, versions[recipe, digest])
            for recipe, digest in recipes.items()
            if (recipe, digest) in versions
        }
        selected = {device: _selected(device, version, versions, measured) for device, version in aliases.items()}
    return Registered(
        workload=workload,
        model=reader.model,
        seed=build.seed,
        selected=selected,
        variants=variants,
        measurements=build.measurements,
    )


def _selected(
    device: str, alias: str, versions: dict[tuple[str, str], Any], measured: dict[tuple[str, str], str]
) -> str:
    for version in versions.values():
        if str(version.version) == alias and (device, version.tags.get("sha256")) in measured:
            return measured[device, version.tags["sha256"]]
    raise ReleaseError(
        f"the newest build did not measure version {alias}, which the alias {device} points to",
        "build again, or point the alias to a version of the newest build",
    )


class _Reader:
    """One workload's registered model in MLflow."""

    def __init__(self, client: Any, workload: str, scratch: Path) -> None:
        self._client, self._workload, self._scratch = client, workload, scratch
        self.model = model_name(workload)

    def aliases(self, devices: Sequence[str] | None) -> dict[str, str]:
        """Device → version."""
        found = self._client.search_registered_models(f"name = '{self.model}'")
        aliases = {name: str(version) for name, version in found[0].aliases.items()} if found else {}
        missing = [device for device in devices or () if device not in aliases]
        if not aliases or missing:
            what = f"for {missing[0]}" if missing else f"of {self._workload}"
            raise ReleaseError(
                f"no selected variant {what} is registered", f"run `tinymlops build {self._workload}` first"
            )
        return {device: aliases[device] for device in devices or sorted(aliases)}

    def newest_build(self) -> _Build:
        """What the newest finished build measured."""
        experiment = self._client.get_experiment_by_name(self._workload)
        runs = self._client.search_runs(
            [experiment.experiment_id],
            "attributes.status = 'FINISHED' and tags.`tinymlops.build` != ''",
            max_results=1,
            order_by=["attributes.end_time DESC"],
        )
        if not runs:
            raise ReleaseError(f"no build of {self._workload} was finished", f"run `tinymlops build {self._workload}`")
        path = self._client.download_artifacts(runs[0].info.run_id, _MEASUREMENTS, str(self._scratch))
        return msgspec.json.decode(Path(path).read_bytes(), type=_Build)

    def versions(self) -> dict[tuple[str, str], Any]:
        """(recipe, sha256) → the newest version of that content."""
        return newest_versions(self._client, self.model)

    def variant(self, recipe: str, version: Any) -> RegisteredVariant:
        """Download a version's file and check it."""
        name = plain_name(recipe)
        path = self._client.download_artifacts(
            version.run_id, f"variants/{name}/artifacts/{name}.tflite", str(self._scratch)
        )
        content = Path(path).read_bytes()
        digest = version.tags["sha256"]
        if sha256(content) != digest:
            raise StorageError(
                f"version {version.version} of {self.model} is not the file that was registered",
                "restore the artifact store from a copy, or build again",
            )
        return RegisteredVariant(recipe, str(version.version), digest, content)
