"""From a Keras model to a ``.tflite``: float32, float16, dynamic range, and what quantization-aware training made."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tinymlops.compression.recipes import Precision
from tinymlops.errors import CompressionError


def convert(model: Any, precision: Precision) -> bytes:
    """``model`` as a ``.tflite`` for one row at a time.

    Args:
        model: A float network, or for ``Precision.QAT`` one with fake quantization.
        precision: FLOAT32, FLOAT16, DYNAMIC_RANGE or QAT.

    Raises:
        CompressionError: The converter refused the network.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(_one_row(model))
    if precision is not Precision.FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if precision is Precision.QAT:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        return bytes(converter.convert())
    except Exception as error:  # the converter has no error class of its own
        reason = str(error).strip().split("\n", maxsplit=1)[0][:200]
        raise CompressionError(
            f"the converter refused the network ({reason})",
            "use layers with a TFLite operator, or leave this recipe out",
        ) from error


def _one_row(model: Any) -> Any:
    """The model with a fixed batch of one: recurrent layers convert, and devices need no dynamic shapes."""
    inputs = keras.Input(batch_shape=(1, *model.input_shape[1:]))
    return keras.Model(inputs, model(inputs))
