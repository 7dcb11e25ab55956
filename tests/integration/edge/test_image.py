"""The agent's image: small, without root, on a read-only file system; and the unit that systemd would run."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support.gateway_process import serving
from tests.support.gateway_simulator import PROFILE, WORKLOAD, World, tiny_model
from tinymlops.devices.engine import Engine

MOST_BYTES = 200_000_000
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def image() -> str:
    spec = spec_from_file_location("agent_image", ROOT / "infra/agent/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    tag: str = module.build(Engine.connect())
    return tag


class Container:
    """The image with a volume for its state.

    Args:
        image: Its tag.
    """

    def __init__(self, image: str) -> None:
        self.client: Any = docker.from_env()
        self.image = image
        self.volume = self.client.volumes.create()

    def run(self, *command: str, **options: Any) -> str:
        output: bytes = self.client.containers.run(
            self.image, list(command), read_only=True, network_mode="host", remove=True, cap_drop=["ALL"],
            security_opt=["no-new-privileges"], mem_limit="192m",
            volumes={self.volume.name: {"bind": "/var/lib/tinymlops-agent", "mode": "rw"}}, **options,
        )  # fmt: skip
        return output.decode()

    def close(self) -> None:
        self.volume.remove(force=True)
        self.client.close()


@pytest.fixture
def container(image: str) -> Iterator[Container]:
    made = Container(image)
    yield made
    made.close()


@pytest.mark.docker
def test_image_enrols_installs_and_infers(container: Container) -> None:
    facts = container.client.images.get(container.image).attrs
    assert facts["Size"] <= MOST_BYTES
    assert facts["Config"]["User"] == "10001:10001"
    world = World(time.time())
    world.release(1, [tiny_model(1)])
    with serving(world) as gateway:
        container.run("enrol", str(world.new_code()), "--gateway", gateway, "--profile", PROFILE)
        world.assign(next(iter(world.devices)), 1)
        assert "activity" in container.run("once", "--trial", "0")
    # Without the gateway from here on
    status = json.loads(container.run("status", "--json"))
    assert (status["workloads"][0]["version"], status["workloads"][0]["phase"]) == (1, "good")
    window = json.dumps([0.5] * 16)
    asked = container.client.containers.create(
        container.image, ["predict", WORKLOAD], read_only=True, network_mode="none", stdin_open=True,
        volumes={container.volume.name: {"bind": "/var/lib/tinymlops-agent", "mode": "rw"}},
    )  # fmt: skip
    try:
        socket = asked.attach_socket(params={"stdin": 1, "stream": 1})
        asked.start()
        socket._sock.sendall(window.encode())
        socket._sock.shutdown(1)
        assert asked.wait(timeout=60)["StatusCode"] == 0, asked.logs().decode()
        assert json.loads(asked.logs(stderr=False))["version"] == 1
        socket.close()
    finally:
        asked.remove(force=True)


def test_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    """With a program in place of the agent's, nothing is left to complain of but what older versions do not know."""
    unit = (ROOT / "infra/agent/tinymlops-agent.service").read_text()
    here = tmp_path / "tinymlops-agent.service"
    here.write_text(unit.replace("/opt/tinymlops/bin/tinymlops", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if here.name in line]
    assert done.returncode == 0, done.stderr
    assert all("RestartSteps" in line or "RestartMaxDelaySec" in line for line in complaints), complaints
