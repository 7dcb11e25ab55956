"""`tinymlops serve` as its own process, and what a person sees of it: Prefect's API, webhooks, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.integration.gateway.live import free_port
from tinymlops.gateway.webhook_signatures import Secret, read_secrets
from tinymlops.gateway.webhooks import PATH, RetrainStatus
from tinymlops.wire.encoding import decode

ROOT = Path(__file__).parents[3]
COMMAND = str(Path(sys.executable).with_name("tinymlops"))
START_S = 240.0
ANSWER_S = 120.0
"""Of Prefect, while it is started again on a busy machine."""
OURS = ("PREFECT_", "MLFLOW_TRACKING", "TINYMLOPS_")
T = TypeVar("T")


class Served:
    """A running `tinymlops serve`.

    Args:
        state: Its folder.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.ports = {name: free_port() for name in ("prefect", "mlflow", "gateway")}
        self.prefect = f"http://127.0.0.1:{self.ports['prefect']}"
        self.gateway = f"http://127.0.0.1:{self.ports['gateway']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.environment = kept | {"TINYMLOPS_STATE": str(state), "PYTHONPATH": str(ROOT)}
        self.client = httpx.Client(timeout=30)
        self.output = state / "serve.txt"

    def start(self) -> None:
        """Start it and wait for its table."""
        with self.output.open("wb") as output:
            options = [f"--{name}-port={port}" for name, port in self.ports.items()]
            self.process = subprocess.Popen(
                [COMMAND, "serve", *options], cwd=ROOT, env=self.environment, stdout=output, stderr=output
            )
        self.until(lambda: "Logs:" in self.said(), START_S)

    def said(self) -> str:
        """What a person reads."""
        assert self.process.poll() is None, self.output.read_text() + self._logs()
        return self.output.read_text()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it as Ctrl-C does; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def until(self, found: Callable[[], T | None], within_s: float) -> T:
        """The first answer of ``found`` that is true."""
        deadline = time.monotonic() + within_s
        while not (answer := found()):
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.1)
        return answer

    def processes(self) -> dict[int, str]:
        """Every process on this machine that was started with this state folder: id → command."""
        mark = f"TINYMLOPS_STATE={self.state}".encode()
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (place / "environ").read_bytes().split(b"\0"):
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return found

    def process_of(self, words: str) -> int:
        """The one process whose command holds ``words`` and is no supervisor."""
        (found,) = [
            process for process, command in self.processes().items() if words in command and "supervised" not in command
        ]
        return found

    # Prefect

    def api(self, method: str, path: str, content: object = None) -> Any:
        """What Prefect answers; asked again while its SQLite is locked."""

        def ask() -> httpx.Response | None:
            with contextlib.suppress(httpx.TransportError):
                answer = self.client.request(method, f"{self.prefect}/api{path}", json=content)
                return None if answer.status_code == 503 else answer
            return None

        answer = self.until(ask, ANSWER_S)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def runs(self, deployment: str, **parameters: object) -> list[dict[str, Any]]:
        """Runs of a deployment with these parameters among others."""
        asked = {"deployments": {"name": {"any_": [deployment]}}, "limit": 200}
        found = self.api("POST", "/flow_runs/filter", asked)
        return [run for run in found if parameters.items() <= run["parameters"].items()]

    def begun(self, deployment: str, within_s: float, **parameters: object) -> dict[str, Any]:
        """The run, once its code has begun."""
        return self.until(
            lambda: next((one for one in self.runs(deployment, **parameters) if one["start_time"]), None), within_s
        )

    def start_run(self, deployment: str, **parameters: object) -> str:
        """Start a run by hand."""
        found = self.api("GET", f"/deployments/name/{deployment}")
        return str(self.api("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"])

    def state_of(self, run: str) -> str:
        """Its name."""
        return str(self.api("GET", f"/flow_runs/{run}")["state_name"])

    def resume(self, run: str, **said: object) -> None:
        """Answer a run that waits for a person, as the page of Prefect does."""
        answer = self.api("POST", f"/flow_runs/{run}/resume", {"run_input": said})
        assert answer["status"] == "ACCEPT", answer

    def drift(self, workload: str, *, times: int = 1, release: int = 3) -> None:
        """Say that a workload has drifted, as the monitor does."""
        now = datetime.now(UTC).isoformat()
        payload = {
            "workload": workload, "release": release, "group": "fleet", "effect": 0.31,
            "features": ["accelerometer_x"], "why": "0.31", "report": "monitoring/x/1.json",
        }  # fmt: skip
        event = {
            "event": "drift.detected", "occurred": now, "payload": payload, "related": [],
            "resource": {"prefect.resource.id": f"tinymlops.workload.{workload}"},
        }  # fmt: skip
        self.api("POST", "/events", [{**event, "id": str(uuid.uuid4())} for _ in range(times)])

    # Webhooks

    @property
    def secret(self) -> Secret:
        """What `serve` has made for the senders."""
        return read_secrets(self.state / "webhook-secrets")[0]

    def signed(self, name: str, body: bytes, *, secret: Secret | None = None, time_s: float = 0) -> dict[str, str]:
        """Headers of a webhook."""
        sent_s = int(time_s or time.time())
        signature = (secret or self.secret).sign(name, sent_s, body)
        return {"webhook-id": name, "webhook-timestamp": str(sent_s), "webhook-signature": signature}

    def webhook(self, name: str, body: bytes = b'{"workload":"activity"}', **how: Any) -> httpx.Response:
        """Send one."""
        return self.client.post(self.gateway + PATH, content=body, headers=self.signed(name, body, **how))

    def status(self, name: str) -> RetrainStatus:
        """Where one stands."""
        answer = self.client.get(f"{self.gateway}{PATH}/{name}", headers=self.signed(name, b""))
        assert answer.status_code == 200, answer.text
        return decode(answer.content, RetrainStatus)

    def _logs(self) -> str:
        parts = sorted((self.state / "logs").glob("*.log"))
        return self.output.read_text() + "".join(f"\n== {log.name}\n{log.read_text()[-3000:]}" for log in parts)


@contextlib.contextmanager
def served(state: Path, **environment: str) -> Iterator[Served]:
    """It runs until the block ends, and leaves nothing behind."""
    state.mkdir(parents=True, exist_ok=True)
    one = Served(state)
    one.environment |= environment
    try:
        one.start()
        yield one
    finally:
        if one.process.poll() is None:
            one.stop()
        for process in one.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        one.client.close()


def moment(text: str) -> float:
    """Seconds since 1970 of a time that Prefect tells."""
    return datetime.fromisoformat(text).timestamp()
