"""One workload, many variants, many devices: train → compress → measure → select → register → report."""

from __future__ import annotations

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

WORKERS = ThreadPoolTaskRunner(max_workers=2)  # type: ignore[var-annotated]


@flow(name="build", flow_run_name="{workload}, seed {seed}", task_runner=WORKERS)  # type: ignore[arg-type]
def build(
    workload: str = "activity",
    recipes: list[str] | None = None,
    devices: list[str] | None = None,
    seed: int = 7,
    out: str | None = None,
    promote: bool = True,
) -> BuildReport:
    """Build WORKLOAD (a name, or path/to/file.py:object) by all recipes for all devices, unless some are named.

    Without ``promote`` it is registered, but what devices are given stays as it is: for a challenger.
    """
    chosen, (profiles, notes) = find_recipes(recipes), choose_devices(devices)
    facts = read_workload(workload, seed)

    training = train.submit(facts)
    images = prepare_device.map(profiles)
    reference = fit_reference.submit(facts)
    trained = training.result()

    compressing = compress.map(unmapped(facts), unmapped(trained), chosen)
    where = list(zip(profiles, images.result(), strict=True))
    # Measuring starts while the last recipes still compress. Wall-clock latency is only honest while
    # nothing else runs: devices that have one wait until the end, and go one by one.
    emulated = [(variant, *at) for at in where if at[0].emulated for variant in compressing]
    measuring = [benchmark.submit(facts, *one) for one in emulated]  # type: ignore[call-overload]
    variants, failures = gather_variants(compressing, chosen)
    measurements = gather_measurements(measuring)
    measurements += [benchmark(facts, variant, *at) for at in where if not at[0].emulated for variant in variants]

    selections = select(tuple(measurements), profiles)
    found = (trained, reference.result(), measurements, selections, profiles)
    report = assemble(facts, *found, failures=failures, notes=notes)
    files = write_report(report, variants, out or f"out/{facts.name}")
    publish(report, files, register(report, variants, files, promote=promote))
    raise_for_failures(report)
    return report
