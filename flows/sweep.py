"""Runs that nobody works at any more are found, whatever the server was told of them."""

from __future__ import annotations

from prefect import flow, get_run_logger

from tasks.recovery import sweep_lost


@flow(name="sweep")
async def sweep() -> tuple[str, ...]:
    """Offer again what no worker began, and declare crashed what is silent. Two at once do no harm."""
    done = await sweep_lost()
    for line in done:
        get_run_logger().info(line)
    return done
