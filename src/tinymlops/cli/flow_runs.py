"""Run one of the project's flows from a command: an embedded server to watch it on, bars in the terminal."""

from __future__ import annotations

from typing import Any

import click


def run_flow(name: str, *arguments: Any, verbose: bool, **settings: Any) -> Any:
    """Run ``flows/<name>.py:<name>`` and return what it returns; its errors come through.

    Args:
        name: Of the file and of the flow in it.
        arguments: Of the flow.
        verbose: Show Prefect's log instead of progress bars.
        settings: Of the flow, by name.
    """
    from tinymlops.cli.environment import load_from_project, use_embedded_defaults
    from tinymlops.cli.prefect_server import start_prefect_server
    from tinymlops.cli.progress import Steps

    state = use_embedded_defaults(quiet=not verbose)
    wait_for_pages = start_prefect_server(state / "prefect-server.log")
    flow = getattr(load_from_project(f"flows.{name}"), name)
    click.echo(f"Watch it on {wait_for_pages()} while it lasts.", err=True)
    with Steps(shown=not verbose) as steps:
        load_from_project("tasks.progress").listen(steps)
        return flow(*arguments, **settings)
