"""What retraining decides, and on what grounds."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tinymlops.wire.encoding import Versioned


class Trigger(StrEnum):
    """What asked for a retraining."""

    SCHEDULE = "schedule"
    DRIFT = "drift"
    WEBHOOK = "webhook"
    MANUAL = "manual"


class Outcome(StrEnum):
    """How a retraining ended."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    """The challenger is not better for certain, or harms a group."""
    DECLINED = "declined"
    """A person said no."""
    NO_DATA = "no data"
    """Too little has come in since the champion was made."""
    FAILED = "failed"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Challenger against champion on one set of rows.

    Attributes:
        rows: What they are, for example ``"held out"``, ``"recent"`` or ``"region=north"``.
        count: How many.
        champion: Its score in the workload's metric.
        challenger: Likewise.
        gain: Challenger over champion, positive is better, in the metric's own unit.
        low: Of the gain's confidence interval (paired bootstrap).
        high: Likewise.
        blocks: Devices, people or days that the rows fall into; those are independent of each other, rows are not.
    """

    rows: str
    count: int
    champion: float
    challenger: float
    gain: float
    low: float
    high: float
    blocks: int = 0


class RetrainingRecord(Versioned, frozen=True, kw_only=True):
    """One retraining; kept as ``retraining/<workload>/<began_s, 12 digits>-<key>.json``.

    Attributes:
        workload: Which task.
        key: Names the request: the same key is one retraining.
        trigger: What asked for it.
        why: In words: the verdict, the schedule's name, what the webhook's caller said.
        began_s: Seconds since 1970.
        ended_s: Likewise.
        table_version: Of the table of samples: with it, the run can be repeated exactly.
        outcome: How it ended.
        reason: One sentence for people.
        metric: Of the scores.
        comparisons: Grounds of the decision.
        champion: Release that serves, or None.
        release: That the challenger became, or None.
        rollout_id: That takes it out, or empty.
    """

    workload: str
    key: str
    trigger: Trigger
    why: str
    began_s: float
    ended_s: float
    table_version: int
    outcome: Outcome
    reason: str
    metric: str = ""
    comparisons: tuple[Comparison, ...] = ()
    champion: int | None = None
    release: int | None = None
    rollout_id: str = ""
