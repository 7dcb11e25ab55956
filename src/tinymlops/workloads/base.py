"""What a learning task has to say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads.renewal import FieldSamples, Renewal, renew_by_device
from tinymlops.workloads.values import ACCURACY, FitPlan, Metric, Split, Task


class Workload(ABC):
    """A learning task: data and split, network, metric, labels.

    Subclass it, set ``name`` and ``labels``, write ``split`` and ``network``; the rest has defaults.
    ``docs/workloads.md`` walks through an example.

    Attributes:
        name: Lower case letters, digits and dashes; names the MLflow model and the output folder.
        title: One line for people.
        labels: Names of the classes, or of the outputs of a regression.
        task: Classification or regression.
        metric: What gates, selection and reports use.
        budget: How much worse than the float network a variant may be on the validation split, in
            the metric's unit, before the accuracy gate vetoes it.
        fit: How the network is fitted.
        credit: Attribution that the data's licence asks for; shown in reports.
        counted: Names of what devices may count, such as ``"channel 3 mean"``, ``"confidence"`` or ``"error"``; unless
            given, up to eight numbers of the input and all of the answers. Fewer are told less noisily.
    """

    name: str
    title: str = ""
    labels: tuple[str, ...]
    task: Task = Task.CLASSIFICATION
    metric: Metric = ACCURACY
    budget: float = 0.02
    fit: FitPlan = FitPlan()
    credit: str = ""
    counted: tuple[str, ...] | None = None

    @abstractmethod
    def split(self, seed: int) -> Split:
        """Read the data and split it; the same seed gives the same split."""

    @abstractmethod
    def network(self) -> Any:
        """A new, uncompiled ``tf_keras.Model``: softmax outputs to classify, linear ones for regression."""

    def renewed(self, field: FieldSamples, seed: int) -> Renewal:
        """Data to retrain with: own ones and labelled samples from the field, split by device and by time.

        Override it where another rule suits the data better; whatever is judged must not be trained on.
        """
        return renew_by_device(self.split(seed), field, seed)

    def reference_features(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs as the scikit-learn reference gets them, shape (n, features)."""
        return inputs.reshape(len(inputs), -1)
