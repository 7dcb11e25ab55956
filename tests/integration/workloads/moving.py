"""A task whose world moves: three classes that change places in the field; quick to learn, and to learn anew."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads import FitPlan, Samples, Split, Workload

FEATURES = 10
PATTERNS = np.random.default_rng(0).normal(size=(3, FEATURES))


def rows(count: int, seed: int, *, moved: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs and classes; where the world has moved, each class looks as the next one did."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    looks = (labels + moved) % 3
    inputs = PATTERNS[looks] + rng.normal(0, 0.5, (count, FEATURES))
    return inputs.astype(np.float32), labels


class Moving(Workload):
    """Three classes from ten columns."""

    name = "moving"
    labels = ("low", "middle", "high")
    fit = FitPlan(epochs=15, fine_tune_epochs=2)
    budget = 1.0  # what was right before the world moved is wrong now, and may be forgotten

    def split(self, seed: int) -> Split:
        def part(count: int, number: int) -> Samples:
            return Samples(*rows(count, 10 * seed + number), number * 1000 + np.arange(count))

        return Split(part(1500, 1), part(200, 2), part(200, 3))

    def network(self) -> Any:
        import tf_keras as keras

        return keras.Sequential(
            [
                keras.layers.Input((FEATURES,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
