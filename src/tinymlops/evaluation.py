"""Measure a variant of a workload on a device, and score it by the outputs that the device gave."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from tinymlops.benchmarking import Workbench, benchmark
from tinymlops.codegen import KernelSet, generate
from tinymlops.compression.variants import Variant
from tinymlops.devices.backend import Progress, silent
from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import DoesNotRunError
from tinymlops.measurement import Measurement
from tinymlops.training import score
from tinymlops.workloads.base import Workload
from tinymlops.workloads.catalogue import load_workload
from tinymlops.workloads.values import Samples, Split

DEVICE_ROWS = 1500
"""At most this many validation and test rows run on a device; larger splits are drawn from, by the seed."""

EMULATED_MACS = 1_500_000_000
"""Multiply-accumulates that a core is emulated for on each of the two splits: about half a minute on a Cortex-M0+."""

FEWEST_ROWS = 200
"""But a score has at least this many rows behind it, where the split has them."""


def evaluate(
    reference: str,
    seed: int,
    variant: Variant,
    profile: DeviceProfile,
    *,
    bench: Workbench | None = None,
    on_progress: Progress = silent,
) -> Measurement:
    """Run the validation and test rows on the device.

    Args:
        reference: The workload, as for ``load_workload``.
        seed: The build's.
        variant: What to run.
        profile: Where.
        bench: As for ``benchmark``.
        on_progress: Likewise.

    Raises:
        TinyMLOpsError: As ``load_workload`` and ``benchmark`` do.
    """
    workload, split = _device_split(reference, seed, rows_for(variant.tflite, profile))
    inputs = np.concatenate([split.validation.inputs, split.test.inputs])
    outcome = benchmark(variant.tflite, inputs, profile, variant.facts, bench=bench, on_progress=on_progress)
    if outcome.outputs is None:
        return outcome.measurement
    parts = np.split(outcome.outputs, [len(split.validation)])
    return msgspec.structs.replace(outcome.measurement, scores=score(workload, split, *parts))


def rows_for(model: bytes, profile: DeviceProfile) -> int:
    """How many validation and how many test rows run: fewer where a large model is emulated instruction by instruction.

    Fewer rows are some of the more rows, so that scores stay comparable.
    """
    if profile.kind == "linux":
        return DEVICE_ROWS
    try:
        macs = sum(operator.macs for operator in generate(model, KernelSet.PORTABLE).operators)
    except DoesNotRunError:
        return DEVICE_ROWS  # the device will say so itself
    return max(FEWEST_ROWS, min(DEVICE_ROWS, EMULATED_MACS // max(macs, 1)))


def draw(samples: Samples, rows: int, seed: int) -> Samples:
    """``rows`` of ``samples``, drawn without replacement in their own order; all of them if there are no more."""
    if len(samples) <= rows:
        return samples
    chosen = np.sort(np.random.default_rng(seed).permutation(len(samples))[:rows])
    return Samples(samples.inputs[chosen], samples.targets[chosen], samples.groups[chosen])


@lru_cache(maxsize=4)
def _device_split(reference: str, seed: int, rows: int) -> tuple[Workload, Split]:
    loaded = load_workload(reference, seed)
    split = loaded.split
    parts = (draw(part, rows, seed) for part in (split.validation, split.test))
    return loaded.workload, Split(split.train, *parts)
