"""Runs that crashed: begin them again, unless they have crashed often enough."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry

RECOVER = "recover"
"""Tag of runs that may be begun again: every step of theirs may be done twice."""
MOST_RUNS = 3
"""How often a run is begun at most, the first time included."""
_PREFIX = "prefect.flow-run."
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
