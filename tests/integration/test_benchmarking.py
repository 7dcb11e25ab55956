"""Real containers, real interpreters, real emulation."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.unit.devices.flatbuffer_models import dense, hungry
from tinymlops.benchmarking import Outcome, Workbench, benchmark, random_inputs
from tinymlops.devices.catalogue import load_profile, profiles
from tinymlops.devices.engine import Engine, Limits
from tinymlops.devices.images import ensure_image
from tinymlops.devices.linux import LinuxBackend
from tinymlops.devices.native import NativeBackend
from tinymlops.devices.ownership import OWNER_LABEL, labels_of_this_process
from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import EngineError, ModelFileError
from tinymlops.measurement import Status, facts_of
from tinymlops.model_file import read_model

MODEL = dense(256, 64)
GATEWAY = load_profile("x86-gateway")
ZERO = load_profile("raspberry-pi-zero-2")
LINUX = [profile for profile in profiles() if profile.kind == "linux"]
NAMES = [profile.name for profile in LINUX]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.connect()


@pytest.fixture(scope="module")
def bench(engine: Engine) -> Workbench:
    opened = Workbench({"linux": LinuxBackend(engine, timeout_s=120)}, contained=True)
    for profile in LINUX:
        opened.prepare(profile, print)
    return opened


def measure(model: bytes, profile: DeviceProfile, bench: Workbench, rows: int = 5) -> Outcome:
    inputs = random_inputs(read_model(model, "m"), rows, seed=7)
    return benchmark(model, inputs, profile, facts_of(model, "m"), bench=bench)


def expected(rows: int) -> np.ndarray[Any, Any]:
    """The dense layer in integers, as the format defines it; outputs have a scale of 1 and a zero point of 3."""
    model = read_model(MODEL, "m")
    steps = random_inputs(model, rows, seed=7) / 0.5
    accumulated = steps @ model.weight_tensors()[0].values.T.astype(np.float64) * 0.125
    rounded = np.sign(accumulated) * np.floor(np.abs(accumulated) + 0.5)
    clipped: np.ndarray[Any, Any] = np.clip(rounded + 3, -128, 127) - 3
    return clipped


@pytest.mark.docker
@pytest.mark.parametrize("name", NAMES)
def test_a_device_gives_its_own_bits_and_an_exact_repeatable_count(name: str, bench: Workbench) -> None:
    first = measure(MODEL, load_profile(name), bench)
    assert first.measurement.status is Status.OK, first.measurement.reason
    assert first.outputs is not None
    assert np.abs(first.outputs - expected(5)).max() <= 1
    again = measure(MODEL, load_profile(name), bench).measurement
    assert first.measurement.instructions is not None
    assert again.instructions == first.measurement.instructions
    assert again.outputs_sha256 == first.measurement.outputs_sha256
    assert (first.measurement.latency_p50 is not None) == (name == "x86-gateway")
    assert first.measurement.peak_memory is not None
    assert first.measurement.peak_memory.note == ("" if name == "x86-gateway" else "includes the emulator")


@pytest.mark.docker
def test_a_core_with_dot_products_needs_fewer_instructions(bench: Workbench) -> None:
    old, new = (measure(MODEL, load_profile(f"raspberry-pi-{n}"), bench).measurement for n in ("zero-2", "5"))
    assert old.instructions is not None
    assert new.instructions is not None
    assert new.instructions.value < 0.9 * old.instructions.value
    assert old.outputs_sha256 == new.outputs_sha256


@pytest.mark.docker
@pytest.mark.parametrize("profile", [GATEWAY, ZERO], ids=lambda p: p.name)
def test_a_model_too_large_for_the_memory_is_a_result_and_the_next_one_runs(
    profile: DeviceProfile, bench: Workbench
) -> None:
    small = msgspec.structs.replace(profile, memory_mib=96)
    failed = measure(hungry(400), small, bench).measurement
    assert failed.status is Status.OUT_OF_MEMORY
    assert "more than the 96 MiB" in failed.reason
    assert measure(MODEL, small, bench).measurement.status is Status.OK


@pytest.mark.docker
def test_a_model_that_the_interpreter_refuses_is_a_crash_with_its_words_and_the_next_one_runs(bench: Workbench) -> None:
    failed = measure(dense(lost=8), ZERO, bench).measurement
    assert failed.status is Status.CRASHED
    assert failed.reason.startswith("the interpreter ")
    with pytest.raises(ModelFileError):
        measure(MODEL[:300], ZERO, bench)
    assert measure(MODEL, ZERO, bench).measurement.status is Status.OK


@pytest.mark.docker
def test_a_model_that_takes_too_long_is_stopped(engine: Engine) -> None:
    impatient = Workbench({"linux": LinuxBackend(engine, timeout_s=0.4)}, contained=True)
    slow = measure(MODEL, ZERO, impatient).measurement
    assert (slow.status, slow.reason) == (Status.TIMED_OUT, "it was not done after 0.4 s")


LOOK = """
import json, os, socket
def attempt(act):
    try:
        act(); return "allowed"
    except OSError as error:
        return error.strerror
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "new_privileges": status["NoNewPrivs"].strip(),
    "interfaces": sorted(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line),
    "write_root": attempt(lambda: open("/file", "w")),
    "write_in": attempt(lambda: open("/work/in/file", "w")),
    "connect": attempt(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
    "first_process": open("/proc/1/comm").read().strip(),
}))
"""


@pytest.mark.docker
def test_a_container_has_no_network_no_root_no_capabilities_and_nothing_to_write_on(
    engine: Engine, tmp_path: Path
) -> None:
    image = ensure_image(engine, "amd64", "litert-2.3.0", print)
    tmp_path.chmod(0o777)
    ended = engine.run(image, ["/usr/bin/python3.11", "-c", LOOK], {tmp_path: "/work/in:ro"}, Limits(1, 64, 60))
    assert ended.exit_code == 0, ended.log
    seen = json.loads(ended.log)
    assert seen["uid"] != 0
    assert (seen["capabilities"], seen["new_privileges"]) == (0, "1")
    assert seen["interfaces"] == ["lo"]
    assert seen["write_root"] == seen["write_in"] == "Read-only file system"
    assert seen["connect"] == "Network is unreachable"
    assert "init" in seen["first_process"]


@pytest.mark.docker
def test_processes_are_limited(engine: Engine) -> None:
    image = ensure_image(engine, "amd64", "litert-2.3.0", print)
    bomb = "import os, time\nfor _ in range(200):\n if os.fork() == 0: time.sleep(9)"
    ended = engine.run(image, ["/usr/bin/python3.11", "-c", bomb], {}, Limits(1, 64, 60))
    assert "Resource temporarily unavailable" in ended.log


@pytest.mark.docker
def test_containers_of_a_killed_process_are_swept_and_others_stay(engine: Engine) -> None:
    import docker

    client = docker.from_env()
    image = ensure_image(engine, "amd64", "litert-2.3.0", print)
    sleep = ["/usr/bin/python3.11", "-c", "import time; time.sleep(60)"]
    mine = labels_of_this_process()
    orphan = client.containers.run(image, sleep, detach=True, labels={**mine, OWNER_LABEL: "999999999:1"})
    own = client.containers.run(image, sleep, detach=True, labels=mine)
    try:
        assert engine.sweep() >= 1
        left = {container.id for container in client.containers.list(all=True)}
        assert own.id in left
        assert orphan.id not in left
    finally:
        own.remove(force=True)


@pytest.mark.docker
def test_every_measurement_removes_its_container(engine: Engine, bench: Workbench) -> None:
    measure(MODEL, GATEWAY, bench)
    assert _containers_of_this_process() == []


class MortalProxy:
    """Stands before the engine, and dies when it is asked to wait for a container."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.dead = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def die(self) -> None:
        self.dead.set()
        self.listener.close()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self.dead.is_set():
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect("/var/run/docker.sock")
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source, target:
            while (chunk := source.recv(65536)) and not self.dead.is_set():
                if b"/wait" in chunk:
                    self.die()
                    source.shutdown(socket.SHUT_RDWR)
                    break
                target.sendall(chunk)


