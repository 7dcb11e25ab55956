"""`tinymlops build` from end to end: real Prefect, MLflow, TensorFlow, and Docker where a device needs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.running import tinymlops
from tinymlops.devices.catalogue import profiles

ROOT = Path(__file__).parents[2]
SHAPES = Path(__file__).with_name("workloads") / "shapes.py"
MINUTES = 60.0


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of docs/workloads.md, word for word."""
    page = (ROOT / "docs" / "workloads.md").read_text()
    (source,) = re.findall(r"```python\n(# digits\.py\n.*?)```", page, re.DOTALL)
    file = tmp_path_factory.mktemp("docs") / "digits.py"
    file.write_text(source)
    return file


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A state folder that the tests of this module share, and settings that leave this machine's own alone."""
    return {"TINYMLOPS_STATE": str(tmp_path_factory.mktemp("state"))}


def build(workload: str, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return tinymlops("build", workload, "--out", str(out), *options, timeout_s=10 * MINUTES, **environment)


def measurements(out: Path) -> list[dict[str, Any]]:
    content: dict[str, Any] = json.loads((out / "measurements.json").read_text())
    return list(content["measurements"])


def files(out: Path) -> set[str]:
    return {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def first(digits: Path, state: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The documented build of the documented workload: its folder, and the seconds that it took."""
    out = tmp_path_factory.mktemp("out")
    start = time.monotonic()
    ended = build(f"{digits}:Digits", out, "--recipes", "float32,int8,qat", **state)
    assert ended.returncode == 0, ended.stderr
    return out, time.monotonic() - start


@pytest.mark.docker
def test_the_documented_workload_builds_as_it_stands(first: tuple[Path, float]) -> None:
    out, _ = first
    assert files(out) == {
        "measurements.json",
        "selection.json",
        "report.html",
        "pareto.png",
        "variants/float32.tflite",
        "variants/int8.tflite",
        "variants/qat.tflite",
    }
    assert len(measurements(out)) == 3 * len(profiles())
    compiled = {profile.name for profile in profiles() if profile.kind != "linux"}
    for one in measurements(out):
        if one["device"] in compiled and one["variant"]["recipe"] == "float32":
            assert one["status"] == "unsupported type"
        else:
            assert one["status"] == "ok", one
            assert one["scores"]["test"] > 0.9
    selections = json.loads((out / "selection.json").read_text())["selections"]
    assert [one["device"] for one in selections] == sorted(one["device"] for one in selections)
    assert all(one["recipe"] and one["reason"] for one in selections)


@pytest.mark.docker
def test_nothing_changed_means_nothing_is_trained_converted_or_measured(
    first: tuple[Path, float], digits: Path, state: dict[str, str]
) -> None:
    out, seconds = first
    before = (out / "measurements.json").read_bytes()
    start = time.monotonic()
    ended = build(f"{digits}:Digits", out, "--recipes", "float32,int8,qat", **state)
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - start < 0.5 * seconds
    assert (out / "measurements.json").read_bytes() == before
    assert not re.search(r"✓ (train|reference|qat|int8|float32)", ended.stderr), ended.stderr


@pytest.mark.docker
def test_one_more_recipe_computes_that_recipe_alone(
    first: tuple[Path, float], digits: Path, state: dict[str, str], tmp_path: Path
) -> None:
    ended = build(f"{digits}:Digits", tmp_path, "--recipes", "float32,int8,qat,clustered-int8", **state)
    assert ended.returncode == 0, ended.stderr
    steps = set(re.findall(r"✓ (\S+)", ended.stderr)) - {"image"}
    assert steps == {"clustered-int8"}
    assert len(measurements(tmp_path)) == 4 * len(profiles())
    old = {(one["device"], one["variant"]["recipe"]): one for one in measurements(first[0])}
    for one in measurements(tmp_path):
        if one["variant"]["recipe"] != "clustered-int8":
            assert one == old[one["device"], one["variant"]["recipe"]]


def without_clocks(out: Path) -> list[dict[str, Any]]:
    """Measurements without wall-clock time and memory, which no two runs share."""
    noisy = {"latency_p50", "latency_p95", "peak_memory", "model_memory"}
    return [{name: value for name, value in one.items() if name not in noisy} for one in measurements(out)]


def descendants(pid: int) -> list[int]:
    """Processes that ``pid`` and its children have started and that still run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return children + [grandchild for child in children for grandchild in descendants(child)]


@pytest.mark.docker
def test_a_build_that_was_killed_goes_on_and_ends_in_the_same_outputs(
    first: tuple[Path, float], digits: Path, tmp_path: Path
) -> None:
    arguments = ["build", f"{digits}:Digits", "--recipes", "float32,int8,qat", "--out", str(tmp_path / "out")]
    environment = {"TINYMLOPS_STATE": str(tmp_path / "state")}
    command = [str(Path(sys.executable).with_name("tinymlops")), *arguments]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        killed = subprocess.Popen(command, env=os.environ | environment, stdout=stream, stderr=stream)
    deadline = time.monotonic() + 5 * MINUTES
    while not re.search(r"✓ int8 on", log.read_text()) and time.monotonic() < deadline:
        assert killed.poll() is None, log.read_text()
        time.sleep(0.1)
    family = descendants(killed.pid)
    assert any("prefect_server" in Path(f"/proc/{pid}/cmdline").read_text() for pid in family)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "out").exists() or not files(tmp_path / "out")

    ended = tinymlops(*arguments, timeout_s=10 * MINUTES, **environment)
    assert ended.returncode == 0, ended.stderr
    assert "✓ train" not in ended.stderr
    assert without_clocks(tmp_path / "out") == without_clocks(first[0])
    for variant in ("float32", "int8", "qat"):
        name = f"variants/{variant}.tflite"
        assert (tmp_path / "out" / name).read_bytes() == (first[0] / name).read_bytes()


def test_a_lost_promise_ends_the_build_with_an_error_and_a_row(tmp_path: Path, state: dict[str, str]) -> None:
    ended = build(f"{SHAPES}:LosesItsZeros", tmp_path, "--recipes", "float32,pqat", "--devices", "x86-gateway", **state)
    assert ended.returncode == 5, ended.stderr
    assert "pqat promises 50% zeros" in ended.stderr
    assert re.search(r"pqat .*failed", ended.stdout)
    assert "variants/float32.tflite" in files(tmp_path)
    assert "pqat promises" in (tmp_path / "report.html").read_text()


def test_without_an_engine_the_native_device_is_measured_and_one_sentence_says_so(
    tmp_path: Path, state: dict[str, str]
) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    ended = build(f"{SHAPES}:Table", tmp_path / "out", "--recipes", "int8", **state, **nowhere)
    assert ended.returncode == 0, ended.stderr
    assert {one["device"] for one in measurements(tmp_path / "out")} == {"x86-gateway"}
    assert "no container engine answers" in ended.stdout
    assert "sh infra/engine.sh" in ended.stdout


def test_without_an_engine_a_device_asked_for_by_name_is_an_error(tmp_path: Path, state: dict[str, str]) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    ended = build(f"{SHAPES}:Table", tmp_path / "out", "--devices", "raspberry-pi-5", **state, **nowhere)
    assert ended.returncode == 7, ended.stderr
    assert "container engine" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists() or not files(tmp_path / "out")
