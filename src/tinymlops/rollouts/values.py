"""What a roll-out is and what is known of each device in it."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.errors import UsageError
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.manifest import HealthBounds
from tinymlops.wire.messages import Fraction, ReleaseHealth

DEFAULT_STAGES = (0.05, 0.5, 1.0)


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices a roll-out is for; an empty field means all.

    Attributes:
        profiles: Names of device profiles.
        tags: A device needs one of them.
        regions: Names of regions.
    """

    profiles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def holds(self, device: Target) -> bool:
        """Whether the roll-out is for ``device``."""
        return (
            (not self.profiles or device.profile in self.profiles)
            and (not self.tags or not set(self.tags).isdisjoint(device.tags))
            and (not self.regions or device.region in self.regions)
        )


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A device, as far as roll-outs go.

    Attributes:
        device_id: Which.
        profile: Its kind.
        tags: Given to it when it was let in.
        region: Likewise, or None.
    """

    device_id: str
    profile: str
    tags: tuple[str, ...] = ()
    region: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a stage has succeeded and when a roll-out is broken.

    Attributes:
        success: Fraction of the devices reached so far that must report good health before the next stage begins.
        failure: Fraction of the devices reached so far that may fail; one more and all go back.
        silence_s: How long a device may say nothing of the release before it counts as silent, in seconds.
        soak_s: The least time a stage lasts, in seconds: some faults need time to show.
        error_rate_queries: Queries before a device's error rate says anything.
    """

    success: Annotated[float, Meta(gt=0, le=1)] = 0.9
    failure: Fraction = 0.05
    silence_s: Annotated[float, Meta(gt=0)] = 24 * 3600.0
    soak_s: Annotated[float, Meta(ge=0)] = 0.0
    error_rate_queries: Annotated[int, Meta(ge=1)] = 20


class RolloutStatus(StrEnum):
    """Where a roll-out stands."""

    RUNNING = "running"
    PAUSED = "paused"
    """Waits for a person: nothing is assigned, devices keep what they have."""
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    DONE = "done"

    @property
    def is_final(self) -> bool:
        """Whether nothing will happen any more."""
        return self in {RolloutStatus.ROLLED_BACK, RolloutStatus.DONE}


EVERYBODY = Audience()
DEFAULT_LIMITS = Limits()


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a roll-out, in words, at a time in seconds since 1970."""

    at_s: float
    what: str


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A device in a roll-out.

    Attributes:
        device_id: Which.
        profile: Its kind.
        stage: Index of the stage that reaches it.
        previous: Version of the workload that it was assigned before, or None.
        counter: Of its newest assignment then: only what it says of later ones counts.
    """

    device_id: str
    profile: str
    stage: int
    previous: int | None
    counter: int = 0


class Rollout(Versioned, frozen=True, kw_only=True):
    """A roll-out, whole: what is kept of it is this value.

    Attributes:
        rollout_id: Names it.
        workload: Which task.
        version: Of the release that goes out.
        audience: Whom it was made for.
        stages: Fraction of the devices reached by the end of each stage, rising to 1.
        limits: What it is judged by.
        bounds: Profile → what a device of that kind may report.
        members: All devices, fixed when the roll-out was planned.
        status: Where it stands.
        stage: Index of the stage that is under way, or was last.
        stage_since_s: When that stage, or the way back, began, in seconds since 1970.
        created_s: When it was planned.
        reason: Why it is paused, or why it was rolled back; empty otherwise.
        events: Oldest first.
    """

    rollout_id: str
    workload: str
    version: int
    audience: Audience
    stages: tuple[float, ...]
    limits: Limits
    bounds: dict[str, HealthBounds]
    members: tuple[Member, ...]
    created_s: float
    stage_since_s: float
    status: RolloutStatus = RolloutStatus.RUNNING
    stage: int = 0
    reason: str = ""
    events: tuple[Event, ...] = ()

    def reached(self) -> tuple[Member, ...]:
        """Devices that the roll-out has come to."""
        return tuple(member for member in self.members if member.stage <= self.stage)


class Standing(StrEnum):
    """What a device's word means for the roll-out."""

    GOOD = "good"
    FAILED = "failed"
    WAITING = "waiting"
    SILENT = "silent"


class DeviceStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a device's dealings with a release.

    Attributes:
        assigned_s: When it was assigned the release, in seconds since 1970; None while it is assigned another.
        health: Its newest word about the release, or None.
        running: Version of the workload that it says it runs, or None.
    """

    assigned_s: float | None = None
    health: ReleaseHealth | None = None
    running: int | None = None


def checked_stages(stages: tuple[float, ...]) -> tuple[float, ...]:
    """``stages``, if they rise to exactly 1.

    Raises:
        UsageError: They do not.
    """
    rising = all(0 < first < second for first, second in itertools.pairwise(stages))
    if not stages or not rising or stages[0] <= 0 or stages[-1] != 1.0:
        raise UsageError(
            f"the stages {', '.join(f'{share:g}' for share in stages) or '(none)'} do not rise to 1",
            "give fractions such as 0.05 0.5 1",
        )
    return stages
