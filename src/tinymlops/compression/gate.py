"""The accuracy gate: a variant that lost too much is vetoed, and the table says so."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from tinymlops.devices.tensors import dequantize, quantize
from tinymlops.model_file import ModelFile
from tinymlops.workloads.base import Workload


def run_reference_kernels(model: ModelFile, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of ``model`` for each row of ``inputs``, shape (rows, outputs), dequantized.

    Uses LiteRT's built-in kernels without delegates: bit-equal to TensorFlow Lite Micro, where XNNPACK is not.
    """
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model.content, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for row in quantize(inputs, model.inputs[0]):
        interpreter.set_tensor(source["index"], row[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"])[0].copy())
    return dequantize(np.stack(outputs), model.outputs[0])


def veto(workload: Workload, float_score: float, score: float) -> str:
    """Why a variant with this validation score is refused; empty if it passes."""
    loss = workload.metric.loss_of(float_score, score)
    if loss <= workload.budget:
        return ""
    return (
        f"validation {workload.metric.name} {score:.3f} is {loss:.3f} worse than the float network's"
        f" {float_score:.3f}, the budget is {workload.budget:.3f}"
    )
