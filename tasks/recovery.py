"""Runs that crashed or got lost: begin them again, unless they have crashed often enough."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry, Crashed

RECOVER = "recover"
"""Tag of runs that may be begun again: every step of theirs may be done twice."""
MOST_RUNS = 3
"""How often a run is begun at most, the first time included."""
NEVER_BEGAN = timedelta(seconds=30)
"""With `LOOK_AGAIN_S`, twice what a worker on a busy machine takes from a run to its first line. One that takes longer,
as while an image is pulled, is offered again in vain: what runs twice at once here waits for its lease, or does the
same once more."""
SILENT = timedelta(seconds=90)
"""With `LOOK_AGAIN_S`, more than the automation waits that knows every heartbeat: it comes first."""
CRASHED_BEFORE = timedelta(seconds=30)
"""With `LOOK_AGAIN_S`, longer than the automation takes that hears of a crash: it comes first."""
CRASHED_SINCE = timedelta(hours=1)
"""Who left a crash lie for longer does not want to be surprised by its run."""
LOOK_AGAIN_S = 60.0
"""Longer than from one heartbeat to the next: after a server was away, runs are heard again before they are judged."""
_PREFIX = "prefect.flow-run."
_MOST = 200
_EVENT_S = 10.0
"""The automation that runs again what crashed comes first: two hands would begin it twice."""
_WAIT_S = 30.0


async def begin_again(run: str) -> str:
    """Begin a run again with the parameters it had; what was done, in a sentence.

    Args:
        run: Its id, alone or as the resource of an event. It may be about to crash: that is waited for.
    """
    async with get_client() as client:
        found = await _crashed(client, UUID(run.removeprefix(_PREFIX)))
        refusal = why_not(found)
        if refusal:
            return f"{found.name} is left alone: {refusal}"
        await client.set_flow_run_state(found.id, AwaitingRetry())
        return f"{found.name} is begun again"


def why_not(run: FlowRun) -> str:
    """Why a run is not begun again, or nothing."""
    if run.state is None or not run.state.is_crashed():
        return "it has not crashed"
    if run.deployment_id is None:
        return "it belongs to another run, or to a command"
    if RECOVER not in run.tags:
        return "a person looks at it first"
    if run.run_count >= MOST_RUNS:
        return f"it has crashed {run.run_count} times"
    return ""


async def _crashed(client: PrefectClient, run_id: UUID) -> FlowRun:
    deadline = time.monotonic() + _WAIT_S
    while True:
        found = await client.read_flow_run(run_id)
        if time.monotonic() > deadline or (found.state is not None and found.state.is_final()):
            return found
        await asyncio.sleep(1)


async def sweep_lost() -> tuple[str, ...]:
    """Find runs that no event tells of: begun by nobody, or gone before they were heard. What was done, in sentences.

    The server keeps in memory which event follows which: one that was killed holds back, or never sees, those that the
    automations wait for, and the runs it took down with it stay crashed. Here is only asked what is so; twice, for a
    run may just be on its way.
    """
    async with get_client() as client:
        seen = await _lost(client)
        if not seen:
            return ()
        await asyncio.sleep(LOOK_AGAIN_S)
        still = await _lost(client)
        return tuple([await _save(client, run) for name, run in still.items() if name in seen])


def is_lost(run: FlowRun, heard: datetime | None, now: datetime) -> bool:
    """Whether nobody works at a run any more, though somebody should.

    Args:
        run: That has been taken by a worker, runs, or crashed.
        heard: Its last heartbeat, or None.
        now: Of the server's clock.
    """
    if run.state is None or run.state.timestamp is None:
        return False
    if run.state.is_pending():
        return run.deployment_id is not None and now - run.state.timestamp > NEVER_BEGAN
    if run.state.is_crashed():
        return not why_not(run) and CRASHED_BEFORE < now - run.state.timestamp < CRASHED_SINCE
    beats = heard is not None or RECOVER in run.tags  # a command's own runs have no heartbeat
    return run.state.is_running() and beats and now - max(run.state.timestamp, heard or run.state.timestamp) > SILENT


async def _lost(client: PrefectClient) -> dict[tuple[UUID, UUID], FlowRun]:
    """Runs that look lost, by themselves and the state they are in."""
    taken = FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CRASHED])
    )
    newest_first = FlowRunSort.EXPECTED_START_TIME_DESC
    runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(state=taken), sort=newest_first, limit=_MOST)
    now = datetime.now(UTC)
    old = [run for run in runs if run.state is not None and is_lost(run, run.state.timestamp, now)]
    return {
        (run.id, run.state.id): run
        for run in old
        if run.state is not None and (not run.state.is_running() or is_lost(run, await _heard(client, run.id), now))
    }


async def _heard(client: PrefectClient, run_id: UUID) -> datetime | None:
    """When a run said last that it is alive."""
    asked = {
        "event": {"name": [f"{_PREFIX}heartbeat"]},
        "resource": {"id": [f"{_PREFIX}{run_id}"]},
        "order": "DESC",
    }
    answer = await client.request("POST", "/events/filter", json={"filter": asked, "limit": 1})
    answer.raise_for_status()
    events = answer.json()["events"]
    return datetime.fromisoformat(events[0]["occurred"]) if events else None


async def _save(client: PrefectClient, run: FlowRun) -> str:
    if run.state is not None and run.state.is_pending():
        await client.set_flow_run_state(run.id, AwaitingRetry(message="its worker never began it"))
        return f"{run.name} never began: it is offered again"
    if run.state is not None and run.state.is_running():
        await client.set_flow_run_state(run.id, Crashed(message="nothing is heard of it"))
        await asyncio.sleep(_EVENT_S)
    return await begin_again(str(run.id))
