"""The servers of `tinymlops serve`: what starts each of them, and how one can tell that it is well."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click

from tinymlops.cli.gateway import SECRETS_VARIABLE
from tinymlops.cli.supervisor import Server, answers
from tinymlops.project import project_root

_COMMAND = "from tinymlops.cli.main import main; main()"
"""This program again, wherever it is installed."""
_MAKE_S = 300.0


def servers_of(chosen: set[str], host: str, ports: dict[str, int], state: Path, runs: int) -> dict[str, Server]:
    """The servers that are ``chosen``, by name, in the order to start them in.

    Args:
        chosen: Some of prefect, mlflow, gateway and worker.
        host: Address that they listen on.
        ports: By name.
        state: Folder for what the gateway needs and nobody has made: webhook secrets, the operator's token.
        runs: Flows that the worker runs at once.
    """
    makers: dict[str, Callable[[], Server]] = {
        "prefect": lambda: _prefect(host, ports["prefect"]),
        "mlflow": lambda: _mlflow(host, ports["mlflow"], state),
        "gateway": lambda: _gateway(host, ports["gateway"], state),
        "worker": lambda: _worker(runs),
    }
    return {name: make() for name, make in makers.items() if name in chosen}


def _prefect(host: str, port: int) -> Server:
    url = f"http://{reached(host)}:{port}"
    return Server(
        name="prefect",
        command=[sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)],
        url=url,
        health=lambda: answers(f"{url}/api/health"),
        environment={
            "PREFECT_SERVER_UI_API_URL": f"{url}/api",
            "PREFECT_UI_ENABLED": "true",
            # in the server's memory, as Prefect has it, every run loses its slot when the server is killed, and ends
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        },
    )


def _mlflow(host: str, port: int, state: Path) -> Server:
    from tinymlops.registry import RegistrySettings

    url = f"http://{reached(host)}:{port}"
    uri = RegistrySettings.from_environment().tracking_uri
    _make_whole(uri)
    return Server(
        name="mlflow",
        command=[
            sys.executable, "-m", "mlflow", "server",
            "--backend-store-uri", uri, "--artifacts-destination", str(state / "mlartifacts"),
            "--host", host, "--port", str(port), "--workers", "1",
        ],
        url=url,
        health=lambda: answers(f"{url}/health"),
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip


def _gateway(host: str, port: int, state: Path) -> Server:
    from tinymlops.gateway.settings import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
    from tinymlops.gateway.webhook_signatures import Secret

    made = {SECRETS_VARIABLE: _secret_file(state / "webhook-secrets", lambda: Secret.generate().text())}
    if not os.environ.get(TOKEN_VARIABLE):
        made[TOKEN_FILE_VARIABLE] = _secret_file(state / "operator-token", lambda: secrets.token_urlsafe(32))
    url = f"http://{reached(host)}:{port}"
    return Server(
        name="gateway",
        command=[sys.executable, "-c", _COMMAND, "gateway", "run", "--listen", f"{host}:{port}"],
        url=url,
        health=lambda: answers(f"{url}/healthz"),
        environment={name: os.environ.get(name) or file for name, file in made.items()},
    )


def _worker(runs: int) -> Server:
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
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            # a server that is starting anew is waited for, not given up
            "PREFECT_CLIENT_MAX_RETRIES": "10",
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


def _make_whole(uri: str) -> None:
    """Make MLflow's database before its server does: one that is killed in the middle leaves a half."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        code = (
            "from tinymlops.registry import RegistrySettings\n"
            "from tinymlops.registry.connection import connect\n"
            "connect(RegistrySettings.from_environment())\n"
        )
        click.echo("Making MLflow's database …", err=True)
        subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=_MAKE_S, check=True)


def _secret_file(file: Path, make: Callable[[], str]) -> str:
    """A file for its owner's eyes; made at the first start."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(make() + "\n")
    return str(file)


def reached(host: str) -> str:
    """How this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not listened on
