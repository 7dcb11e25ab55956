"""The command line as a person meets it: one sentence and an exit code, and an answer at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.running import tinymlops

HEAVY = ("tensorflow", "mlflow", "prefect", "docker", "pandas", "sklearn", "matplotlib", "numpy")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, tinymlops.cli.main;print([name for name in {HEAVY!r} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_help_names_every_command() -> None:
    shown = tinymlops("--help")
    assert shown.returncode == 0
    for command in ("build", "benchmark", "workloads", "devices", "doctor", "ui"):
        assert f"  {command} " in shown.stdout


BAD = {
    "an unknown workload": (["build", "activty"], 2, "no workload called 'activty': did you mean 'activity'"),
    "an unknown recipe": (["build", "activity", "--recipes", "in8"], 2, "no recipe called 'in8': did you mean 'int8'"),
    "an unknown device": (
        ["build", "activity", "--devices", "raspberry-pi-6"],
        2,
        "no device called 'raspberry-pi-6': did you mean 'raspberry-pi-5'",
    ),
    "an empty list of recipes": (["build", "activity", "--recipes", ","], 2, "--recipes names nothing"),
    "a missing model": (["benchmark", "no.tflite", "--device", "x86-gateway"], 4, "no.tflite can't be read"),
    "an unknown device to show": (["devices", "x68-gateway"], 2, "did you mean 'x86-gateway'"),
    "a missing workload file": (["build", "nowhere.py:Task"], 3, "there is no file nowhere.py"),
    "half a login at a broker": (
        ["telemetry", "bridge", "--broker", "mqtt://broker", "--username", "bridge"],
        2,
        "give both --username and --password-file",
    ),
    "an address that is no broker's": (
        ["telemetry", "bridge", "--broker", "broker"],
        2,
        "write it like mqtt://host:1883",
    ),
    "an unknown command": (["biuld"], 2, "No such command"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_an_exit_code(case: str) -> None:
    arguments, code, message = BAD[case]
    ended = tinymlops(*arguments)
    assert ended.returncode == code, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "picture.tflite"
    file.write_bytes(b"\x89PNG" * 100)
    ended = tinymlops("benchmark", str(file), "--device", "x86-gateway")
    assert ended.returncode == 4
    assert "picture.tflite is not a TensorFlow Lite model" in ended.stderr


def test_an_output_folder_that_can_not_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    ended = tinymlops("build", "activity", "--out", str(tmp_path / "file" / "out"))
    assert ended.returncode == 8
    assert "can't be written" in ended.stderr


def test_debug_shows_where_an_error_came_from() -> None:
    assert "Traceback" in tinymlops("--debug", "build", "activty").stderr


def test_lists_name_what_there_is() -> None:
    assert all(name in tinymlops("workloads").stdout for name in ("activity", "fashion", "footfall"))
    listed = tinymlops("devices").stdout
    assert all(
        name in listed for name in ("x86-gateway", "raspberry-pi-zero-2", "raspberry-pi-5", "raspberry-pi-3-32bit")
    )


def test_doctor_names_what_is_missing_and_the_command_that_mends_it() -> None:
    ended = tinymlops("doctor", DOCKER_HOST="unix:///nowhere.sock", FASHION_MNIST="/nowhere")
    assert ended.returncode == 9
    assert "sh infra/engine.sh" in ended.stdout
    assert "apt-get install dataset-fashion-mnist" in ended.stdout
    assert "2 of 6 things need mending: sh infra/engine.sh." in ended.stderr


def test_one_device_is_shown_with_budgets_and_sources() -> None:
    shown = tinymlops("devices", "raspberry-pi-5").stdout
    assert "cortex-a76" in shown
    assert "budgets.ram_kib" in shown
    assert "https://" in shown
