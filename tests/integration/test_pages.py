"""What a person sees, in a real browser: the report offline, the run in the Prefect UI, the versions in MLflow's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.cli.running import tinymlops

SHAPES = Path(__file__).with_name("workloads") / "shapes.py"
BROWSER = [
    "/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1600,2400", "--virtual-time-budget=20000", "--dump-dom",
]  # fmt: skip
SECONDS_TO_START = 120


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the state and the results of a small build on this machine's own CPU."""
    folder = tmp_path_factory.mktemp("built")
    environment = {"TINYMLOPS_STATE": str(folder / "state"), "DOCKER_HOST": f"unix://{folder}/no.sock"}
    ended = tinymlops(
        "build", f"{SHAPES}:Table", "--recipes", "float32,int8", "--out", str(folder / "out"),
        timeout_s=300, **environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return folder


def page(url: str, profile: Path) -> str:
    """The page as the browser has it after its scripts ran."""
    command = [*BROWSER, f"--user-data-dir={profile}", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@contextmanager
def served(which: str, state: Path, health: str) -> Iterator[str]:
    """`tinymlops ui WHICH` on a free port of the loopback, ended with its whole process group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("tinymlops")), "ui", which, "--port", str(port)]
    environment = os.environ | {"TINYMLOPS_STATE": str(state)}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url + health)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            httpx.get(url, timeout=5).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def ask(url: str) -> Any:
    """What the Prefect API finds when nothing is filtered out."""
    return httpx.post(url, json={}, timeout=20).raise_for_status().json()


def test_the_report_opens_offline_and_says_what_each_figure_is(built: Path, tmp_path: Path) -> None:
    dom = page((built / "out" / "report.html").as_uri(), tmp_path)
    assert "table-of-three" in dom
    assert "measured" in dom
    assert 'src="data:image/png;base64,' in dom
    assert "default-src 'none'" in dom
    assert not [word for word in ('src="http', "<script", 'rel="stylesheet"', "@import") if word in dom]


def test_the_prefect_ui_shows_the_run_its_tasks_its_log_and_its_table(built: Path, tmp_path: Path) -> None:
    with served("prefect", built / "state", "/api/health") as url:
        (run,) = ask(f"{url}/api/flow_runs/filter")
        assert run["name"].endswith(", seed 7")
        assert run["state_name"] == "Completed"
        dom = page(f"{url}/runs/flow-run/{run['id']}", tmp_path)
        assert "Completed" in dom
        assert "Finished in state Completed()" in dom
        names = {task["name"] for task in ask(f"{url}/api/task_runs/filter")}
        assert {"compress float32", "compress int8", "measure int8 on x86-gateway"} <= names
        keys = {artifact["key"] for artifact in ask(f"{url}/api/artifacts/filter")}
        assert {"table-of-three-report", "table-of-three-selection", "table-of-three-page"} <= keys
        (table,) = [one for one in ask(f"{url}/api/artifacts/filter") if one["key"] == "table-of-three-selection"]
        assert "x86-gateway" in page(f"{url}/artifacts/artifact/{table['id']}", tmp_path)


def test_the_mlflow_ui_shows_versions_and_aliases(built: Path, tmp_path: Path) -> None:
    with served("mlflow", built / "state", "/health") as url:
        dom = page(f"{url}/#/models/tinymlops-table-of-three", tmp_path)
        assert "Version 2" in dom
        assert "x86-gateway" in dom
