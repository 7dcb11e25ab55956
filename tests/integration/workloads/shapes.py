"""Workloads of every shape that users bring: few classes and many, tables, series, pictures, few rows and many."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.workloads import MEAN_ABSOLUTE_ERROR, FitPlan, Samples, Split, Task, Workload

QUICK = FitPlan(epochs=4, fine_tune_epochs=1)


def blobs(rows: int, shape: tuple[int, ...], classes: int, seed: int) -> Split:
    """One fixed random pattern a class, plus noise: learnable, and quick to make."""
    patterns = np.random.default_rng(0).normal(size=(classes, *shape))
    rng = np.random.default_rng(seed + 1)

    def part(count: int, first: int) -> Samples:
        labels = np.arange(count) % classes
        inputs = patterns[labels] + rng.normal(0, 0.5, (count, *shape))
        return Samples(inputs.astype(np.float32), labels.astype(np.int64), first + np.arange(count))

    fifth = rows // 5
    return Split(part(rows - 2 * fifth, 0), part(fifth, rows), part(fifth, 2 * rows))


class Table(Workload):
    """Three classes from ten columns, 200 rows."""

    name = "table-of-three"
    labels: tuple[str, ...] = ("low", "middle", "high")
    fit = FitPlan(epochs=20, fine_tune_epochs=4)
    rows = 200
    shape: tuple[int, ...] = (10,)

    def split(self, seed: int) -> Split:
        return blobs(self.rows, self.shape, len(self.labels), seed)

    def network(self) -> Any:
        import tf_keras as keras

        return keras.Sequential(
            [
                keras.layers.Input(self.shape),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.Dense(len(self.labels), activation="softmax"),
            ]
        )


class Letters(Table):
    """Twenty-six classes from a table."""

    name = "table-of-letters"
    labels = tuple("abcdefghijklmnopqrstuvwxyz")
    rows = 2600


class Series(Table):
    """A one-dimensional series through Conv1D, which quantization-aware training does not know."""

    name = "series"
    rows, shape = 400, (64, 2)

    def network(self) -> Any:
        import tf_keras as keras

        inputs = keras.Input(self.shape)
        hidden = keras.layers.Conv1D(16, 5, strides=2, activation="relu")(inputs)
        hidden = keras.layers.GlobalAveragePooling1D()(hidden)
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))


class ManyPictures(Table):
    """Sixty thousand small pictures."""

    name = "many-pictures"
    fit = FitPlan(epochs=6, batch_size=256, learning_rate=1e-2, fine_tune_epochs=1)
    rows, shape = 60_000, (8, 8, 1)

    def network(self) -> Any:
        from tinymlops.workloads import layers

        inputs = layers.Input(self.shape)
        return layers.classifier(inputs, layers.convolution(inputs, 8, (3, 3), stride=2), classes=3)


class FewPictures(ManyPictures):
    """The same with few rows, and a network that every recipe can be applied to."""

    name = "few-pictures"
    rows = 1500

    def network(self) -> Any:
        from tinymlops.workloads import layers

        inputs = layers.Input(self.shape)
        hidden = layers.convolution(inputs, 16, (3, 3), stride=2)
        return layers.classifier(inputs, layers.separable_convolution(hidden, 16, (3, 3)), classes=3)


class LosesItsZeros(ManyPictures):
    """A convolution with ReLU as a layer of its own: here `pqat` is known to lose sparsity without a word."""

    name = "loses-its-zeros"
    fit = FitPlan(epochs=2, fine_tune_epochs=2)
    rows = 2000

    def network(self) -> Any:
        import tf_keras as keras

        inputs = keras.Input(self.shape)
        hidden = inputs
        for width in (16, 16):
            hidden = keras.layers.ReLU()(keras.layers.Conv2D(width, 3, padding="same")(hidden))
        pooled = keras.layers.GlobalAveragePooling2D()(hidden)
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(pooled))


class Regression(Table):
    """Two numbers from a table."""

    name = "two-numbers"
    task = Task.REGRESSION
    metric = MEAN_ABSOLUTE_ERROR
    labels = ("sum", "difference")
    budget = 0.2
    fit = FitPlan(epochs=40, learning_rate=1e-2, fine_tune_epochs=2)

    def split(self, seed: int) -> Split:
        rng = np.random.default_rng(seed)

        def part(count: int, first: int) -> Samples:
            inputs = rng.uniform(-1, 1, (count, 10)).astype(np.float32)
            targets = np.stack([inputs[:, 0] + inputs[:, 1], inputs[:, 0] - inputs[:, 1]], axis=1)
            return Samples(inputs, targets, first + np.arange(count))

        return Split(part(600, 0), part(200, 1000), part(200, 2000))

    def network(self) -> Any:
        import tf_keras as keras

        inputs = keras.Input((10,))
        return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(16, activation="relu")(inputs)))


class SquareNetwork(Table):
    """A network that does not fit its data."""

    name = "does-not-fit"
    shape = (11,)

    def network(self) -> Any:
        import tf_keras as keras

        return keras.Sequential([keras.layers.Input((10,)), keras.layers.Dense(3, activation="softmax")])


class Explodes(Table):
    """A learning rate that no network survives."""

    name = "explodes"
    fit = FitPlan(epochs=3, learning_rate=float("inf"))
