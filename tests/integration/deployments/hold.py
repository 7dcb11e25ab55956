"""A flow that does nothing for a while, and its deployment: for killing.

::

    python tests/integration/deployments/hold.py   # deploys it to the server of PREFECT_API_URL
"""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow
from prefect.deployments.runner import RunnerDeployment
from prefect.runner.storage import LocalStorage

from deployments.plans import POOL, Plan
from tasks.recovery import RECOVER


@flow(name="hold")
def hold(file: str, seconds: float) -> None:
    """Write a line to ``file``; the first time, then wait."""
    path = Path(file)
    is_first = not path.exists()
    with path.open("a") as lines:
        lines.write("begun\n")
    if is_first:
        time.sleep(seconds)


def deploy() -> None:
    """Make the deployment, with what ours have."""
    variables = Plan(flow="hold", name="hold", what="").job_variables
    deployment = RunnerDeployment.from_flow(
        hold, "hold", tags=[RECOVER], work_pool_name=POOL, job_variables=dict(variables)
    )
    deployment.entrypoint = f"{Path(__file__).name}:hold"
    deployment.storage = LocalStorage(str(Path(__file__).parent))
    deployment.apply(work_pool_name=POOL)


if __name__ == "__main__":
    deploy()
