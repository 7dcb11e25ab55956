"""The work pool: where workers look for runs, and what they make of them."""

from __future__ import annotations

import copy
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate

from tinymlops.errors import SetupError

IMAGE = "tinymlops-worker:latest"
"""What a docker worker runs unless a deployment says otherwise: an image that holds the project and its environment."""


async def ensure_pool(client: PrefectClient, name: str, kind: str = "process") -> None:
    """Make the work pool, or bring its template up to date.

    Args:
        client: Of Prefect's server.
        name: Of the pool.
        kind: ``process`` for processes beside the worker, ``docker`` for a container each.

    Raises:
        SetupError: There is a pool of that name and another kind, or Prefect knows no such kind.
    """
    template = await job_template(client, kind)
    known = [pool for pool in await client.read_work_pools() if pool.name == name]
    if known and known[0].type != kind:
        raise SetupError(
            f"the work pool {name} is for {known[0].type}", f"delete it with `prefect work-pool delete {name}`"
        )
    if not known:
        await client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    elif known[0].base_job_template != template:
        await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


async def job_template(client: PrefectClient, kind: str) -> dict[str, Any]:
    """What a pool of that kind makes of a run: Prefect's own template, with our defaults.

    Raises:
        SetupError: Prefect knows no such kind.
    """
    known = {
        name: found
        for package in (await client.read_worker_metadata()).values()
        for name, found in package.items()
        if name in {"process", "docker"}
    }
    if kind not in known:
        raise SetupError(f"there is no template for a work pool of kind {kind!r}", "choose process or docker")
    return with_our_defaults(known[kind]["default_base_job_configuration"], kind)


def with_our_defaults(template: dict[str, Any], kind: str) -> dict[str, Any]:
    """A template in which a container runs our image, is removed at its end, and never gets more rights."""
    ours = copy.deepcopy(template)
    if kind == "docker":
        properties = ours["variables"]["properties"]
        for name, value in {"image": IMAGE, "auto_remove": True, "image_pull_policy": "IfNotPresent"}.items():
            properties[name]["default"] = value
    return ours
