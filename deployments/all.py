"""Tell Prefect everything: work pool, deployments, automations. Telling it again changes only what is different.

::

    python -m deployments.all            # the server of PREFECT_API_URL
    python -m deployments.all --docker   # each run in a container of its own
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.runner.storage import LocalStorage

from deployments.automations import COOL_DOWN, automations, same
from deployments.plans import POOL, TIME_ZONE, Plan, plans
from deployments.pools import ensure_pool
from tinymlops.project import kept_workloads, project_root

NOTIFY_VARIABLE = "TINYMLOPS_NOTIFY_BLOCK"
"""Names a notification block of Prefect, as ``type/name``, that hears of failures."""


async def tell_prefect(
    workloads: tuple[str, ...] | None = None, *, pool_kind: str = "process", cool_down: timedelta = COOL_DOWN
) -> dict[str, UUID]:
    """Make or change everything that Prefect needs to know; full name → id of each deployment.

    Args:
        workloads: Those that are watched and retrained by themselves; as `kept_workloads` says unless given.
        pool_kind: ``process`` or ``docker``.
        cool_down: Between two retrainings because of drift.

    Raises:
        SetupError: The work pool is of another kind.
    """
    async with get_client() as client:
        await ensure_pool(client, POOL, pool_kind)
        ids = {plan.full_name: await _apply(plan) for plan in plans(workloads or kept_workloads())}
        block = await _notification_block(client)
        wanted = automations(ids["retrain/drift"], ids["recover/recover"], cool_down=cool_down, notify=block)
        await keep_automations(client, wanted)
    return ids


async def keep_automations(client: PrefectClient, wanted: Iterable[AutomationCore]) -> None:
    """Make automations, or change those that differ: one that stays remembers what it has counted."""
    for one in wanted:
        known = await client.read_automations_by_name(one.name)
        if not known:
            await client.create_automation(one)
        elif not same(one, known[0]):
            await client.update_automation(known[0].id, one)
        for surplus in known[1:]:
            await client.delete_automation(surplus.id)


def as_deployment(plan: Plan) -> RunnerDeployment:
    """A plan as Prefect's own value: the flow is imported for the form of its parameters."""
    flow = getattr(importlib.import_module(f"flows.{plan.flow}"), plan.flow)
    limit = None
    if plan.collision is not None:
        limit = ConcurrencyLimitConfig(
            limit=1,
            collision_strategy=ConcurrencyLimitStrategy(plan.collision),
            grace_period_seconds=plan.grace_s,
        )
    deployment = RunnerDeployment.from_flow(
        flow,
        plan.name,
        schedule=CronSchedule(cron=plan.cron, timezone=TIME_ZONE) if plan.cron else None,  # type: ignore[arg-type]
        concurrency_limit=limit,
        parameters=dict(plan.parameters),
        description=plan.what,
        tags=list(plan.tags),
        work_pool_name=POOL,
        job_variables=plan.job_variables,
    )
    deployment.entrypoint = plan.entrypoint
    deployment.storage = LocalStorage(str(project_root()))
    return deployment


async def _apply(plan: Plan) -> UUID:
    applied: UUID = await as_deployment(plan).aapply(work_pool_name=POOL)
    return applied


async def _notification_block(client: PrefectClient) -> UUID | None:
    named = os.environ.get(NOTIFY_VARIABLE)
    if not named:
        return None
    kind, _, name = named.partition("/")
    return (await client.read_block_document_by_name(name, kind)).id


def main() -> None:
    """Tell the server of ``PREFECT_API_URL``, and say what it knows now."""
    told = asyncio.run(tell_prefect(pool_kind="docker" if "--docker" in sys.argv[1:] else "process"))
    for name in sorted(told):
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
