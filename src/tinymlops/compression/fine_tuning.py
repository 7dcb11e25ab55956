"""Fit a network again after something was done to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tf_keras as keras

from tinymlops.isolation import Progress
from tinymlops.training import Schedule, fit
from tinymlops.workloads.base import Workload
from tinymlops.workloads.values import Split


@dataclass(frozen=True)
class FineTuning:
    """What every technique needs to fit a network again: data, plan and seed.

    Attributes:
        workload: Its ``fit`` plan gives epochs and speed.
        split: Train and validation rows.
        seed: Of order and augmentation.
        on_progress: Told of every epoch.
    """

    workload: Workload
    split: Split
    seed: int
    on_progress: Progress

    @property
    def steps(self) -> int:
        """Optimizer steps of one ``fit``."""
        plan = self.workload.fit
        return plan.fine_tune_epochs * -(-len(self.split.train) // plan.batch_size)

    def copy(self, model: Any) -> Any:
        """A model of the same layers and weights; tfmot changes some of those it is given."""
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return copy

    def fit(self, model: Any, text: str, callbacks: list[Any] | None = None) -> None:
        """Fit ``model`` in place for the plan's fine-tuning epochs; no early stopping, schedules must run out."""
        plan = self.workload.fit
        schedule = Schedule(plan.fine_tune_epochs, plan.fine_tune_learning_rate, early_stopping=False)
        fit(
            model,
            self.workload,
            self.split,
            schedule,
            seed=self.seed,
            callbacks=callbacks or [],
            on_progress=self.on_progress,
            text=text,
        )
