"""The values that a workload gives: samples, a split, a metric, a plan for fitting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class Task(StrEnum):
    """What a network's outputs mean."""

    CLASSIFICATION = "classification"
    """One probability a class; targets are class numbers."""
    REGRESSION = "regression"
    """One number an output; targets are floats."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows of data.

    Attributes:
        inputs: float32, shape (n, *input shape).
        targets: int64 of shape (n,) for classification, float32 of shape (n, outputs) for regression.
        groups: What must not be shared between train and test, one a row, shape (n,): a person,
            a day, a site. Give every row its own where rows are independent.
    """

    inputs: NDArray[np.float32]
    targets: Array
    groups: Array

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Split:
    """Train teaches, validation stops and chooses, test is looked at once, for the report."""

    train: Samples
    validation: Samples
    test: Samples


@dataclass(frozen=True)
class Metric:
    """How good outputs are.

    Attributes:
        name: Standard term, for example ``"accuracy"``.
        higher_is_better: Direction.
        compute: ``(targets, outputs) -> float``; outputs are float32 of shape (n, outputs).
        of_rows: The same of each row by itself, shape (n,), where their mean is what ``compute`` gives: retraining has
            to say how sure a gain is. Without it, rows are computed one by one.
    """

    name: str
    higher_is_better: bool
    compute: Callable[[Array, Array], float]
    of_rows: Callable[[Array, Array], NDArray[np.float64]] | None = None

    def loss_of(self, reference: float, score: float) -> float:
        """How much worse ``score`` is than ``reference``, in the metric's unit; negative if better."""
        return reference - score if self.higher_is_better else score - reference


def accuracy(targets: Array, outputs: Array) -> float:
    """Fraction of rows whose largest output is the target's class."""
    return float(np.mean(_right(targets, outputs)))


def mean_absolute_error(targets: Array, outputs: Array) -> float:
    """Mean of |target - output| over all rows and outputs, in the target's unit."""
    return float(np.mean(np.abs(np.asarray(targets, np.float64) - np.asarray(outputs, np.float64))))


def _right(targets: Array, outputs: Array) -> NDArray[np.float64]:
    return np.asarray(np.argmax(outputs, axis=1) == targets, np.float64)


def _absolute_errors(targets: Array, outputs: Array) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.abs(np.asarray(targets, np.float64) - np.asarray(outputs, np.float64))
    return np.asarray(errors.reshape(len(errors), -1).mean(axis=1), np.float64)


ACCURACY = Metric("accuracy", higher_is_better=True, compute=accuracy, of_rows=_right)
MEAN_ABSOLUTE_ERROR = Metric(
    "mean absolute error", higher_is_better=False, compute=mean_absolute_error, of_rows=_absolute_errors
)

Augment = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]


@dataclass(frozen=True)
class FitPlan:
    """How a network is fitted.

    Attributes:
        epochs: The most passes over the training rows.
        batch_size: Rows a step.
        learning_rate: Peak of the cosine schedule (Loshchilov and Hutter 2017), optimizer Adam.
        patience: Epochs without a better validation loss before training stops; the best weights are kept.
        fine_tune_epochs: Passes when a compressed network is fitted again.
        fine_tune_learning_rate: Peak of the schedule then.
        label_smoothing: Probability mass spread over the wrong classes (classification only).
        augment: Makes new training inputs from old ones each epoch; shape and dtype stay.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    patience: int = 10
    fine_tune_epochs: int = 8
    fine_tune_learning_rate: float = 1e-3
    label_smoothing: float = 0.0
    augment: Augment | None = None
