"""What devices run: a release built as any other, int8 on this machine's interpreter, with its manifest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.benchmarking import Workbench
from tinymlops.compression.recipes import find_recipes
from tinymlops.compression.variants import compress
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.native import NativeBackend
from tinymlops.evaluation import evaluate
from tinymlops.manifests import describe, variants_for
from tinymlops.manifests.self_test import host_outputs
from tinymlops.model_file import read_model
from tinymlops.replay.city import HOURS, WEEKDAYS, inputs_of
from tinymlops.training import train
from tinymlops.wire.manifest import Manifest
from tinymlops.workloads.catalogue import load_workload

PROFILE = "x86-gateway"
RECIPE = "int8"
_TIMEOUT_S = 600.0

Answers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Served:
    """A release that devices run.

    Attributes:
        manifest: Of its only variant.
        tflite: The variant.
        inputs: Of every hour of a week at each sensor, shape (sensors, 168, values).
        answers: What the variant makes of them, shape (sensors, 168): no other inputs exist, so it is run once on each.
    """

    manifest: Manifest
    tflite: bytes
    inputs: NDArray[np.float32]
    answers: Answers


def serve(reference: str, version: int, seed: int) -> Served:
    """Train, compress and describe a release.

    Args:
        reference: Of the workload, as ``load_workload`` takes it.
        version: Of the release.
        seed: Of the split, of training and of every draw.

    Raises:
        TinyMLOpsError: As training, compression and `describe` do.
    """
    trained = train(reference, seed, timeout_s=_TIMEOUT_S)
    (recipe,) = find_recipes([RECIPE])
    variant = compress(reference, seed, trained, recipe, timeout_s=_TIMEOUT_S)
    profile, bench = load_profile(PROFILE), Workbench({"linux": NativeBackend()}, contained=False)
    measurement = evaluate(reference, seed, variant, profile, bench=bench)
    cost = variants_for([measurement], profile, RECIPE)[RECIPE]
    loaded = load_workload(reference, seed)
    manifest = describe(variant.tflite, measurement, profile, loaded, version=version, cost=cost, bench=bench)
    inputs = week_of_all(loaded.split.train.inputs.shape[1])
    outputs = host_outputs(variant.tflite, inputs.reshape(-1, inputs.shape[2]), read_model(variant.tflite, RECIPE))
    answers = outputs.astype(np.float64).reshape(inputs.shape[:2])
    return Served(manifest, variant.tflite, inputs, answers)


def week_of_all(values: int) -> NDArray[np.float32]:
    """Every input there is, shape (sensors, 168, values)."""
    sensors = values - HOURS - WEEKDAYS
    return np.stack([inputs_of(column, sensors) for column in range(sensors)])
