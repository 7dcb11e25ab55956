"""Building blocks for small networks that survive pruning, clustering and quantization.

Convolution, then batch normalisation, then ReLU as layers of their own: in this order the
combined techniques of tensorflow-model-optimization keep sparsity, and the converter folds them into one operator.
"""

from __future__ import annotations

from typing import Any

from tf_keras import Model
from tf_keras import layers as keras

Input = keras.Input


def convolution(inputs: Any, width: int, kernel: tuple[int, int], stride: int = 1) -> Any:
    """Convolution, batch normalisation, ReLU. Shape (n, rows, columns, channels) in and out."""
    return _activated(keras.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False)(inputs))


def separable_convolution(inputs: Any, width: int, kernel: tuple[int, int], stride: int = 1) -> Any:
    """Depthwise then pointwise convolution, each with batch normalisation and ReLU (MobileNet, Howard et al. 2017)."""
    depthwise = keras.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False)
    return _activated(keras.Conv2D(width, 1, use_bias=False)(_activated(depthwise(inputs))))


def classifier(inputs: Any, hidden: Any, classes: int, dropout: float = 0.2) -> Any:
    """The model that ends in global average pooling and a softmax over ``classes``."""
    pooled = keras.Dropout(dropout)(keras.GlobalAveragePooling2D()(hidden))
    return Model(inputs, keras.Dense(classes, activation="softmax")(pooled))


def _activated(hidden: Any) -> Any:
    # Keras' 0.99 needs hundreds of steps before validation means anything; small data sets have fewer
    return keras.ReLU()(keras.BatchNormalization(momentum=0.9)(hidden))