@pytest.fixture
def dying_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    proxy = MortalProxy()
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{proxy.port}")
        yield
    proxy.die()
    for container in _containers_of_this_process():
        container.remove(force=True)


def _containers_of_this_process() -> list[Any]:
    import docker

    label = f"{OWNER_LABEL}={labels_of_this_process()[OWNER_LABEL]}"
    found: list[Any] = docker.from_env().containers.list(all=True, filters={"label": [label]})
    return found


@pytest.mark.docker
@pytest.mark.usefixtures("bench", "dying_engine")
def test_an_engine_that_dies_in_the_middle_is_one_sentence() -> None:
    mortal = Workbench({"linux": LinuxBackend(Engine.connect(), timeout_s=60)}, contained=True)
    with pytest.raises(EngineError, match="the container engine stopped answering") as caught:
        measure(MODEL, ZERO, mortal)
    assert "\n" not in str(caught.value)


def test_without_an_engine_the_gateway_is_measured_natively() -> None:
    alone = Workbench({"linux": NativeBackend(timeout_s=120)}, contained=False)
    outcome = measure(MODEL, GATEWAY, alone)
    assert outcome.measurement.status is Status.OK, outcome.measurement.reason
    assert outcome.outputs is not None
    assert np.abs(outcome.outputs - expected(5)).max() <= 1
    assert outcome.measurement.latency_p50 is not None
    assert outcome.measurement.peak_memory is not None
    assert "not enforced" in outcome.measurement.peak_memory.note
    assert outcome.measurement.image == ""


def test_natively_too_much_memory_is_seen_afterwards() -> None:
    alone = Workbench({"linux": NativeBackend(timeout_s=120)}, contained=False)
    small = msgspec.structs.replace(GATEWAY, memory_mib=200)
    failed = measure(hungry(300), small, alone).measurement
    assert failed.status is Status.OUT_OF_MEMORY
    assert "more than the 200 MiB" in failed.reason


def test_importing_the_benchmark_loads_nothing_heavy() -> None:
    code = (
        "import sys, tinymlops.benchmarking;"
        "print([m for m in ('docker', 'tensorflow', 'prefect', 'mlflow', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
