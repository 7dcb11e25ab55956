"""`tinymlops benchmark`: any model, also one that we did not make, and what is said of those that do not run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.running import tinymlops
from tests.unit.devices.flatbuffer_models import dense

ROOT = Path(__file__).parents[2]


@pytest.fixture
def int8(tmp_path: Path) -> Path:
    file = tmp_path / "somebodys.tflite"
    file.write_bytes(dense())
    return file


def benchmark(model: Path, device: str, *options: str, native: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {"DOCKER_HOST": "unix:///nowhere.sock"} if native else {}
    return tinymlops("benchmark", str(model), "--device", device, *options, timeout_s=120, **environment)


@pytest.mark.docker
def test_any_model_is_measured_and_told_as_json(int8: Path) -> None:
    ended = benchmark(int8, "raspberry-pi-5", "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["status"], told["variant"]["recipe"]) == ("ok", "somebodys")
    assert "scores" not in told
    assert told["instructions"]["value"] > 0
    assert told["instructions"]["provenance"] == "measured"


@pytest.mark.docker
def test_two_runs_count_the_same_instructions_and_give_the_same_bits(int8: Path) -> None:
    one, other = (json.loads(benchmark(int8, "raspberry-pi-zero-2", "--json").stdout) for _ in range(2))
    assert one["instructions"] == other["instructions"]
    assert one["outputs_sha256"] == other["outputs_sha256"]


def test_natively_the_table_says_that_no_limit_was_enforced(int8: Path) -> None:
    ended = benchmark(int8, "x86-gateway", native=True)
    assert ended.returncode == 0, ended.stderr
    assert "limits are not enforced" in ended.stdout
    assert "latency p50" in ended.stdout


def test_a_float_model_on_an_int8_only_device_is_refused(tmp_path: Path) -> None:
    profile = (ROOT / "infra" / "devices" / "x86-gateway.toml").read_text()
    strict = profile.replace('"x86-gateway"', '"strict"').replace("[runtime]\n", "[runtime]\nint8_only = true\n")
    (tmp_path / "strict.toml").write_text(strict)
    model = tmp_path / "float.tflite"
    model.write_bytes(dense(dtype="float32"))
    ended = benchmark(model, str(tmp_path / "strict.toml"), native=True)
    assert ended.returncode == 10
    assert "does not run on strict (unsupported type" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("keep", [0, 7, 100, 400])
def test_a_truncated_model_is_one_sentence(int8: Path, keep: int) -> None:
    int8.write_bytes(int8.read_bytes()[:keep])
    ended = benchmark(int8, "x86-gateway", native=True)
    assert ended.returncode == 4, ended.stderr
    assert str(int8) in ended.stderr
    assert ended.stdout == ""


def test_a_misspelt_key_in_a_profile_names_the_right_one(int8: Path, tmp_path: Path) -> None:
    profile = (ROOT / "infra" / "devices" / "x86-gateway.toml").read_text()
    (tmp_path / "mine.toml").write_text(profile.replace('"x86-gateway"', '"mine"').replace("memory_mib", "memory_mb"))
    ended = benchmark(int8, str(tmp_path / "mine.toml"), native=True)
    assert ended.returncode == 6
    assert "memory_mib" in ended.stderr


@pytest.mark.docker
def test_per_operator_shows_where_the_instructions_go(int8: Path) -> None:
    ended = benchmark(int8, "nucleo-l4r5zi", "--per-operator")
    assert ended.returncode == 0, ended.stderr
    assert "FULLY_CONNECTED" in ended.stdout
    assert "per MAC" in ended.stdout
    assert "more instructions lie between the operators" in ended.stdout
    assert "latency p50" not in ended.stdout
    assert "cycles an instruction from MLPerf Tiny" in " ".join(ended.stdout.split())


@pytest.mark.docker
def test_a_device_with_an_interpreter_says_that_it_does_not_count_operators(int8: Path) -> None:
    ended = benchmark(int8, "raspberry-pi-5", "--per-operator")
    assert ended.returncode == 0, ended.stderr
    assert "raspberry-pi-5 does not count operators apart" in ended.stdout
