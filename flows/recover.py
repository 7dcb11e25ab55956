"""A run whose machine went dark is begun again."""

from __future__ import annotations

from prefect import flow, get_run_logger

from tasks.recovery import begin_again


@flow(name="recover", flow_run_name="{run}")
async def recover(run: str) -> str:
    """Begin RUN again, the id of a flow run that has crashed or is about to, unless it has crashed often enough."""
    done = await begin_again(run)
    get_run_logger().info(done)
    return done
