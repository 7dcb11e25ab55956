"""``prefect.yaml`` for `prefect deploy --all`: the same deployments, for those who know Prefect's own tool.

::

    python -m deployments.prefect_yaml   # write it anew after a change of plans
    prefect deploy --all --prefect-file deployments/prefect.yaml

It holds no automations, for which `prefect deploy` has no place: `python -m deployments.all` makes those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import prefect
import yaml  # type: ignore[import-untyped]

from deployments.plans import POOL, TIME_ZONE, Plan, plans
from tinymlops.files import write_atomic

FILE = Path(__file__).with_name("prefect.yaml")
_HEAD = """\
# Written by `python -m deployments.prefect_yaml` from deployments/plans.py: change those, not this.
# TINYMLOPS_PROJECT is the project's folder where the worker runs.
"""


def prefect_yaml() -> str:
    """The file's text, with the workloads that are looked after unless somebody says otherwise."""
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $TINYMLOPS_PROJECT }}"}}
    content = {
        "name": "tinymlops",
        "prefect-version": prefect.__version__,
        "pull": [step],
        "deployments": [_deployment(plan) for plan in plans(("activity",))],
    }
    return f"{_HEAD}{yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)}"


def _deployment(plan: Plan) -> dict[str, Any]:
    deployment: dict[str, Any] = {
        "name": plan.name,
        "entrypoint": plan.entrypoint,
        "description": plan.what,
        "tags": list(plan.tags),
        "parameters": dict(plan.parameters),
        "schedules": [{"cron": plan.cron, "timezone": TIME_ZONE}] if plan.cron else [],
        "work_pool": {"name": POOL, "job_variables": plan.job_variables},
    }
    if plan.collision is not None:
        deployment["concurrency_limit"] = {
            "limit": 1,
            "collision_strategy": plan.collision,
            "grace_period_seconds": plan.grace_s,
        }
    return deployment


def main() -> None:
    """Write the file."""
    write_atomic(FILE, prefect_yaml().encode())


if __name__ == "__main__":
    main()
