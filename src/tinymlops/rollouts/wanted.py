"""What every device shall run, as it follows from all roll-outs together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinymlops.rollouts.values import Rollout, RolloutStatus, Target

_BACK = frozenset({RolloutStatus.ROLLING_BACK, RolloutStatus.ROLLED_BACK})


def wanted_versions(devices: Iterable[Target], rollouts: Sequence[Rollout]) -> dict[str, dict[str, int]]:
    """Device id → workload → version.

    The newest roll-out that has come to a device decides. One that turned back counts for nothing, so that devices
    return to what an earlier one gave them. A device that joins later gets what ended well for its likes.

    Args:
        devices: All that are let in.
        rollouts: All there are, in any order.
    """
    ordered = sorted((one for one in rollouts if one.status not in _BACK), key=lambda one: one.created_s)
    reached = [{member.device_id for member in one.reached()} for one in ordered]
    return {
        device.device_id: {
            one.workload: one.version
            for one, members in zip(ordered, reached, strict=True)
            if device.device_id in members or _is_late_joiner(device, one)
        }
        for device in devices
    }


def _is_late_joiner(device: Target, rollout: Rollout) -> bool:
    return rollout.status is RolloutStatus.DONE and device.profile in rollout.bounds and rollout.audience.holds(device)
