"""Measure a variant of a workload on a device, and score it by the outputs that the device gave."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from tinymlops.benchmarking import Workbench, benchmark
from tinymlops.compression.variants import Variant
from tinymlops.devices.backend import Progress, silent
from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import Measurement
from tinymlops.training import score
from tinymlops.workloads.base import Workload
from tinymlops.workloads.catalogue import load_workload
from tinymlops.workloads.values import Samples, Split

DEVICE_ROWS = 1500
"""At most this many validation and test rows run on a device; larger splits are drawn from, by the seed."""


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
    workload, split = _device_split(reference, seed)
    inputs = np.concatenate([split.validation.inputs, split.test.inputs])
    outcome = benchmark(variant.tflite, inputs, profile, variant.facts, bench=bench, on_progress=on_progress)
    if outcome.outputs is None:
        return outcome.measurement
    parts = np.split(outcome.outputs, [len(split.validation)])
    return msgspec.structs.replace(outcome.measurement, scores=score(workload, split, *parts))


def draw(samples: Samples, rows: int, seed: int) -> Samples:
    """``rows`` of ``samples``, drawn without replacement in their own order; all of them if there are no more."""
    if len(samples) <= rows:
        return samples
    chosen = np.sort(np.random.default_rng(seed).permutation(len(samples))[:rows])
    return Samples(samples.inputs[chosen], samples.targets[chosen], samples.groups[chosen])


@lru_cache(maxsize=1)
def _device_split(reference: str, seed: int) -> tuple[Workload, Split]:
    loaded = load_workload(reference, seed)
    split = loaded.split
    parts = (draw(part, DEVICE_ROWS, seed) for part in (split.validation, split.test))
    return loaded.workload, Split(split.train, *parts)
