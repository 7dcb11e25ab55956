"""Post-training quantization of a float ``.tflite`` to integers, calibrated on training rows.

ai-edge-quantizer does it from the file alone: per-channel weights, per-tensor activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils
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
    ranges = _ranges(float_model, rows[:CALIBRATION_ROWS], chosen)
    result = quantizer.Quantizer(float_model, chosen).quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


def _ranges(float_model: bytes, rows: NDArray[np.float32], chosen: list[dict[str, Any]]) -> Any:
    """The least and the largest value of every tensor over ``rows``.

    The tool's own default is a moving average of each row's extremes. With one row at a time that cuts off most of the
    range of anything small, such as two regression outputs.
    """
    signature, name = _signature(float_model)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(chosen)
    calibration = calibrator.Calibrator(float_model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    calibration.calibrate({signature: [{name: row[None]} for row in rows]}, manager)
    return calibration.get_model_qsvs()


def _signature(model: bytes) -> tuple[str, str]:
    """The name of the only signature, and of its only input."""
    signatures = Interpreter(model_content=model).get_signature_list()
    ((signature, sides),) = signatures.items()
    (name,) = sides["inputs"]
    return signature, name
