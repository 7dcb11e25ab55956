"""The self-test: what the model makes of a few inputs on this kind of device, and how far off another's bits may be."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tinymlops.benchmarking import Workbench, benchmark
from tinymlops.devices.backend import Progress, silent
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.native import NativeBackend
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.tensors import encode, quantize
from tinymlops.errors import ReleaseError
from tinymlops.measurement import VariantFacts
from tinymlops.model_file import ModelFile, read_model
from tinymlops.wire.manifest import SelfTest
from tinymlops.workloads.values import Samples

ROWS = 4
_HOST = "x86-gateway"
_HOST_KERNELS = ("xnnpack", "builtin")
_MARGIN = 2.0
"""Times the largest difference that was seen: more kernel sets exist than were tried."""

Array = NDArray[Any]


def choose_rows(samples: Samples) -> NDArray[np.float32]:
    """`ROWS` inputs, as many different targets among them as there are; always the same ones."""
    _, firsts = np.unique(samples.targets, return_index=True, axis=0)
    others = np.setdiff1d(np.arange(len(samples)), firsts)
    spread = others[np.linspace(0, len(others) - 1, min(ROWS, len(others))).astype(int)] if len(others) else others
    chosen = np.concatenate([firsts, spread])[:ROWS]
    rows: NDArray[np.float32] = samples.inputs[np.sort(chosen)]
    return rows


def make_self_test(
    tflite: bytes,
    inputs: NDArray[np.float32],
    profile: DeviceProfile,
    facts: VariantFacts,
    *,
    bench: Workbench | None = None,
    on_progress: Progress = silent,
) -> SelfTest:
    """Run ``inputs`` on the device, and on this machine with two kernel sets to see how far outputs may differ.

    Raises:
        ReleaseError: The variant does not run on the device, or gives nothing but NaN.
        EngineError: No container engine answers where one is needed.
    """
    model = read_model(tflite, f"{facts.recipe}.tflite")
    outcome = benchmark(tflite, inputs, profile, facts, bench=bench, on_progress=on_progress)
    if outcome.outputs is None:
        raise ReleaseError(
            f"{facts.recipe} does not run on {profile.name} ({outcome.measurement.reason})",
            "build again, and release what was selected then",
        )
    expected = quantize(outcome.outputs, model.outputs[0])
    if not np.isfinite(outcome.outputs).all():
        raise ReleaseError(
            f"{facts.recipe} gives NaN or infinity on {profile.name}", "mend the network and build again"
        )
    here = [quantize(host_outputs(tflite, inputs, model, kernels), model.outputs[0]) for kernels in _HOST_KERNELS]
    return SelfTest(
        rows=len(inputs),
        inputs=encode(inputs, model),
        outputs=expected.tobytes(),
        tolerance=_tolerance(max(_largest_difference(expected, other) for other in here), expected),
    )


def host_outputs(tflite: bytes, inputs: Array, model: ModelFile, kernels: str = "builtin") -> NDArray[np.float32]:
    """What the model makes of ``inputs`` on this machine, dequantized, shape ``(rows, values)``.

    It runs in a process of its own: a model can crash its interpreter.

    Raises:
        ReleaseError: The model does not run here.
    """
    host = load_profile(_HOST)
    runtime = msgspec.structs.replace(host.runtime, kernels=kernels)
    facts = VariantFacts(recipe=model.source, sha256="", model_bytes=len(tflite), gzip_bytes=0)
    bench = Workbench({"linux": NativeBackend()}, contained=False)
    outcome = benchmark(tflite, inputs, msgspec.structs.replace(host, runtime=runtime), facts, bench=bench)
    if outcome.outputs is None:
        raise ReleaseError(
            f"{model.source} does not run on this machine ({outcome.measurement.reason})",
            "mend the network and build again",
        )
    return outcome.outputs


def _largest_difference(first: Array, second: Array) -> float:
    return float(np.max(np.abs(first.astype(np.float64) - second.astype(np.float64))))


def _tolerance(seen: float, expected: Array) -> float:
    """Twice what was seen, and at least one step, or a ten-thousandth of the largest output."""
    least = 1.0 if expected.dtype.kind in "iu" else 1e-4 * max(1.0, float(np.max(np.abs(expected))))
    return max(least, _MARGIN * seen)
