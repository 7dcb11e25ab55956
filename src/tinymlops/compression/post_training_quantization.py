"""Post-training quantization of a float ``.tflite`` to integers, calibrated on training rows.

ai-edge-quantizer does it from the file alone: per-channel weights, per-tensor activations.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from numpy.typing import NDArray

from tinymlops.compression.recipes import Precision

CALIBRATION_ROWS = 256


def quantize(float_model: bytes, rows: NDArray[np.float32], precision: Precision) -> bytes:
    """``float_model`` with integer weights, activations, inputs and outputs.

    Args:
        float_model: A float32 ``.tflite`` that takes one row.
        rows: Training inputs, shape (n, *input shape); the first ``CALIBRATION_ROWS`` set the ranges.
        precision: INT8, or INT16X8 for 16-bit activations.
    """
    chosen = recipe.static_wi8_ai8() if precision is Precision.INT8 else recipe.static_wi8_ai16()
    signature, name = _signature(float_model)
    tool = quantizer.Quantizer(float_model, chosen)
    data = {signature: [{name: row[None]} for row in rows[:CALIBRATION_ROWS]]}
    calibration = tool.calibrate(data, num_threads=1)
    return bytes(tool.quantize(calibration, enable_progress_report=False).quantized_model)


def _signature(model: bytes) -> tuple[str, str]:
    """The name of the only signature, and of its only input."""
    signatures = Interpreter(model_content=model).get_signature_list()
    ((signature, sides),) = signatures.items()
    (name,) = sides["inputs"]
    return signature, name
