"""Learning tasks: what a user writes, and the three that come along."""

from tinymlops.workloads.base import Workload
from tinymlops.workloads.values import (
    ACCURACY,
    MEAN_ABSOLUTE_ERROR,
    FitPlan,
    Metric,
    Samples,
    Split,
    Task,
)

__all__ = ["ACCURACY", "MEAN_ABSOLUTE_ERROR", "FitPlan", "Metric", "Samples", "Split", "Task", "Workload"]
