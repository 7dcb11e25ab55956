"""When devices need another model: its data, its contest with the one that serves, and the decision."""

from tinymlops.retraining.values import Comparison, Outcome, RetrainingRecord, Trigger

__all__ = ["Comparison", "Outcome", "RetrainingRecord", "Trigger"]
