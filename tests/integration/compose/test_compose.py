"""The Compose file with a real engine: no secret shows, it is healthy in time, and the loop goes round in it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tinymlops.project import state_folder

ROOT = Path(__file__).parents[3]
HEALTHY_S = 180.0
SERVERS = {"postgresql", "s3", "prefect", "mlflow", "gateway", "worker", "broker", "bridge"}
pytestmark = [pytest.mark.docker, pytest.mark.compose]

CHECK = ("run", "--rm", "--no-TTY", "--no-deps", "owner", "tinymlops", "keys", "check")
KILLS = {
    "postgresql": "kill -9 $(head -1 $PGDATA/postmaster.pid)",
    "s3": r"kill -9 $(cat /proc/[0-9]*/stat | sed -n 's/^\([0-9]*\) (weed).*/\1/p')",
}
RIGHTS = """
import urllib.error, urllib.request
from tinymlops.errors import TinyMLOpsError
from tinymlops.store import open_store

def refused(work):
    try:
        work()
    except TinyMLOpsError:
        return True
    return False

def shut(address):
    try:
        urllib.request.urlopen(address, timeout=3)
    except OSError:
        return True
    return False

repository = open_store("s3://repository")
assert list(repository.list()), "the gateway can't read the repository"
assert refused(lambda: repository.put("metadata/1.root.json", b"forged"))
assert refused(lambda: repository.delete("metadata/1.root.json"))
assert refused(lambda: open_store("s3://private"))
assert refused(lambda: open_store("s3://mlflow"))
open_store("s3://telemetry").put("test", b"allowed")
open_store("s3://telemetry").delete("test")
assert shut("http://s3:8333/repository?list-type=2"), "S3 answers without a key"
assert shut("http://s3:8888/"), "SeaweedFS's filer can be reached"
assert shut("http://1.1.1.1/"), "there is a way out"
"""


def load_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compose_demo", ROOT / "infra/compose-demo/run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Up:
    """A site that is up, how long that took, and its secrets."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.demo = load_demo()
        self.site = self.demo.Site(folder, f"tinymlops-test-{secrets.token_hex(4)}", self.said.append)

    def secrets(self) -> dict[str, str]:
        files = (self.site.state / "compose/secrets").iterdir()
        return {file.name: word for file in files for word in words_of(file.read_text())}

    def containers(self) -> list[dict[str, Any]]:
        ids = self.site.compose("ps", "--all", "--quiet").split()
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True, timeout=60)
        found: list[dict[str, Any]] = json.loads(shown.stdout)
        return found


def words_of(secret: str) -> list[str]:
    """The parts of a secret file that nobody may see: passwords and keys, not the names around them."""
    return re.findall(r"[\w+/=-]{30,}", secret)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    made = Up(tmp_path_factory.mktemp("compose"))
    os.environ.setdefault("TINYMLOPS_WHEELS", str(state_folder() / "wheels"))
    try:
        made.site.start(made.demo.SETTINGS)
        yield made
    finally:
        made.site.stop()


def test_everything_is_healthy_in_time(up: Up) -> None:
    healthy = re.search(r"Healthy after (\d+) s", "\n".join(up.said))
    assert healthy is not None
    assert float(healthy[1]) < HEALTHY_S
    states = {one["Config"]["Labels"]["com.docker.compose.service"]: one["State"] for one in up.containers()}
    assert {name for name, state in states.items() if state.get("Health", {}).get("Status") == "healthy"} == SERVERS
    assert all(states[name]["ExitCode"] == 0 for name in set(states) - SERVERS)


def test_no_secret_shows_in_the_configuration_the_containers_or_their_images(up: Up) -> None:
    found = up.secrets()
    assert len(found) >= 12
    containers = up.containers()
    images = sorted({one["Image"] for one in containers})
    shown = up.site.compose("config") + json.dumps(containers)
    for image in images:
        for words in (["image", "inspect", image], ["history", "--no-trunc", image]):
            shown += subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=60).stdout

    assert [name for name, word in found.items() if word in shown] == []


def test_the_gateway_may_do_what_it_must_and_no_more(up: Up) -> None:
    up.site.compose("exec", "--no-TTY", "gateway", "with-secrets", "python", "-c", RIGHTS)


def test_no_container_runs_as_root_or_can_write_its_own_files(up: Up) -> None:
    for name in sorted(SERVERS):
        user = up.site.compose("exec", "--no-TTY", name, "sh", "-c", "touch /usr/here 2>/dev/null && exit 1; id -u")
        assert user.strip() != "0", name


def test_a_server_that_dies_comes_back_and_knows_what_it_knew(up: Up) -> None:
    for name, kill in KILLS.items():
        up.site.compose("exec", "--no-TTY", name, "sh", "-c", kill)

    end = time.monotonic() + 90
    while True:
        checked = subprocess.run(
            ["sh", "infra/services/compose.sh", *CHECK],
            cwd=ROOT, env=os.environ | {"TINYMLOPS_STATE": str(up.site.state)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if checked.returncode == 0 and "All is well" in checked.stdout:
            break
        assert time.monotonic() < end, checked.stderr
        time.sleep(2)
    assert "There are no such devices" in up.site.owner("tinymlops", "fleet", "list")


def test_the_whole_loop_goes_round(up: Up) -> None:
    assert up.demo.go_round(up.site) == 2
