"""One workload, many variants, many devices: train → compress → measure → select → register → report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.benchmarking import benchmark, choose_devices, gather_measurements, prepare_device
from tasks.compression import compress, gather_variants
from tasks.registry import register
from tasks.reporting import assemble, publish, write_report
from tasks.selection import select
from tasks.training import fit_reference, read_workload, train
from tinymlops.compression.recipes import find_recipes
from tinymlops.reporting import BuildReport, raise_for_failures

WORKERS = 2
"""Training and measuring use a core each; more would only make wall-clock times less honest."""


@flow(name="build", flow_run_name="{workload}, seed {seed}", task_runner=ThreadPoolTaskRunner(max_workers=WORKERS))  # type: ignore[arg-type]
def build(
    workload: str = "activity",
    recipes: list[str] | None = None,
    devices: list[str] | None = None,
    seed: int = 7,
    out: str | None = None,
) -> BuildReport:
    """Build a workload for every device.

    Args:
        workload: A built-in name, or path/to/file.py:object.
        recipes: Names of recipes; all of them if not given.
        devices: Names of device profiles; all that this machine can measure if not given.
        seed: Reaches the split, training and every draw.
        out: Folder for the results; out/WORKLOAD if not given.
    """
    chosen, (profiles, notes) = find_recipes(recipes), choose_devices(devices)
    facts = read_workload(workload, seed)

    training = train.submit(facts)
    images = prepare_device.map(profiles)
    reference = fit_reference.submit(facts)
    trained = training.result()

    compressing = compress.map(unmapped(facts), unmapped(trained), chosen)
    where = list(zip(profiles, images.result(), strict=True))
    # Measuring starts while the last recipes still compress. Wall-clock latency is only honest
    # while nothing else runs: devices that have one wait until the end, and go one by one.
    measuring = [
        benchmark.submit(facts, variant, profile, image)  # type: ignore[call-overload] # Prefect waits for the variant
        for profile, image in where
        if profile.emulated
        for variant in compressing
    ]
    variants, failures = gather_variants(compressing, chosen)
    measurements = gather_measurements(measuring)
    measurements += [benchmark(facts, variant, *at) for at in where if not at[0].emulated for variant in variants]

    selections = select(tuple(measurements), profiles)
    report = assemble(
        facts,
        trained,
        reference.result(),
        measurements,
        selections=selections,
        profiles=profiles,
        failures=failures,
        notes=notes,
    )
    files = write_report(report, variants, Path(out or f"out/{facts.name}").resolve())
    publish(report, files, register(report, variants, files))
    raise_for_failures(report)
    return report
