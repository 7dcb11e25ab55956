"""Staged roll-outs: which device runs which release when, judged by the devices' own health.

`rules.advance` is the whole of the decision: a pure function of the state, what the devices say, and the time.
"""

from tinymlops.rollouts.planning import plan_rollout
from tinymlops.rollouts.rules import advance
from tinymlops.rollouts.values import (
    Audience,
    DeviceStanding,
    Limits,
    Rollout,
    RolloutStatus,
    Standing,
    Target,
)
from tinymlops.rollouts.wanted import wanted_versions

__all__ = [
    "Audience",
    "DeviceStanding",
    "Limits",
    "Rollout",
    "RolloutStatus",
    "Standing",
    "Target",
    "advance",
    "plan_rollout",
    "wanted_versions",
]
