"""The agent as a program: its command line, its socket, and what others can find of the model on the machine."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.gateway_process import serving
from tests.support.gateway_simulator import PROFILE, WORKLOAD, World, tiny_model
from tinymlops.edge.seams import Answer, Call

LARGE = 4096
"""Features of the model that is looked for: it takes more than a page."""
WAIT_S = 60.0


class Device:
    """A device whose agent runs as a process.

    Args:
        folder: Holds its state and its own temporary folder.
        gateway: Address.
    """

    def __init__(self, folder: Path, gateway: str) -> None:
        self.state, self.temporary, self.gateway = folder / "state", folder / "tmp", gateway
        self.temporary.mkdir(parents=True)
        self.environment = {
            **os.environ, "TMPDIR": str(self.temporary), "TINYMLOPS_AGENT_STATE": str(self.state),
            "PYTHONPATH": "src:.",
        }  # fmt: skip
        self.process: subprocess.Popen[str] | None = None

    def command(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(*arguments), env=self.environment, input=text, capture_output=True, text=True, timeout=WAIT_S,
            check=False,
        )  # fmt: skip

    def enrol(self, world: World) -> None:
        done = self.command("enrol", "-", "--gateway", self.gateway, "--profile", PROFILE, text=f"{world.new_code()}\n")
        assert done.returncode == 0, done.stderr

    def start(self, *options: str) -> None:
        log = (self.state.parent / "log").open("a")
        self.process = subprocess.Popen(self._words("run", *options), env=self.environment, stderr=log, text=True)

    def status(self) -> dict[str, object]:
        told: dict[str, object] = json.loads(self.command("status", "--json").stdout)
        return told

    def wait_for(self, version: int, phase: str = "good") -> None:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            workloads = self.status()["workloads"]
            assert isinstance(workloads, list)
            if any((one["version"], one["phase"]) == (version, phase) for one in workloads):
                return
            time.sleep(0.2)
        raise AssertionError((self.state.parent / "log").read_text())

    def stop(self) -> float:
        """Seconds that a clean stop took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(15) == 0, (self.state.parent / "log").read_text()
        return time.monotonic() - begun

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def _words(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from tinymlops.cli.main import main; main()", "agent", *arguments]


@pytest.fixture
def world() -> World:
    made = World(time.time())
    made.poll_s = 1.0
    made.release(1, [tiny_model(1, LARGE)], features=LARGE)
    return made


@pytest.fixture
def device(tmp_path: Path, world: World) -> Iterator[Device]:
    with serving(world) as gateway:
        made = Device(tmp_path / "device", gateway)
        made.enrol(world)
        world.assign(next(iter(world.devices)), 1)
        yield made
        made.kill()


def test_no_plaintext_anywhere(device: Device, world: World) -> None:
    """Neither on the disk, nor in temporary folders, nor in any open or mapped file of a running agent."""
    device.start("--listen", "127.0.0.1:0", "--trial", "0")
    device.wait_for(1)
    world.release(2, [tiny_model(2, LARGE)], features=LARGE, base=1)
    world.assign(next(iter(world.devices)), 2)
    device.wait_for(2)
    done = device.command("predict", WORKLOAD, text=json.dumps([0.25] * LARGE))
    assert json.loads(done.stdout)["version"] == 2, done.stderr
    assert device.process is not None
    seen = _files_of(device)
    models = [world.released[version].variants[0][2] for version in (1, 2)]
    # Any run of 64 bytes holds a whole block of 16 that begins at a multiple of 16
    blocks = {model[at : at + 16] for model in models for at in range(0, len(model) - 16, 16)}
    telling = {block for block in blocks if len(set(block)) > 8}
    assert len(telling) > 500
    assert len(seen) > 20
    for name, content in seen.items():
        assert b"TFL3" not in content, f"{name} holds a flatbuffer"
        assert not any(block in content for block in telling), f"{name} holds a piece of the model"
    device.stop()


def _files_of(device: Device) -> dict[str, bytes]:
    """State, temporary folders, and what the process has open or mapped beside the system's own files."""
    assert device.process is not None
    home = Path(f"/proc/{device.process.pid}")
    mapped = {line.split(maxsplit=5)[5].strip() for line in (home / "maps").read_text().splitlines() if line.count("/")}
    opened = {str(entry.readlink()) for entry in (home / "fd").iterdir()}
    assert not [name for name in mapped if name.startswith(("/memfd:", "/dev/"))]
    code = tuple(map(str, (sys.prefix, sys.base_prefix, "/usr", "/lib", Path("src").resolve())))
    named = {Path(name) for name in mapped | opened if name.startswith("/") and not name.startswith(code)}
    named |= {path for place in (device.state, device.temporary) for path in place.rglob("*")}
    return {str(path): path.read_bytes() for path in named if path.is_file()}


def test_serves_and_stops(device: Device) -> None:
    device.start("--listen", f"unix:{device.state}/socket", "--trial", "0")
    device.wait_for(1)
    done = device.command("predict", WORKLOAD, text=json.dumps(np.zeros(LARGE).tolist()))
    assert json.loads(done.stdout)["label"] in {"sit", "stand", "walk", "run"}
    second = device.command("run")
    assert second.returncode == 8, second.stderr
    assert "another agent is using" in second.stderr
    assert device.stop() < 5
    status = device.command("status")
    assert "good" in status.stdout
    assert PROFILE in status.stdout
    again = device.command("predict", WORKLOAD, text=json.dumps(np.zeros(LARGE).tolist()))
    assert json.loads(again.stdout)["version"] == 1, "without a running agent, the model is opened for the question"
    counted = device.status()["workloads"]
    assert isinstance(counted, list)
    assert counted[0]["queries"] == 2


def test_stops_while_the_gateway_hangs(device: Device, world: World) -> None:
    def hang(call: Call, answer: Answer) -> Answer:
        if "timestamp" in call.target:
            time.sleep(10)
        return answer

    world.tamper = hang
    device.start("--listen", "none")
    time.sleep(4)
    assert device.stop() < 5


def test_memory_and_protection(device: Device) -> None:
    device.start("--listen", "127.0.0.1:0", "--trial", "0")
    device.wait_for(1)
    device.command("predict", WORKLOAD, text=json.dumps([0.0] * LARGE))
    assert device.process is not None
    status = Path(f"/proc/{device.process.pid}/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+)", status)
    assert resident is not None
    assert int(resident[1]) < 120 * 1024
    limits = Path(f"/proc/{device.process.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    assert oct(device.state.stat().st_mode & 0o777) == "0o700"
    assert oct((device.state / "identity.key").stat().st_mode & 0o777) == "0o600"


def test_bad_questions_over_http(device: Device) -> None:
    device.start("--listen", "127.0.0.1:0", "--trial", "0")
    device.wait_for(1)
    address = (device.state / "listen").read_text()

    def ask(body: bytes, path: str = f"/v1/models/{WORKLOAD}/predict", **headers: str) -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        told: dict[str, object] = json.loads(answer.read())
        connection.close()
        return answer.status, told

    raw = np.zeros(LARGE, "<f4").tobytes()
    assert ask(raw, Content_Type="application/octet-stream")[0] == 200
    for bad in (b"", b"{", b"[]", b'{"inputs": "x"}', b'{"inputs": [1, [2]]}', b'{"inputs": [1]}', b"[" * 100_000):
        status, problem = ask(bad)
        assert (status, bool(problem["error"])) == (400, True), bad[:20]
    assert ask(raw[:-1], Content_Type="application/octet-stream")[0] == 400
    assert ask(b'{"inputs": [1], "preference": 7}')[0] == 400
    assert ask(raw, "/v1/models/unknown/predict", Content_Type="application/octet-stream")[0] == 404
    assert ask(b"", "/nowhere")[0] == 404
    assert ask(b"{}", Host="evil.example")[0] == 403
    assert ask(b"", Content_Length="99999999999")[0] == 413


def test_exit_codes(device: Device, tmp_path: Path) -> None:
    other = ["--state", str(tmp_path / "other")]
    assert device.command("run", *other).returncode == 14
    assert (
        device.command("enrol", "TM1-nonsense", "--gateway", device.gateway, "--profile", "x", *other).returncode == 2
    )
    assert device.command("predict", "unknown", text="[1]").returncode == 15
    assert device.command("once").returncode == 0
    wrong = device.command("enrol", f"TM1-{'A' * 24}-{'A' * 24}", "--gateway", device.gateway, "--profile", "x", *other)
    assert wrong.returncode in {12, 14}, wrong.stderr
    nobody = ["--gateway", "http://127.0.0.1:9", "--profile", "x", *other]
    assert device.command("enrol", f"TM1-{'A' * 24}-{'A' * 24}", *nobody).returncode == 13
