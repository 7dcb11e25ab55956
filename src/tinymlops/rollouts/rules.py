"""When a roll-out goes on, waits, pauses or turns back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from tinymlops.rollouts.values import DeviceStanding, Event, Member, Rollout, RolloutStatus, Standing
from tinymlops.wire.manifest import HealthBounds
from tinymlops.wire.messages import Phase, ReleaseHealth

_UNKNOWN = DeviceStanding()


def advance(rollout: Rollout, standings: Mapping[str, DeviceStanding], now_s: float) -> Rollout:
    """The roll-out as it is after looking at the devices once; call it again and again.

    Args:
        rollout: As it was.
        standings: Device id → what is known of it; a device that is missing was not assigned yet.
        now_s: Seconds since 1970.
    """
    if rollout.status == RolloutStatus.RUNNING:
        return _judge(rollout, standings, now_s)
    if rollout.status == RolloutStatus.ROLLING_BACK and _is_back(rollout, standings, now_s):
        return _become(rollout, RolloutStatus.ROLLED_BACK, rollout.reason, now_s)
    return rollout


def standing_of(rollout: Rollout, member: Member, known: DeviceStanding, now_s: float) -> tuple[Standing, str]:
    """What a device's word means, and why in words if it failed."""
    about = known.health
    if about is not None and about.version == rollout.version and about.assignment > member.counter:
        reason = _breach(about, rollout.bounds[member.profile], rollout.limits.error_rate_queries)
        if reason:
            return Standing.FAILED, reason
        if about.phase == Phase.GOOD:
            return Standing.GOOD, ""
    waited_s = 0.0 if known.assigned_s is None else now_s - known.assigned_s
    return (Standing.SILENT if waited_s > rollout.limits.silence_s else Standing.WAITING), ""


def count_standings(rollout: Rollout, standings: Mapping[str, DeviceStanding], now_s: float) -> list[Counter[Standing]]:
    """How many devices of each stage stand where; stages that were not reached yet are empty."""
    counts: list[Counter[Standing]] = [Counter() for _ in rollout.stages]
    for member in rollout.reached():
        known = standings.get(member.device_id, _UNKNOWN)
        counts[member.stage][standing_of(rollout, member, known, now_s)[0]] += 1
    return counts


def pause(rollout: Rollout, reason: str, now_s: float) -> Rollout:
    """The roll-out, waiting for a person; unchanged unless it was running."""
    if rollout.status != RolloutStatus.RUNNING:
        return rollout
    return _become(rollout, RolloutStatus.PAUSED, reason, now_s)


def resume(rollout: Rollout, now_s: float) -> Rollout:
    """The roll-out, going on; the stage under way gets its full time again. Unchanged unless it was paused."""
    if rollout.status != RolloutStatus.PAUSED:
        return rollout
    going = _become(rollout, RolloutStatus.RUNNING, "", now_s)
    return msgspec.structs.replace(going, stage_since_s=now_s)


def turn_back(rollout: Rollout, reason: str, now_s: float) -> Rollout:
    """The roll-out, on its way back; unchanged if it has ended or is on its way."""
    if rollout.status.is_final or rollout.status == RolloutStatus.ROLLING_BACK:
        return rollout
    back = _become(rollout, RolloutStatus.ROLLING_BACK, reason, now_s)
    return msgspec.structs.replace(back, stage_since_s=now_s)


def _judge(rollout: Rollout, standings: Mapping[str, DeviceStanding], now_s: float) -> Rollout:
    count = sum(count_standings(rollout, standings, now_s), Counter())
    reached, limits = count.total(), rollout.limits
    if count[Standing.FAILED] > limits.failure * reached:
        what = f"{count[Standing.FAILED]} of {reached} devices failed: {_first_reason(rollout, standings)}"
        return turn_back(rollout, what, now_s)
    enough = count[Standing.GOOD] >= limits.success * reached
    last = rollout.stage == len(rollout.stages) - 1
    # The last stage waits for everybody's word or silence; those before it go on with enough of them.
    if now_s - rollout.stage_since_s < limits.soak_s or (count[Standing.WAITING] and (last or not enough)):
        return rollout
    if not enough:
        return pause(rollout, f"{count[Standing.SILENT]} of {reached} devices are silent", now_s)
    return _next(rollout, now_s)


def _next(rollout: Rollout, now_s: float) -> Rollout:
    if rollout.stage == len(rollout.stages) - 1:
        return _become(rollout, RolloutStatus.DONE, "", now_s)
    # A share may be so small that a stage holds nobody; then it is not a stage.
    stage = rollout.stage + 1
    while stage < len(rollout.stages) - 1 and not any(member.stage == stage for member in rollout.members):
        stage += 1
    begun = msgspec.structs.replace(rollout, stage=stage, stage_since_s=now_s)
    if not any(member.stage == stage for member in rollout.members):
        return _become(begun, RolloutStatus.DONE, "", now_s)
    return _noted(begun, f"stage {stage + 1} of {len(rollout.stages)} began", now_s)


def _breach(health: ReleaseHealth, bounds: HealthBounds, least_queries: int) -> str:
    if health.phase == Phase.FAILED:
        return health.reason or "the device gave no reason"
    if health.queries >= least_queries and health.errors > bounds.error_rate * health.queries:
        return f"{health.errors} of {health.queries} queries failed, more than {bounds.error_rate:.1%}"
    limit, slow = bounds.latency_p95_us, health.latency_p95_us
    if limit is not None and slow is not None and health.queries >= least_queries and slow > limit:
        return f"95 % of queries take up to {slow:,.0f} µs, more than {limit:,.0f} µs"
    return ""


def _first_reason(rollout: Rollout, standings: Mapping[str, DeviceStanding]) -> str:
    for member in rollout.reached():
        standing, reason = standing_of(rollout, member, standings.get(member.device_id, _UNKNOWN), rollout.created_s)
        if standing == Standing.FAILED:
            return f"{reason.rstrip('.')} ({member.profile} {member.device_id[:8]})"
    return "no reason"


def _is_back(rollout: Rollout, standings: Mapping[str, DeviceStanding], now_s: float) -> bool:
    """Whether every device that was reached is assigned its old release, and runs it or has been silent for long."""
    known = [standings.get(one.device_id, _UNKNOWN) for one in rollout.reached()]
    given_up = now_s - rollout.stage_since_s > rollout.limits.silence_s
    return all(one.assigned_s is None and (given_up or one.running != rollout.version) for one in known)


def _become(rollout: Rollout, status: RolloutStatus, reason: str, now_s: float) -> Rollout:
    changed = msgspec.structs.replace(rollout, status=status, reason=reason)
    return _noted(changed, f"{status}: {reason}" if reason else str(status), now_s)


def _noted(rollout: Rollout, what: str, now_s: float) -> Rollout:
    return msgspec.structs.replace(rollout, events=(*rollout.events, Event(now_s, what)))
