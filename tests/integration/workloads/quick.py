"""The project's own workloads and networks, on few rows and after one pass: shapes matter here, not scores."""

from __future__ import annotations

import numpy as np

from tinymlops.workloads import FitPlan, Samples, Split
from tinymlops.workloads.activity import Activity
from tinymlops.workloads.base import Workload
from tinymlops.workloads.fashion import Fashion
from tinymlops.workloads.footfall import Footfall

ROWS = 384
QUICK = FitPlan(epochs=1, fine_tune_epochs=1)


def _few(samples: Samples) -> Samples:
    """Rows from everywhere, so that every class is among them."""
    rows = np.linspace(0, len(samples) - 1, ROWS).astype(np.int64)
    return Samples(samples.inputs[rows], samples.targets[rows], samples.groups[rows])


def _cut(split: Split) -> Split:
    return Split(_few(split.train), _few(split.validation), _few(split.test))


class QuickActivity(Activity):
    """Motion."""

    name = "quick-activity"
    fit = QUICK

    def split(self, seed: int) -> Split:
        return _cut(super().split(seed))


class QuickFashion(Fashion):
    """Pictures."""

    name = "quick-fashion"
    fit = QUICK

    def split(self, seed: int) -> Split:
        return _cut(super().split(seed))


class QuickFootfall(Footfall):
    """Counts."""

    name = "quick-footfall"
    fit = QUICK

    def split(self, seed: int) -> Split:
        return _cut(super().split(seed))


WORKLOADS: tuple[type[Workload], ...] = (QuickActivity, QuickFashion, QuickFootfall)
