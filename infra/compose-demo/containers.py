"""The running containers as the demo sees them: the owner's commands, Prefect's API, the gateway's webhook."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tinymlops.gateway.webhook_signatures import Secret
from tinymlops.project import project_root, state_folder

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
Json = dict[str, Any]


class Site:
    """A running infra/compose.yaml, apart from any other.

    Args:
        state: Folder for its secrets and settings.
        project: Name of its containers, networks and volumes.
        say: Tells a person what is done.
    """

    def __init__(self, state: Path, project: str, say: Callable[[str], None]) -> None:
        self.state = state
        self.gateway = ""
        self._project, self._say = project, say
        self._prefect = httpx.Client()
        wheels = os.environ.get("TINYMLOPS_WHEELS") or str(state_folder() / "wheels")
        self._environment = os.environ | {"TINYMLOPS_STATE": str(state), "TINYMLOPS_WHEELS": wheels}

    def start(self, settings: Mapping[str, str]) -> None:
        """Build what is not built, start everything from nothing and wait until it is healthy.

        Args:
            settings: Of infra/compose.yaml, besides name and ports.
        """
        folder = self.state / "compose"
        if (folder / "compose.env").exists():
            self.stop()
        folder.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(("GATEWAY", "PREFECT", "MLFLOW"), _free_ports(3), strict=True))
        own = {f"TINYMLOPS_{name}_PORT": str(port) for name, port in ports.items()}
        own |= {"TINYMLOPS_COMPOSE_PROJECT": self._project, **settings}
        (folder / "own.env").write_text("".join(f"{name}={value}\n" for name, value in own.items()))
        self._say("$ make compose")
        self._say(self._shell("infra/services/up.sh", timeout_s=1800).strip())
        self.gateway = self._address("gateway", 8700)
        login = self._secret("prefect_login").split(":", 1)
        address = f"{self._address('prefect', 4200)}/api"
        self._prefect = httpx.Client(base_url=address, auth=httpx.BasicAuth(*login), timeout=30)

    def stop(self) -> None:
        """Remove containers, networks and volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")

    def compose(self, *words: str) -> str:
        """Run Docker Compose; what it prints."""
        return self._shell("infra/services/compose.sh", *words)

    def _shell(self, *words: str, timeout_s: float = 600) -> str:
        """Run a script of ours; what it prints.

        Raises:
            SystemExit: It failed.
        """
        done = subprocess.run(
            ["sh", *words],
            cwd=project_root(), env=self._environment, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def owner(self, *words: str) -> str:
        """Run a command of the owner's; what it prints."""
        self._say(f"$ {' '.join(words)}")
        return self.compose("run", "--rm", "--no-TTY", "--no-deps", "owner", *words)

    def run(self, deployment: str, parameters: Mapping[str, object] | None = None) -> Json:
        """Start a run of a deployment in Prefect and wait for its end."""
        found = self._asked("GET", f"/deployments/name/{deployment}")
        begun = self._asked("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters or {}})
        return self.wait(begun["id"])

    def wait(self, run_id: str, timeout_s: float = 900) -> Json:
        """Wait for the end of a run.

        Raises:
            SystemExit: It did not end well, or not in time.
        """
        end = time.monotonic() + timeout_s
        run: Json = {"state": {"type": ""}}
        while (run := self._asked("GET", f"/flow_runs/{run_id}"))["state"]["type"] not in ENDED:
            if time.monotonic() > end:
                raise SystemExit(f"The run {run['name']} is still {run['state']['name']} after {timeout_s} s.")
            time.sleep(1)
        self._say(f"  run {run['name']}: {run['state']['name']} after {run['total_run_time']:.0f} s")
        if run["state"]["type"] != "COMPLETED":
            raise SystemExit(f"The run ended badly: {run['state'].get('message')}")
        return run

    def runs_of(self, deployment: str) -> list[Json]:
        """Runs of a deployment, the newest first."""
        found = self._asked("GET", f"/deployments/name/{deployment}")
        wanted = {"deployments": {"id": {"any_": [found["id"]]}}, "sort": "START_TIME_DESC"}
        runs: list[Json] = self._asked("POST", "/flow_runs/filter", wanted)
        return runs

    def page(self, run_id: str, key: str) -> list[str]:
        """Lines of the Markdown artifact that a run left under ``key``."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}}}
        pages: list[Json] = self._asked("POST", "/artifacts/filter", wanted)
        return [line for page in pages for line in str(page["data"]).splitlines()]

    def webhook(self, webhook_id: str, body: bytes) -> httpx.Response:
        """Ask for a retraining as another system would: signed, by HTTP."""
        now_s = int(time.time())
        secret = Secret.parse(self._secret("webhook_secrets").split()[0])
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": secret.sign(webhook_id, now_s, body),
            "content-type": "application/json",
        }
        return httpx.post(f"{self.gateway}/webhooks/retrain", content=body, headers=headers, timeout=30)

    def _asked(self, method: str, path: str, content: object = None) -> Any:
        return self._prefect.request(method, path, json=content).raise_for_status().json()

    def _address(self, service: str, port: int) -> str:
        return f"http://{self.compose('port', service, str(port)).strip()}"

    def _secret(self, name: str) -> str:
        """A secret of this site; only who may read its file gets this far."""
        return (self.state / "compose" / "secrets" / name).read_text().strip()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
