"""Make a device's container image, and measure a variant on the device."""

from __future__ import annotations

from collections.abc import Iterable

from prefect import task
from prefect.futures import PrefectFuture

from tasks.caching import content_key
from tasks.progress import StepProgress
from tasks.training import WorkloadFacts
from tinymlops import evaluation
from tinymlops.benchmarking import workbench
from tinymlops.compression.variants import Variant
from tinymlops.devices.catalogue import load_profile, profiles
from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import EngineError
from tinymlops.measurement import Measurement


def choose_devices(names: list[str] | None) -> tuple[tuple[DeviceProfile, ...], tuple[str, ...]]:
    """The profiles called ``names``, or all that this machine can measure, and what a reader should know of that.

    Raises:
        UnknownNameError: One of the names does not exist.
    """
    if names is not None:
        return tuple(load_profile(name) for name in dict.fromkeys(names)), ()
    everything = profiles()
    if workbench().contained:
        return everything, ()
    native = tuple(profile for profile in everything if not profile.emulated)
    left = ", ".join(profile.name for profile in everything if profile.emulated)
    return native, (f"no container engine answers, so {left} were left out: start one with `sh infra/engine.sh`.",)


def gather_measurements(futures: Iterable[PrefectFuture[Measurement]]) -> list[Measurement]:
    """What was measured; those whose variant was never made are left out."""
    measurements = []
    for future in futures:
        future.wait()
        if future.state.name != "NotReady":
            measurements.append(future.result())
    return measurements


@task(task_run_name="prepare {profile.name}", tags=["docker"])
def prepare_device(profile: DeviceProfile) -> str:
    """Make the image of a device unless it is there; returns its tag, which holds a digest of all that is inside."""
    with StepProgress(f"image for {profile.name}") as progress:
        image = workbench().prepare(profile, progress.say)
        progress.say("ready")
        return image


@task(
    task_run_name="measure {variant.facts.recipe} on {profile.name}",
    tags=["docker"],
    retries=1,
    retry_condition_fn=lambda _task, _run, state: isinstance(state.result(raise_on_failure=False), EngineError),
    cache_key_fn=content_key(
        "codegen",
        "devices",
        "benchmarking.py",
        "evaluation.py",
        "measurement.py",
        "model_file.py",
        packages=("numpy", "bakenn", "ethos-u-vela"),
    ),
    persist_result=True,
)
def benchmark(workload: WorkloadFacts, variant: Variant, profile: DeviceProfile, image: str) -> Measurement:
    """Measure one variant on one device; ``image`` is part of the key."""
    del image
    with StepProgress(f"{variant.facts.recipe} on {profile.name}") as progress:
        measurement = evaluation.evaluate(workload.reference, workload.seed, variant, profile, on_progress=progress.say)
        progress.say(measurement.status)
        return measurement
