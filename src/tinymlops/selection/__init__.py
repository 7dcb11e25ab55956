"""Measurements, budgets and the state of a device in; the variant to run, with the reason in words, out.

`docs/selection.md` explains the rules. Only the validation score is ever read: the test score is for people.
"""

from tinymlops.selection.budgets import fits, unchecked
from tinymlops.selection.choice import DEFAULT_TOLERANCE, select
from tinymlops.selection.pareto import memory_cost, pareto_front, time_cost
from tinymlops.selection.state import costs_of, for_state
from tinymlops.selection.values import Selection
from tinymlops.wire.device_state import ACCURATE, BALANCED, FAST, DeviceState, Network, Weights

__all__ = [
    "ACCURATE",
    "BALANCED",
    "DEFAULT_TOLERANCE",
    "FAST",
    "DeviceState",
    "Network",
    "Selection",
    "Weights",
    "costs_of",
    "fits",
    "for_state",
    "memory_cost",
    "pareto_front",
    "select",
    "time_cost",
    "unchecked",
]
