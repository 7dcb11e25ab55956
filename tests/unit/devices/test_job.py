from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tinymlops.devices.backend import TensorLayout
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.engine import ContainerResult
from tinymlops.devices.job import Job, Result, collect, figures_of, lay_out, run_of, verdict
from tinymlops.devices.linux import command_for, judge
from tinymlops.errors import StorageError
from tinymlops.measurement import Status

ZERO = load_profile("raspberry-pi-zero-2")


@pytest.mark.parametrize(
    ("exit_code", "log", "status", "words"),
    [
        (0, "", Status.OK, ""),
        (139, "qemu: uncaught target signal 11", Status.CRASHED, "SIGSEGV"),
        (134, "", Status.CRASHED, "SIGABRT"),
        (
            1,
            "Traceback\n\nValueError: Model provided has model identifier\n",
            Status.CRASHED,
            "ValueError: Model provided",
        ),
        (1, "", Status.CRASHED, "it printed nothing"),
        (1, "Traceback\nMemoryError", Status.OUT_OF_MEMORY, "no more memory"),
        (
            1,
            "ValueError: Didn't find op for builtin opcode 'X' version '9'.",
            Status.UNSUPPORTED_OPERATOR,
            "version '9'",
        ),
        (255, "", Status.CRASHED, "signal 127"),
    ],
)
def test_an_exit_code_reads_as_a_status(exit_code: int, log: str, status: Status, words: str) -> None:
    found, reason = verdict(exit_code, log)
    assert found is status
    assert words in reason


def test_limits_are_told_from_crashes() -> None:
    killed = ContainerResult(137, oom_killed=True, timed_out=False, log="")
    late = ContainerResult(-1, oom_killed=False, timed_out=True, log="")
    assert judge(killed, ZERO, emulated=True, timeout_s=9) == (
        Status.OUT_OF_MEMORY,
        "it needs more than the 512 MiB of Raspberry Pi Zero 2 W (and 64 MiB for the emulator)",
    )
    assert judge(late, ZERO, emulated=True, timeout_s=9) == (Status.TIMED_OUT, "it was not done after 9 s")


def test_a_job_is_laid_out_for_a_reader_of_another_user(tmp_path: Path) -> None:
    source, target = lay_out(tmp_path, b"model", b"inputs", Job(module="m", kernels="xnnpack"))
    assert (source / "model.tflite").read_bytes() == b"model"
    assert (source / "inputs.bin").read_bytes() == b"inputs"
    assert msgspec.json.decode((source / "job.json").read_bytes(), type=Job).kernels == "xnnpack"
    assert target.stat().st_mode & 0o777 == 0o777


def test_a_disk_that_takes_nothing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be written"):
        lay_out(tmp_path / "absent", b"", b"", Job(module="m", kernels="xnnpack"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"peak_kib": "many"}'])
def test_half_a_result_is_no_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    assert collect(tmp_path) is None
    assert run_of(collect(tmp_path), "image", "").status is Status.CRASHED


def test_figures_carry_units_and_notes() -> None:
    result = Result(
        peak_kib=100,
        imported_kib=80,
        outputs=(TensorLayout((1, 2), "int8"),),
        runtime_bytes=7,
        instructions_total=801,
        inferences=8,
        nanoseconds=tuple(range(1000, 201_000, 1000)),
    )
    figures = figures_of(result, "includes the emulator")
    assert figures.peak_memory is not None
    assert (figures.peak_memory.value, figures.peak_memory.unit) == (102_400, "B")
    assert figures.peak_memory.note == "includes the emulator"
    assert figures.model_memory is not None
    assert figures.model_memory.value == 20_480
    assert figures.instructions is not None
    assert figures.instructions.value == 801 / 8
    assert figures.latency_p50 is not None
    assert figures.latency_p50.unit == "us"
    assert figures.latency_p50.value == pytest.approx(100.5, abs=0.6)
    assert figures.latency_p95 is not None
    assert figures.latency_p95.value == pytest.approx(190, abs=1)


def test_what_was_not_measured_is_absent() -> None:
    figures = figures_of(Result(peak_kib=1, imported_kib=1), "")
    assert figures.instructions is None
    assert figures.latency_p50 is None


def test_a_foreign_cpu_runs_under_the_counting_emulator_and_the_own_one_does_not() -> None:
    assert command_for("native")[0] == "/usr/bin/python3.11"
    foreign = command_for("cortex-a53")
    assert foreign[foreign.index("-cpu") + 1] == "cortex-a53"
    assert "/emulator/count.so,out=/work/out/counts" in foreign
