"""Read back what was registered: the variant that each device's alias points to, and what was measured."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tinymlops.errors import ReleaseError, StorageError
from tinymlops.files import sha256
from tinymlops.measurement import Measurement
from tinymlops.registry.connection import all_versions, connect, newest_versions, plain_errors
from tinymlops.registry.values import RegistrySettings, model_name, plain_name

_MEASUREMENTS = "measurements.json"
_SAMPLES = re.compile(r"@samples-\d+-[0-9a-f]{12}")


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


class DeviceSelection(msgspec.Struct, frozen=True, kw_only=True):
    """What was selected for a kind of device, and what was measured of the alternatives.

    Attributes:
        recipe: Of the variant that the alias points to.
        seed: Of the build that measured it.
        measurements: Of that build, on this kind of device.
        samples: What stood behind the workload's name in that build: ``@samples-…`` for one that learnt from the field.
    """

    recipe: str
    seed: int
    measurements: tuple[Measurement, ...]
    samples: str = ""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry knows of a workload.

    Attributes:
        workload: Its name.
        model: Name of the registered model.
        devices: Device → what was selected for it.
        variants: SHA-256 → version, for everything that was measured there.
    """

    workload: str
    model: str
    devices: dict[str, DeviceSelection]
    variants: dict[str, RegisteredVariant]


class _Build(msgspec.Struct, frozen=True):
    seed: int
    measurements: tuple[Measurement, ...]
    samples: str = ""


def read_selected(workload: str, *, settings: RegistrySettings, devices: Sequence[str] | None = None) -> Registered:
    """The variants that devices were given, with what the newest build that measured them there saw.

    The aliases have the last word: a person who moved one is obeyed.

    Args:
        workload: Name of the workload.
        settings: Where the registry is.
        devices: Only these; all that have an alias if not given.

    Raises:
        ReleaseError: Nothing was registered, a device has no alias, or no build measured its variant there.
        StorageError: The registry can't be read, or a file in it is not the one that was registered.
    """
    with plain_errors(settings.tracking_uri), tempfile.TemporaryDirectory(prefix="tinymlops-registry-") as scratch:
        reader = _Reader(connect(settings), workload, Path(scratch))
        selected = reader.selections(reader.aliases(devices))
        measured = {m.variant.sha256: m.variant for one in selected.values() for m in one.measurements}
        versions = reader.versions()
        variants = {
            digest: reader.variant(facts.recipe, versions[facts.recipe, digest])
            for digest, facts in measured.items()
            if (facts.recipe, digest) in versions
        }
    return Registered(workload=workload, model=reader.model, devices=selected, variants=variants)


def read_variants(
    workload: str, wanted: Collection[tuple[str, str]], *, settings: RegistrySettings
) -> dict[str, RegisteredVariant]:
    """Registered versions by their content, whether or not an alias points to them: SHA-256 → version.

    Args:
        workload: Name of the workload.
        wanted: Recipe and SHA-256 of each.
        settings: Where the registry is.

    Raises:
        ReleaseError: One of them was never registered.
        StorageError: The registry can't be read, or a file in it is not the one that was registered.
    """
    with plain_errors(settings.tracking_uri), tempfile.TemporaryDirectory(prefix="tinymlops-registry-") as scratch:
        reader = _Reader(connect(settings), workload, Path(scratch))
        versions = reader.versions()
        missing = sorted(recipe for recipe, digest in wanted if (recipe, digest) not in versions)
        if missing:
            raise ReleaseError(f"{missing[0]} of {workload} is not registered", "build and register it first")
        return {digest: reader.variant(recipe, versions[recipe, digest]) for recipe, digest in wanted}


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

    def selections(self, aliases: Mapping[str, str]) -> dict[str, DeviceSelection]:
        """What the newest build that measured it says of each device's variant."""
        digests = {str(one.version): one.tags.get("sha256", "") for one in all_versions(self._client, self.model)}
        found: dict[str, DeviceSelection] = {}
        for build in self._builds():
            for device in aliases.keys() - found.keys():
                own = tuple(m for m in build.measurements if m.device == device)
                chosen = next((m for m in own if m.variant.sha256 == digests.get(aliases[device])), None)
                if chosen is not None:
                    found[device] = DeviceSelection(
                        recipe=chosen.variant.recipe, seed=build.seed, measurements=own, samples=build.samples
                    )
            if found.keys() == aliases.keys():
                return {device: found[device] for device in sorted(found)}
        lost = min(aliases.keys() - found.keys())
        raise ReleaseError(
            f"no build measured version {aliases[lost]} of {self.model} on {lost}, which its alias points to",
            "build again, or point the alias to a version that was measured there",
        )

    def _builds(self) -> Iterator[_Build]:
        """What finished builds measured, the newest first."""
        experiment = self._client.get_experiment_by_name(self._workload)
        runs = self._client.search_runs(
            [experiment.experiment_id],
            "attributes.status = 'FINISHED' and tags.`tinymlops.build` != ''",
            order_by=["attributes.end_time DESC"],
        )
        for run in runs:
            path = self._client.download_artifacts(run.info.run_id, _MEASUREMENTS, str(self._scratch))
            build = msgspec.json.decode(Path(path).read_bytes(), type=_Build)
            found = _SAMPLES.search(run.data.params.get("command", ""))
            yield msgspec.structs.replace(build, samples=found[0] if found else "")

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
