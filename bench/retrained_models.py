"""Real int8 models and what becomes of them when they are trained on: the material for measuring differences.

Fashion-MNIST, depthwise-separable networks of two sizes, quantized as the ``int8`` recipe does it. From one trained
network come three successors: only its last layer learned anew, everything fine-tuned (a tenth of the learning rate),
everything trained on as before. All learn from pictures that the first one did not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tinymlops.isolation import Progress, call_isolated, silent

CHANGES = ("head", "fine-tuned", "retrained")
"""Kinds of successor."""

_ROWS = 6_000
"""Pictures for the first training, and as many others for what follows."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A network.

    Attributes:
        name: For people.
        width: Channels of each layer.
        blocks: Depthwise-separable convolutions.
        flat: Whether the last layer sees every position (a large head), or their mean (a small one).
    """

    name: str
    width: int
    blocks: int
    flat: bool = False


SMALL = Shape(name="50 KB", width=64, blocks=5)
LARGE = Shape(name="700 KB", width=384, blocks=4)
LARGE_HEAD = Shape(name="500 KB, a third of it head", width=256, blocks=4, flat=True)


def retrained_models(shape: Shape, seed: int = 7) -> dict[str, bytes]:
    """``.tflite`` files: ``"first"`` and one for each of `CHANGES`. About a minute; TensorFlow in its own process."""
    return call_isolated(_retrain, shape, seed, timeout_s=1200)


def _retrain(shape: Shape, seed: int, on_progress: Progress = silent) -> dict[str, bytes]:
    from tinymlops.training import prepare_tensorflow
    from tinymlops.workloads.fashion import Fashion

    prepare_tensorflow(seed)
    split = Fashion().split(seed)
    inputs, labels = split.train.inputs, split.train.targets
    first, later = slice(0, _ROWS), slice(_ROWS, 2 * _ROWS)
    model = _network(shape)
    _fit(model, inputs[first], labels[first], rate=1e-3, epochs=3)
    models = {"first": _quantized(model, inputs)}
    weights = model.get_weights()
    plans = (("head", 1e-3, model.layers[-1:]), ("fine-tuned", 1e-4, model.layers), ("retrained", 1e-3, model.layers))
    for done, (change, rate, trainable) in enumerate(plans, start=1):
        model.set_weights(weights)
        _freeze_but(model, trainable)
        _fit(model, inputs[later], labels[later], rate=rate, epochs=1)
        models[change] = _quantized(model, inputs)
        on_progress(done, len(plans), change)
    return models


def _network(shape: Shape) -> Any:
    import tf_keras as keras

    from tinymlops.workloads import layers

    inputs = layers.Input((28, 28, 1))
    hidden = layers.convolution(inputs, shape.width, (3, 3), stride=4)
    for _ in range(shape.blocks):
        hidden = layers.separable_convolution(hidden, shape.width, (3, 3))
    if not shape.flat:
        return layers.classifier(inputs, hidden, classes=10)
    flat = keras.layers.Flatten()(hidden)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(flat))


def _freeze_but(model: Any, trainable: Sequence[Any]) -> None:
    # A frozen batch normalisation also keeps its statistics: Keras then runs it as in inference.
    for layer in model.layers:
        layer.trainable = layer in trainable


def _fit(model: Any, inputs: Any, labels: Any, *, rate: float, epochs: int) -> None:
    import tf_keras as keras

    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(inputs, labels, epochs=epochs, batch_size=64, verbose=0)


def _quantized(model: Any, inputs: Any) -> bytes:
    from tinymlops.compression.conversion import convert
    from tinymlops.compression.post_training_quantization import quantize
    from tinymlops.compression.recipes import Precision

    return quantize(convert(model, Precision.FLOAT32), inputs, Precision.INT8)
