"""Turn the registry's selection into a release that devices can be offered."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec
from prefect import task
from prefect.artifacts import create_table_artifact

from tasks.progress import StepProgress
from tinymlops.benchmarking import workbench
from tinymlops.devices.catalogue import load_profile, profiles
from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import ReleaseError
from tinymlops.manifests import describe, variants_for
from tinymlops.measurement import Measurement
from tinymlops.premises import Premises, passphrase_from_environment
from tinymlops.registry import RegistrySettings, note_release
from tinymlops.registry.selected import Registered, read_selected
from tinymlops.releases.publishing import unchanged
from tinymlops.releases.records import ReleaseRecord
from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.manifest import Manifest
from tinymlops.workloads.catalogue import find_workload, load_workload
from tinymlops.workloads.snapshots import MARK

WITH_AGENT = "linux"
"""Kind of device that runs the agent, and so can be released to."""


class Candidate(msgspec.Struct, frozen=True):
    """A variant for a kind of device.

    Attributes:
        profile: The kind of device.
        measurement: Of the variant there.
        cost: Against the other variants that the device gets.
        tflite: The file.
        seed: Of its build, and so of the split.
        samples: From the field that its build learnt from, as they stand behind the workload's name.
    """

    profile: DeviceProfile
    measurement: Measurement
    cost: VariantCost
    tflite: bytes
    seed: int
    samples: str = ""


@task(tags=["mlflow"], retries=2, retry_delay_seconds=5)
def read_registry(workload: str, devices: list[str] | None) -> Registered:
    """The variants that the registry holds selected for devices that can run an agent, unless some are named."""
    name = find_workload(workload).name
    _refuse_without_agent(devices or ())
    found = read_selected(name, settings=RegistrySettings.from_environment(), devices=devices)
    able = {profile.name for profile in profiles() if profile.kind == WITH_AGENT}
    kept = {device: selected for device, selected in found.devices.items() if device in able}
    if not kept:
        raise ReleaseError(
            f"no variant of {name} is selected for a device that can run an agent",
            "build for a Linux device; microcontrollers get their model by `tinymlops export`",
        )
    return msgspec.structs.replace(found, devices=kept)


def _refuse_without_agent(devices: Iterable[str]) -> None:
    for device in devices:
        if load_profile(device).kind != WITH_AGENT:
            raise ReleaseError(
                f"{device} can't run an agent", f"use `tinymlops export MODEL.tflite --device {device}` for it"
            )


def choose_variants(registered: Registered) -> tuple[Candidate, ...]:
    """For each device the selected variant first, then those that suit it better in some state."""
    return tuple(
        Candidate(
            profile,
            measurement,
            cost,
            registered.variants[measurement.variant.sha256].tflite,
            selected.seed,
            selected.samples,
        )
        for device, selected in registered.devices.items()
        for profile in [load_profile(device)]
        for recipe, cost in variants_for(selected.measurements, profile, selected.recipe).items()
        for measurement in selected.measurements
        if measurement.variant.recipe == recipe and measurement.variant.sha256 in registered.variants
    )


def decide_metered(workload: str, asked: bool | None) -> bool:
    """Whether the next release is metered: as the last one was, unless somebody says. A price never falls away."""
    newest = Premises.from_environment().records().newest(workload)
    return asked if asked is not None else newest is not None and newest.metered


def refuse_unchanged(workload: str, candidates: tuple[Candidate, ...], *, metered: bool = False) -> None:
    """Check that there is something new to release.

    Raises:
        ReleaseError: The newest release holds exactly these variants.
    """
    newest = Premises.from_environment().records().newest(workload)
    facts = ((one.profile.name, one.measurement.variant.recipe, one.measurement.variant.sha256) for one in candidates)
    if newest is not None and unchanged(newest, facts, metered=metered):
        raise ReleaseError(
            f"release {newest.version} of {workload} holds exactly these variants",
            f"roll it out with `tinymlops rollout start {workload}`, or build something new first",
        )


def next_version(workload: str) -> int:
    """Number of the next release."""
    return Premises.from_environment().records().next_version(workload)


@task(task_run_name="describe {candidate.measurement.variant.recipe} on {candidate.profile.name}", tags=["docker"])
def describe_variant(workload: str, candidate: Candidate, version: int, *, metered: bool = False) -> Manifest:
    """Write a variant's manifest; its self-test runs on the device."""
    recipe = candidate.measurement.variant.recipe
    with StepProgress(f"manifest of {recipe} for {candidate.profile.name}") as progress:
        bench = workbench()
        bench.prepare(candidate.profile, progress.say)
        manifest = describe(
            candidate.tflite,
            candidate.measurement,
            candidate.profile,
            load_workload(_with_samples(workload, candidate), candidate.seed),
            version=version,
            cost=candidate.cost,
            bench=bench,
            on_progress=progress.say,
        )
        progress.say("written")
        return msgspec.structs.replace(manifest, metered=metered)


def _with_samples(workload: str, candidate: Candidate) -> str:
    """The workload with what the variant learnt from: its histograms and temperature must be those of the same rows."""
    return workload if MARK in workload else f"{workload}{candidate.samples}"


@task(tags=["release"])
def publish_release(
    manifests: list[Manifest], candidates: tuple[Candidate, ...], registered: Registered, why: str
) -> ReleaseRecord:
    """Seal, sign, publish; then note it in the promotion log."""
    models = {one.measurement.variant.sha256: one.tflite for one in candidates}
    with StepProgress(f"release {manifests[0].version} of {registered.workload}") as progress:
        progress.say("sealing and signing")
        publisher = Premises.from_environment().publisher(passphrase_from_environment)
        record = publisher.publish(manifests, models, why=why, now_s=time.time())
        note_release(registered, record.version, why, settings=RegistrySettings.from_environment())
        progress.say("published")
    return record


@task(tags=["report"])
def show_release(record: ReleaseRecord) -> None:
    """A table of the release in the Prefect UI."""
    rows = [
        {
            "device": one.profile,
            "variant": one.recipe,
            "model": one.sha256[:12],
            "whole, bytes": next(package.bytes for package in record.packages[one.sha256] if not package.base),
            "smallest, bytes": record.packages[one.sha256][0].bytes,
        }
        for one in record.variants
    ]
    create_table_artifact(
        rows, key=f"{record.workload}-release", description=f"Release {record.version} of {record.workload}"
    )
