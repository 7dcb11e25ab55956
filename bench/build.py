"""Three ratios, each of two commands run here one after the other.

1. The flow against the same library calls in a plain script with as many workers: what Prefect costs.
2. A second build with nothing changed against the first.
3. ``tinymlops --help`` against an empty Python: what a person waits for before anything happens.

``make bench`` runs it; images are made beforehand and count for neither side.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinymlops import training
from tinymlops.benchmarking import workbench
from tinymlops.cli.environment import load_from_project
from tinymlops.compression.recipes import find_recipes
from tinymlops.compression.variants import compress
from tinymlops.devices.catalogue import profiles
from tinymlops.evaluation import evaluate
from tinymlops.registry import RegistrySettings, register_build
from tinymlops.selection import select

WORKLOAD, SEED, WORKERS = "activity", 7, 2
COMMAND = str(Path(sys.executable).with_name("tinymlops"))


def plain_build(out: Path, state: Path) -> None:
    """What ``flows/build.py`` does, without Prefect."""
    facts = load_from_project("tasks.training").read_workload.fn(WORKLOAD, SEED)
    reporting = load_from_project("tasks.reporting")
    devices = profiles()
    with ThreadPoolExecutor(WORKERS) as pool:
        training_job = pool.submit(training.train, WORKLOAD, SEED)
        reference_job = pool.submit(training.fit_reference, WORKLOAD, SEED)
        trained, reference = training_job.result(), reference_job.result()
        variants = list(pool.map(lambda recipe: compress(WORKLOAD, SEED, trained, recipe), find_recipes()))
        pairs = [(variant, device) for device in devices if device.emulated for variant in variants]
        measurements = list(pool.map(lambda pair: evaluate(WORKLOAD, SEED, *pair), pairs))
    timed = [(variant, device) for device in devices if not device.emulated for variant in variants]
    measurements += [evaluate(WORKLOAD, SEED, *pair) for pair in timed]
    selections = tuple(select(measurements, device) for device in devices)
    report = reporting.assemble(facts, trained, reference, measurements, selections, devices)
    files = reporting.write_report.fn(report, variants, str(out))
    tflites = {variant.facts.recipe: variant.tflite for variant in variants}
    register_build(report, tflites, files, settings=RegistrySettings.in_folder(state / "mlflow"))


def seconds(command: list[str], **environment: str) -> float:
    """Wall-clock time of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def median_of(runs: int, command: list[str]) -> float:
    """Median wall-clock time of ``runs`` whole processes, after one that does not count."""
    return sorted(seconds(command) for _ in range(runs + 1))[1:][runs // 2]


def main() -> None:
    """Print the three ratios."""
    for device in profiles():
        workbench().prepare(device)
    with tempfile.TemporaryDirectory(prefix="tinymlops-bench-") as name:
        folder = Path(name)
        plain = seconds([sys.executable, __file__, "--plain", str(folder / "plain")])
        build = [COMMAND, "build", WORKLOAD, "--seed", str(SEED), "--out", str(folder / "flow")]
        state = {"TINYMLOPS_STATE": str(folder / "state")}
        first, second = seconds(build, **state), seconds(build, **state)
    shown, empty = median_of(5, [COMMAND, "--help"]), median_of(5, [sys.executable, "-c", "pass"])
    print(f"flow against plain script     {first / plain:6.3f}   ({first:.1f} s, {plain:.1f} s; goal at most 1.05)")
    print(f"second build against first    {second / first:6.3f}   ({second:.1f} s, {first:.1f} s; goal at most 0.05)")
    print(f"--help against empty Python   {shown / empty:6.1f}   ({shown:.2f} s, {empty:.2f} s; goal under 0.5 s)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        target = Path(sys.argv[2])
        plain_build(target / "out", target)
    else:
        main()
