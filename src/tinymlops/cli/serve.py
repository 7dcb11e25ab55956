"""``tinymlops serve``: everything on this machine, with one command and one Ctrl-C."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinymlops.cli.gateway import SECRETS_VARIABLE

if TYPE_CHECKING:
    from tinymlops.cli.supervisor import Server, Supervisor

_PARTS = ("prefect", "mlflow", "gateway", "worker")
_DEPLOY_S = 300.0
_COMMAND = "from tinymlops.cli.main import main; main()"
"""This program again, wherever it is installed."""


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

    Deployments, schedules and automations are made in Prefect. With PREFECT_API_URL set, that server is used and none
    is started.
    """
    from tinymlops.cli.environment import use_embedded_defaults
    from tinymlops.cli.supervisor import Supervisor, refuse_taken
    from tinymlops.project import project_root

    chosen = set(only or _PARTS)
    if os.environ.get("PREFECT_API_URL") and "prefect" not in only:
        chosen.discard("prefect")
    ports = {"prefect": prefect_port, "mlflow": mlflow_port, "gateway": gateway_port}
    for name in chosen & ports.keys():
        refuse_taken(host, ports[name], f"--{name}-port")
    state = use_embedded_defaults(quiet=False)
    os.environ.setdefault("PREFECT_API_URL", f"http://{_reached(host)}:{prefect_port}/api")
    os.environ.setdefault("TINYMLOPS_PROJECT", str(project_root()))
    servers = _servers(chosen, host, ports, state, runs)
    _end_on_sigterm()
    supervisor = Supervisor(state / "logs", lambda text: click.echo(text, err=True))
    try:
        _start(supervisor, servers)
        _show(servers, state)
        supervisor.watch()
    except KeyboardInterrupt:
        click.echo("\nStopping …", err=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave anything behind
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


def _servers(chosen: set[str], host: str, ports: dict[str, int], state: Path, runs: int) -> dict[str, Server]:
    makers: dict[str, Callable[[], Server]] = {
        "prefect": lambda: _prefect(host, ports["prefect"]),
        "mlflow": lambda: _mlflow(host, ports["mlflow"]),
        "gateway": lambda: _gateway(host, ports["gateway"], state),
        "worker": lambda: _worker(runs),
    }
    return {name: make() for name, make in makers.items() if name in chosen}


def _prefect(host: str, port: int) -> Server:
    from tinymlops.cli.supervisor import Server, answers

    url = f"http://{_reached(host)}:{port}"
    return Server(
        name="prefect",
        command=[sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)],
        url=url,
        health=lambda: answers(f"{url}/api/health"),
        environment={"PREFECT_SERVER_UI_API_URL": f"{url}/api", "PREFECT_UI_ENABLED": "true"},
    )


def _mlflow(host: str, port: int) -> Server:
    from tinymlops.cli.supervisor import Server, answers
    from tinymlops.registry import RegistrySettings

    url = f"http://{_reached(host)}:{port}"
    uri = RegistrySettings.from_environment().tracking_uri
    _make_whole(uri)
    return Server(
        name="mlflow",
        command=[
            sys.executable, "-m", "mlflow", "server",
            "--backend-store-uri", uri, "--host", host, "--port", str(port), "--workers", "1",
        ],
        url=url,
        health=lambda: answers(f"{url}/health"),
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip


def _gateway(host: str, port: int, state: Path) -> Server:
    from tinymlops.cli.supervisor import Server, answers
    from tinymlops.gateway.settings import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
    from tinymlops.gateway.webhook_signatures import Secret

    made = {SECRETS_VARIABLE: _secret_file(state / "webhook-secrets", lambda: Secret.generate().text())}
    if not os.environ.get(TOKEN_VARIABLE):
        made[TOKEN_FILE_VARIABLE] = _secret_file(state / "operator-token", lambda: secrets.token_urlsafe(32))
    url = f"http://{_reached(host)}:{port}"
    return Server(
        name="gateway",
        command=[sys.executable, "-c", _COMMAND, "gateway", "run", "--listen", f"{host}:{port}"],
        url=url,
        health=lambda: answers(f"{url}/healthz"),
        environment={name: os.environ.get(name) or file for name, file in made.items()},
    )


def _worker(runs: int) -> Server:
    from tinymlops.cli.supervisor import Server
    from tinymlops.project import project_root

    root = str(project_root())
    return Server(
        name="worker",
        command=[
            sys.executable, "-m", "prefect", "worker", "start",
            "--pool", "tinymlops", "--type", "process", "--limit", str(runs),
        ],
        url="",
        health=_worker_is_online,
        environment={
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        },
    )  # fmt: skip


def _worker_is_online() -> bool:
    import httpx

    place = f"{os.environ['PREFECT_API_URL']}/work_pools/tinymlops/workers/filter"
    try:
        answer = httpx.post(place, json={}, timeout=5)
    except httpx.HTTPError:
        return False
    return answer.is_success and any(worker["status"] == "ONLINE" for worker in answer.json())


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


def _make_whole(uri: str) -> None:
    """Make MLflow's database before its server does: one that is killed in the middle leaves a half."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        code = (
            "from tinymlops.registry import RegistrySettings\n"
            "from tinymlops.registry.connection import connect\n"
            "connect(RegistrySettings.from_environment())\n"
        )
        click.echo("Making MLflow's database …", err=True)
        subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=_DEPLOY_S, check=True)


def _secret_file(file: Path, make: Callable[[], str]) -> str:
    """A file for its owner's eyes; made at the first start."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(make() + "\n")
    return str(file)


def _reached(host: str) -> str:
    """How this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not listened on


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
    "gateway": "devices and webhooks",
    "worker": "runs flows",
}
