"""What a runner is given and what it gives back: folders on one side, values on the other."""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec

from tinymlops.devices.backend import Figures, Run, TensorLayout
from tinymlops.errors import StorageError
from tinymlops.measurement import Figure, Status

_KIB = 1024


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """``job.json``: how to run.

    Attributes:
        module: Python module of the interpreter.
        kernels: Kernel set.
        timed: Measure wall-clock time; only where the CPU is the device's own.
        count_only: Count instructions and leave out the outputs.
        data_limit_bytes: Limit that the process sets itself where no container does, or 0.
    """

    module: str
    kernels: str
    timed: bool = False
    count_only: bool = False
    data_limit_bytes: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """``result.json``: what the runner saw; it appears only when everything was done."""

    peak_kib: int
    imported_kib: int
    outputs: tuple[TensorLayout, ...] = ()
    runtime_bytes: int = 0
    instructions_total: int = 0
    inferences: int = 0
    nanoseconds: tuple[int, ...] = ()


def lay_out(folder: Path, model: bytes, inputs: bytes, job: Job) -> tuple[Path, Path]:
    """Write a job below ``folder``; the folders to read from and to write to come back.

    Raises:
        StorageError: The disk is full or can't be written.
    """
    source, target = folder / "in", folder / "out"
    try:
        source.mkdir()
        target.mkdir()
        target.chmod(0o777)  # the container's user is another one; nobody else gets through the folder above
        (source / "model.tflite").write_bytes(model)
        (source / "inputs.bin").write_bytes(inputs)
        (source / "job.json").write_bytes(msgspec.json.encode(job))
    except OSError as error:
        raise StorageError(
            f"{folder} can't be written ({error.strerror or error})", "free some space, or set TMPDIR to another folder"
        ) from error
    return source, target


def collect(target: Path) -> tuple[Result, bytes] | None:
    """Result and raw outputs of a job that was done, or None."""
    try:
        result = msgspec.json.decode((target / "result.json").read_bytes(), type=Result)
        outputs = (target / "outputs.bin").read_bytes() if result.outputs else b""
    except (OSError, msgspec.DecodeError):
        return None
    return result, outputs


def verdict(exit_code: int, log: str) -> tuple[Status, str]:
    """What an exit code (128 + signal for a signal) and the last lines printed say about a run.

    Memory and time limits are told apart before: here the process ended by itself.
    """
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "it printed nothing")
    if exit_code == 0:
        return Status.OK, ""
    if exit_code > 128:
        return Status.CRASHED, f"the interpreter was ended by {_signal_name(exit_code - 128)}"
    if "MemoryError" in last or "bad_alloc" in last:
        return Status.OUT_OF_MEMORY, f"the interpreter could get no more memory ({last})"
    if "Didn't find op for builtin opcode" in log or "unresolved custom op" in log:
        return Status.UNSUPPORTED_OPERATOR, f"the interpreter says: {last}"
    return Status.CRASHED, f"the interpreter gave up: {last}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run_of(collected: tuple[Result, bytes] | None, image: str, memory_note: str) -> Run:
    """A finished job as a Run.

    Args:
        collected: What ``collect`` found.
        image: Tag of the image.
        memory_note: What a reader must know about the memory figures.
    """
    if collected is None:
        return Run(status=Status.CRASHED, reason="the interpreter ended without a result", image=image)
    result, outputs = collected
    return Run(
        status=Status.OK, outputs=outputs, layout=result.outputs, figures=figures_of(result, memory_note), image=image
    )


def figures_of(result: Result, memory_note: str) -> Figures:
    """The runner's numbers with their units and what a reader must know of them."""
    above_kib = max(result.peak_kib - result.imported_kib, 0)
    return Figures(
        peak_memory=Figure(float(result.peak_kib * _KIB), "B", note=memory_note),
        model_memory=Figure(
            float(above_kib * _KIB), "B", note=", ".join(filter(None, ("beside the bare runtime", memory_note)))
        ),
        runtime_bytes=Figure(float(result.runtime_bytes), "B", note="interpreter and NumPy, without Python"),
        instructions=_instructions(result),
        latency_p50=_latency(result, 0.50),
        latency_p95=_latency(result, 0.95),
    )


def _instructions(result: Result) -> Figure | None:
    if not result.inferences:
        return None
    return Figure(result.instructions_total / result.inferences, "instructions")


def _latency(result: Result, q: float) -> Figure | None:
    """Nearest-rank quantile of the times, which come in order of size."""
    if not result.nanoseconds:
        return None
    return Figure(
        result.nanoseconds[round(q * (len(result.nanoseconds) - 1))] / 1000,
        "us",
        note=f"of {len(result.nanoseconds)} inferences",
    )
