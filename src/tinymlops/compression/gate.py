"""The accuracy gate: a variant that lost too much is vetoed, and the table says so."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from tinymlops.workloads.base import Workload


def run_reference_kernels(model: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of ``model`` for each row of ``inputs``, shape (rows, outputs), dequantized.

    Uses LiteRT's built-in kernels without delegates: bit-equal to TensorFlow Lite Micro, where XNNPACK is not.
    """
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = quantize(inputs, source["dtype"], *source["quantization"])
    outputs = []
    for row in rows:
        interpreter.set_tensor(source["index"], row[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"])[0].copy())
    return dequantize(np.stack(outputs), *sink["quantization"])


def quantize(values: NDArray[np.float32], dtype: type[np.generic], scale: float, zero_point: int) -> NDArray[np.generic]:
    """Real values as the integers that stand for them; floats pass through. A scale of 0 means not quantized."""
    if scale == 0:
        return values.astype(dtype)
    limits = np.iinfo(dtype)  # type: ignore[arg-type]
    return np.clip(np.rint(values / np.float32(scale)) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(values: NDArray[np.generic], scale: float, zero_point: int) -> NDArray[np.float32]:
    """The real values that integers stand for; floats pass through."""
    if scale == 0:
        return values.astype(np.float32)
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def veto(workload: Workload, float_score: float, score: float) -> str:
    """Why a variant with this validation score is refused; empty if it passes."""
    loss = workload.metric.loss_of(float_score, score)
    if loss <= workload.budget:
        return ""
    return (
        f"validation {workload.metric.name} {score:.3f} is {loss:.3f} worse than the float network's"
        f" {float_score:.3f}, the budget is {workload.budget:.3f}"
    )
