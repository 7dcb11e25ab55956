"""Twenty agents and a gateway as processes, roll-outs by the command line with Prefect: nothing is simulated."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import httpx
import msgspec
import pytest

from tests.support.owner import FEATURES, PROFILES, WORKLOAD, tiny_manifest, tiny_model
from tinymlops.edge.agent import Agent
from tinymlops.edge.http_transport import HttpTransport
from tinymlops.edge.storage import Folder
from tinymlops.files import sha256
from tinymlops.fleet import CodeTerms
from tinymlops.gateway import GatewayKey
from tinymlops.premises import Premises
from tinymlops.rollouts import Rollout, RolloutStatus
from tinymlops.wire.encoding import decode

PROGRAM = Path(sys.executable).with_name("tinymlops")
DEVICES = 20
WAIT_S = 120.0


class Site:
    """Everything that an owner runs, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.premises = Premises(
            store=str(folder / "repository"),
            private=str(folder / "private"),
            database=f"sqlite:///{folder / 'fleet.sqlite'}",
            telemetry=str(folder / "telemetry"),
            keys=folder / "keys",
        )
        self.environment = os.environ | {
            "TINYMLOPS_STATE": str(folder / "state"),
            "TINYMLOPS_STORE": self.premises.store,
            "TINYMLOPS_PRIVATE_STORE": self.premises.private,
            "TINYMLOPS_DATABASE": self.premises.database,
            "TINYMLOPS_KEYS": str(self.premises.keys),
            "TINYMLOPS_GATEWAY_KEY": str(folder / "gateway.pem"),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [str(PROGRAM), *words],
            env=self.environment, capture_output=True, text=True, timeout=WAIT_S * 2, check=False,
        )  # fmt: skip

    def start(self, name: str, *words: str) -> None:
        """Start a process that goes on."""
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        self.processes[name] = subprocess.Popen([str(PROGRAM), *words], env=self.environment, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait(10)

    def start_gateway(self) -> None:
        self.start("gateway", "gateway", "--listen", f"127.0.0.1:{self.port}", "--poll", "1")
        wait_for(self._answers)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.address}/healthz", timeout=5).is_success
        return False

    def enrol(self, number: int) -> str:
        """Let a device in; its id."""
        root, key = (self.premises.keys / "root.json").read_bytes(), self.gateway_key
        terms = CodeTerms(expires_s=time.time() + 600, root_version=1)
        with self.premises.fleet() as fleet:
            code = fleet.new_code(terms, root=root, gateway_key=key)
        agent = Agent(Folder(self.folder / f"device-{number}"), HttpTransport(self.address))
        agent.enrol(code, self.address, PROFILES[number % 2])
        return agent.device_id

    @property
    def gateway_key(self) -> bytes:
        return GatewayKey.load(self.folder / "gateway.pem").public

    def start_device(self, number: int) -> None:
        state = str(self.folder / f"device-{number}")
        self.start(f"device-{number}", "agent", "run", "--state", state, "--listen", "127.0.0.1:0", "--trial", "1")

    def release(self, seed: int, *, broken: bool = False) -> int:
        publisher = self.premises.publisher()
        model, version = tiny_model(seed), publisher.next_version(WORKLOAD)
        manifests = [tiny_manifest(model, version, profile, broken=broken) for profile in PROFILES]
        return publisher.publish(manifests, {sha256(model): model}, why="test", now_s=time.time()).version

    def rollouts(self) -> list[Rollout]:
        """The newest first."""
        with self.premises.fleet() as fleet:
            return [decode(one.document, Rollout) for one in fleet.rollouts()]

    def running(self) -> list[int]:
        """Version that each device says it runs well."""
        with self.premises.fleet() as fleet:
            return [one.health.version for one in fleet.health(workload=WORKLOAD) if one.health.phase == "good"]

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        for log in self._logs:
            log.close()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        made = site.command("keys", "create", "--development", "--bin-bits", "4")
        assert made.returncode == 0, made.stderr
        assert site.command("gateway", "init").returncode == 0
        site.start_gateway()
        for number in range(DEVICES):
            site.enrol(number)
            site.start_device(number)
        yield site
    finally:
        site.close()


ROLL_OUT = ("rollout", "start", WORKLOAD, "--poll", "0.5", "--silence", "60")


def test_a_release_reaches_every_device_though_gateway_and_devices_are_killed_on_the_way(site: Site) -> None:
    site.release(1)
    site.start("driver", *ROLL_OUT, "--stages", "0.2,1")
    wait_for(lambda: bool(site.rollouts()) and site.rollouts()[0].stage == 1)

    site.kill("gateway")
    for number in range(0, DEVICES, 5):
        site.kill(f"device-{number}")
    site.start_gateway()
    for number in range(0, DEVICES, 5):
        site.start_device(number)

    assert site.processes.pop("driver").wait(WAIT_S) == 0
    assert site.rollouts()[0].status is RolloutStatus.DONE
    assert site.running() == [1] * DEVICES


def test_a_rollout_whose_driver_was_killed_goes_on_when_resumed(site: Site) -> None:
    site.release(2)
    before = len(site.rollouts())
    site.start("driver", *ROLL_OUT, "--stages", "0.2,0.6,1")
    wait_for(lambda: len(site.rollouts()) > before)
    site.kill("driver")

    resumed = site.command("rollout", "resume", site.rollouts()[0].rollout_id, "--poll", "0.5")

    assert resumed.returncode == 0, resumed.stderr
    assert site.rollouts()[0].status is RolloutStatus.DONE
    assert site.running() == [2] * DEVICES


def test_a_broken_release_goes_back_by_itself_and_devices_answer_all_the_while(site: Site) -> None:
    site.release(3, broken=True)

    ended = site.command(*ROLL_OUT)

    assert ended.returncode == 16
    assert "was rolled back" in ended.stderr
    assert "self-test" in ended.stderr
    window = site.folder / "window.json"
    window.write_bytes(msgspec.json.encode([0.0] * FEATURES))
    for number in range(DEVICES):
        said = site.command("agent", "predict", WORKLOAD, str(window), "--state", str(site.folder / f"device-{number}"))
        assert msgspec.json.decode(said.stdout)["version"] == 2


def test_a_revoked_device_gets_nothing_more_and_keeps_what_it_has(site: Site) -> None:
    state = str(site.folder / "device-7")
    site.kill("device-7")
    revoked = Agent(Folder(Path(state)), HttpTransport(site.address)).device_id
    assert site.command("fleet", "revoke", revoked).returncode == 0

    once = site.command("agent", "once", "--state", state)
    window = str(site.folder / "window.json")
    said = site.command("agent", "predict", WORKLOAD, window, "--state", state)

    assert once.returncode == 14, once.stderr
    assert msgspec.json.decode(said.stdout)["version"] == 2


def test_rollouts_can_be_looked_at(site: Site) -> None:
    shown = site.command("rollout", "status")

    assert shown.returncode == 0, shown.stderr
    assert "rolled back" in shown.stdout
    assert "stage 2 of 3 began" in shown.stdout
