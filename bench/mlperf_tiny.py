"""Four networks of the shapes of MLPerf Tiny's, with random weights: made here, nothing is downloaded.

Instruction counts depend on shapes alone (but for a few clamps), so these stand for the benchmark's own networks:
Banbury et al., MLPerf Tiny Benchmark, arXiv 2106.07597, section 4. ``networks()`` takes about a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tinymlops.isolation import Progress, call_isolated

SEED = 7
_CALIBRATION_ROWS = 16
_MINUTES = 15


def networks() -> dict[str, bytes]:
    """Task → int8 ``.tflite``: DS-CNN (kws), autoencoder (ad), ResNet-8 (ic), MobileNetV1 × 0.25 (vww)."""
    return call_isolated(convert_all, timeout_s=_MINUTES * 60)


def convert_all(on_progress: Progress) -> dict[str, bytes]:
    """In a process of its own: build, give random statistics, convert."""
    import tf_keras as keras

    keras.utils.set_random_seed(SEED)
    found: dict[str, bytes] = {}
    for name, build in _NETWORKS.items():
        on_progress(len(found), len(_NETWORKS), name)
        network = build(keras.layers, keras)
        _randomize(network)
        found[name] = _convert(network)
    return found


def _block(layers: Any, x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(x))


def _separable(layers: Any, x: Any, filters: int, strides: int = 1) -> Any:
    x = _block(layers, layers.DepthwiseConv2D(3, strides=strides, padding="same")(x))
    return _block(layers, layers.Conv2D(filters, 1, padding="same")(x))


def _classify(layers: Any, x: Any, classes: int) -> Any:
    return layers.Dense(classes, activation="softmax")(layers.Flatten()(x))


def _kws(layers: Any, keras: Any) -> Any:
    """Keyword spotting: DS-CNN, 49 × 10 features, 12 words."""
    start = keras.Input((49, 10, 1), batch_size=1)
    x = _block(layers, layers.Conv2D(64, (10, 4), strides=2, padding="same")(start))
    for _ in range(4):
        x = _separable(layers, x, 64)
    return keras.Model(start, _classify(layers, layers.AveragePooling2D((25, 5))(x), 12))


def _ad(layers: Any, keras: Any) -> Any:
    """Anomaly detection: autoencoder 640-128-128-128-128-8-128-128-128-128-640."""
    start = keras.Input((640,), batch_size=1)
    x = start
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = _block(layers, layers.Dense(units)(x))
    return keras.Model(start, layers.Dense(640)(x))


def _ic(layers: Any, keras: Any) -> Any:
    """Image classification: ResNet-8, 32 × 32 × 3, 10 classes."""
    start = keras.Input((32, 32, 3), batch_size=1)
    x = _block(layers, layers.Conv2D(16, 3, padding="same")(start))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = _block(layers, layers.Conv2D(filters, 3, strides=strides, padding="same")(x))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(y))
        x = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(start, _classify(layers, layers.AveragePooling2D(8)(x), 10))


def _vww(layers: Any, keras: Any) -> Any:
    """Visual wake words: MobileNetV1 × 0.25, 96 × 96 × 3, 2 classes."""
    start = keras.Input((96, 96, 3), batch_size=1)
    x = _block(layers, layers.Conv2D(8, 3, strides=2, padding="same")(start))
    for strides, filters in (
        (1, 16),
        (2, 32),
        (1, 32),
        (2, 64),
        (1, 64),
        (2, 128),
        *[(1, 128)] * 5,
        (2, 256),
        (1, 256),
    ):
        x = _separable(layers, x, filters, strides)
    return keras.Model(start, _classify(layers, layers.AveragePooling2D(3)(x), 2))


_NETWORKS: dict[str, Callable[[Any, Any], Any]] = {"kws": _kws, "ad": _ad, "ic": _ic, "vww": _vww}


def _randomize(network: Any) -> None:
    """Batch statistics that folding into the weights can't ignore."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            shape = layer.get_weights()[0].shape
            gamma, variance = rng.uniform(0.7, 1.3, shape), rng.uniform(0.5, 1.5, shape)
            layer.set_weights([gamma, rng.normal(0, 0.2, shape), rng.normal(0, 0.1, shape), variance])


def _convert(network: Any) -> bytes:
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(SEED)

    def rows() -> Iterator[list[Any]]:
        for _ in range(_CALIBRATION_ROWS):
            yield [rng.normal(0, 1, network.input_shape).astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = rows
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    # As the benchmark's own files have it: dense layers with one scale for all outputs
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001 - no public switch
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())
