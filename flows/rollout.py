"""A release goes out to devices in stages, judged by their own health; it goes back by itself when they suffer."""

from __future__ import annotations

import time

from prefect import flow

from tasks.rollout import Watched, begin, raise_unless_done
from tinymlops.rollouts import Audience, Limits, Rollout, RolloutStatus


@flow(name="rollout", flow_run_name="{workload}")
def rollout(  # noqa: PLR0913, PLR0917 - what can be set in the Prefect UI
    workload: str = "activity",
    version: int | None = None,
    profiles: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    regions: tuple[str, ...] = (),
    stages: tuple[float, ...] = (0.05, 0.5, 1.0),
    success: float = 0.9,
    failure: float = 0.05,
    silence_s: float = 24 * 3600.0,
    soak_s: float = 0.0,
    poll_s: float = 30.0,
    rollout_id: str | None = None,
) -> Rollout:
    """Roll a release out (the newest unless one is named); with the same ``rollout_id`` it goes on where it was."""
    audience = Audience(profiles=profiles, tags=tags, regions=regions)
    limits = Limits(success=success, failure=failure, silence_s=silence_s, soak_s=soak_s)
    steering, state = begin(workload, version, audience, stages, limits, rollout_id)
    with Watched(steering, state) as watched:
        while True:
            state = steering.step(state.rollout_id)
            watched.show(state)
            if state.status.is_final or state.status is RolloutStatus.PAUSED:
                break
            time.sleep(poll_s)
    raise_unless_done(state)
    return state
