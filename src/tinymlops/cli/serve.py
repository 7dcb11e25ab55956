"""``tinymlops serve``: everything on this machine, with one command and one Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinymlops.cli.gateway import SECRETS_VARIABLE

if TYPE_CHECKING:
    from tinymlops.cli.supervisor import Server, Supervisor

_PARTS = ("prefect", "mlflow", "gateway", "worker")
_ELSEWHERE = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI"}
"""Servers that may run somewhere else: which variable says where."""
_DEPLOY_S = 300.0


@click.command()
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="Only this part; may be repeated.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address that the pages and the gateway listen on."
)
@click.option("--prefect-port", default=4200, show_default=True, type=click.IntRange(1, 65535))
@click.option("--mlflow-port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--gateway-port", default=8700, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--runs", default=2, show_default=True, type=click.IntRange(1), help="Flows that the worker runs at once."
)
def serve(only: tuple[str, ...], host: str, prefect_port: int, mlflow_port: int, gateway_port: int, runs: int) -> None:
    """Serve Prefect, MLflow, the gateway and a worker until you press Ctrl-C.

    Deployments, schedules and automations are made in Prefect. With PREFECT_API_URL or MLFLOW_TRACKING_URI set, that
    server is used and none is started.
    """
    from tinymlops.cli.environment import use_embedded_defaults
    from tinymlops.cli.servers import reached, servers_of
    from tinymlops.cli.supervisor import Supervisor, refuse_taken
    from tinymlops.project import project_root

    chosen = set(only or _PARTS)
    for name, variable in _ELSEWHERE.items():
        if os.environ.get(variable, "").startswith("http") and name not in only:
            chosen.discard(name)
    ports = {"prefect": prefect_port, "mlflow": mlflow_port, "gateway": gateway_port}
    for name in chosen & ports.keys():
        refuse_taken(host, ports[name], f"--{name}-port")
    state = use_embedded_defaults(quiet=False)
    os.environ.setdefault("PREFECT_API_URL", f"http://{reached(host)}:{prefect_port}/api")
    os.environ.setdefault("TINYMLOPS_PROJECT", str(project_root()))
    servers = servers_of(chosen, host, ports, state, runs)
    _end_on_sigterm()
    supervisor = Supervisor(state / "logs", lambda text: click.echo(text, err=True))
    try:
        _start(supervisor, servers)
        _show(servers, state)
        supervisor.watch()
    except KeyboardInterrupt:
        click.echo("\nStopping …", err=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not leave anything behind
            signal.signal(number, signal.SIG_IGN)
        supervisor.end()
    click.echo("Stopped; `tinymlops serve` goes on from here.", err=True)


def _start(supervisor: Supervisor, servers: dict[str, Server]) -> None:
    for name, server in servers.items():
        if name != "worker":
            supervisor.start(server)
    for name in servers.keys() - {"worker"}:
        supervisor.wait(name)
    if "prefect" in servers or "worker" in servers:
        _tell_prefect(supervisor.log("deployments"))
    if "worker" in servers:
        supervisor.start(servers["worker"])
        supervisor.wait("worker")


def _tell_prefect(log: Path) -> None:
    """Make deployments and automations, in a process that knows Prefect."""
    from tinymlops.errors import SetupError
    from tinymlops.project import project_root

    with log.open("ab") as stream:
        ended = subprocess.run(
            [sys.executable, "-m", "deployments.all"],
            cwd=project_root(),
            stdout=stream,
            stderr=stream,
            timeout=_DEPLOY_S,
            check=False,
        )
    if ended.returncode:
        raise SetupError("the deployments could not be made in Prefect", f"{log} says why")


def _end_on_sigterm() -> None:
    def end(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def _show(servers: dict[str, Server], state: Path) -> None:
    from rich.table import Table

    from tinymlops.cli import console

    table = Table(title="TinyMLOps is served; Ctrl-C stops it")
    for column in ("part", "address", "what it is for"):
        table.add_column(column)
    for name, server in servers.items():
        table.add_row(name, server.url or "–", _WHAT_FOR[name])
    console.stdout().print(table)
    click.echo(f"Logs: {state / 'logs'}")
    if "gateway" in servers:
        click.echo(f"Webhook secrets: {servers['gateway'].environment[SECRETS_VARIABLE]}")
        token = servers["gateway"].environment.get("TINYMLOPS_OPERATOR_TOKEN_FILE")
        if token:
            click.echo(f"Operator's token: {token}")


_WHAT_FOR = {
    "prefect": "flows, schedules, automations, artifacts",
    "mlflow": "models, metrics, reports",
    "gateway": "devices, webhooks, and the page /fleet",
    "worker": "runs flows",
}
