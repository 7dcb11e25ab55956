"""Who comes when: an order of devices, drawn anew for each roll-out, with its share of each kind in every stage."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from tinymlops.errors import ReleaseError
from tinymlops.rollouts.values import (
    DEFAULT_LIMITS,
    DEFAULT_STAGES,
    EVERYBODY,
    Audience,
    Event,
    Limits,
    Member,
    Rollout,
    checked_stages,
)
from tinymlops.wire.manifest import HealthBounds


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A device that a roll-out could reach.

    Attributes:
        device_id: Which.
        profile: Its kind.
        previous: Version of the workload that it is assigned now, or None.
        counter: Of its newest assignment.
    """

    device_id: str
    profile: str
    previous: int | None = None
    counter: int = 0


def plan_rollout(  # noqa: PLR0913 - a roll-out is made of these
    rollout_id: str,
    workload: str,
    version: int,
    candidates: Iterable[Candidate],
    *,
    bounds: Mapping[str, HealthBounds],
    now_s: float,
    audience: Audience = EVERYBODY,
    stages: tuple[float, ...] = DEFAULT_STAGES,
    limits: Limits = DEFAULT_LIMITS,
) -> Rollout:
    """A roll-out that has just begun.

    Kinds of device are spread evenly over the order, so that every stage holds its share of each: a variant that is
    broken on one kind alone is seen by that kind's own canaries. A device that the release holds nothing for, or that
    is assigned it already, is left out.

    Args:
        rollout_id: Names it, and seeds the order of the devices.
        workload: Which task.
        version: Of the release.
        candidates: The audience's devices.
        bounds: Profile → bounds, for each profile that the release has a variant for.
        now_s: Seconds since 1970.
        audience: Kept for people to read.
        stages: Fractions that rise to 1.
        limits: What the roll-out is judged by.

    Raises:
        UsageError: The stages do not rise to 1.
        ReleaseError: No device is left.
    """
    checked_stages(stages)
    fitting = [one for one in candidates if one.profile in bounds and one.previous != version]
    members = _members(_in_order(rollout_id, fitting), stages)
    if not members:
        raise ReleaseError(
            f"no device is waiting for version {version} of {workload}",
            "see `tinymlops fleet list`: enrol devices of the released kinds, or widen the audience",
        )
    return Rollout(
        rollout_id=rollout_id,
        workload=workload,
        version=version,
        audience=audience,
        stages=stages,
        limits=limits,
        bounds=dict(bounds),
        members=members,
        created_s=now_s,
        stage_since_s=now_s,
        events=(Event(now_s, f"planned for {len(members)} devices"),),
    )


def _in_order(rollout_id: str, devices: list[Candidate]) -> list[Candidate]:
    drawn = {one.device_id: hashlib.sha256(f"{rollout_id}|{one.device_id}".encode()).digest() for one in devices}
    by_profile: dict[str, list[Candidate]] = defaultdict(list)
    for one in sorted(devices, key=lambda one: drawn[one.device_id]):
        by_profile[one.profile].append(one)
    # The k-th of n devices of a kind stands at (k + ½) / n of the way.
    place = {one.device_id: (k + 0.5) / len(kind) for kind in by_profile.values() for k, one in enumerate(kind)}
    return sorted(devices, key=lambda one: (place[one.device_id], drawn[one.device_id]))


def _members(ordered: list[Candidate], stages: tuple[float, ...]) -> tuple[Member, ...]:
    ends = [math.ceil(len(ordered) * share) for share in stages]
    return tuple(
        Member(
            device_id=one.device_id,
            profile=one.profile,
            stage=next(stage for stage, end in enumerate(ends) if place < end),
            previous=one.previous,
            counter=one.counter,
        )
        for place, one in enumerate(ordered)
    )
