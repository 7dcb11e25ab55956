"""A task whose world moves: what a class looks like in the field changes; quick to learn, and to learn anew."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads import FitPlan, Samples, Split, Workload
from tinymlops.workloads.renewal import FieldSamples, Renewal, renew_by_device

FEATURES = 10
NEWEST = 1500
"""Samples that teach."""


def rows(count: int, seed: int, world: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs and classes as they are in one of the worlds; number 0 is the workload's own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    inputs = _patterns(world)[labels] + rng.normal(0, 0.5, (count, FEATURES))
    return inputs.astype(np.float32), labels


def _patterns(world: int) -> NDArray[np.float64]:
    """What each class looks like. Odd worlds turn the own one around, so that no model of an even one can be right."""
    around = np.random.default_rng(0).normal(size=(3, FEATURES))
    shift = np.random.default_rng(world // 2).normal(0, 0.2, size=(3, FEATURES)) if world > 1 else 0.0
    turned: NDArray[np.float64] = np.roll(around, world % 2, axis=0) + shift
    return turned


class Moving(Workload):
    """Three classes from ten columns."""

    name = "moving"
    labels = ("low", "middle", "high")
    fit = FitPlan(epochs=20, fine_tune_epochs=2)
    budget = 1.0  # what was right in an older world is wrong now, and may be forgotten

    def split(self, seed: int) -> Split:
        def part(count: int, number: int) -> Samples:
            return Samples(*rows(count, 10 * seed + number), number * 10_000 + np.arange(count))

        return Split(part(900, 1), part(200, 2), part(200, 3))

    def renewed(self, field: FieldSamples, seed: int) -> Renewal:
        newest = np.arange(len(field)) >= len(field) - NEWEST
        last = FieldSamples(**{name: column[newest] for name, column in vars(field).items()})
        found = renew_by_device(self.split(seed), last, seed)
        return Renewal(Split(last_of(found.split.train), found.split.validation, found.split.test), found.judged)

    def network(self) -> Any:
        import tf_keras as keras

        return keras.Sequential(
            [
                keras.layers.Input((FEATURES,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )


def last_of(train: Samples) -> Samples:
    """The field's rows of a training part, where there are enough of them: the old world is not taught any more."""
    field = np.char.find(train.groups.astype(str), "own ") != 0
    if field.sum() < NEWEST // 4:
        return train
    return Samples(train.inputs[field], train.targets[field], train.groups[field])
