"""Built-in workloads' networks with random weights, quantized: their operators without their training time."""

from __future__ import annotations

import numpy as np

from tinymlops.isolation import Progress
from tinymlops.workloads.catalogue import BUILT_IN


def quantized(name: str, on_progress: Progress) -> bytes:
    """The int8 ``.tflite`` of a built-in workload whose network was never trained."""
    from tinymlops.compression.conversion import convert
    from tinymlops.compression.post_training_quantization import quantize
    from tinymlops.compression.recipes import Precision
    from tinymlops.training import prepare_tensorflow
    from tinymlops.workloads.catalogue import find_workload

    assert name in BUILT_IN
    prepare_tensorflow(7)
    network = find_workload(name).network()
    on_progress(1, 2, "built")
    rows = np.random.default_rng(7).normal(size=(64, *network.input_shape[1:])).astype(np.float32)
    return quantize(convert(network, Precision.FLOAT32), rows, Precision.INT8)
