"""Cores that a model is compiled for: generated C, cross-compiled and run in an emulator, all inside one container."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tinymlops.codegen import GeneratedModel, KernelSet, generate
from tinymlops.devices.backend import Figures, Progress, Run, TensorLayout
from tinymlops.devices.calibration import calibrate
from tinymlops.devices.engine import ContainerResult, Engine, Limits
from tinymlops.devices.microcontroller.counts import operator_costs, parse_counts
from tinymlops.devices.microcontroller.elf import section_sizes
from tinymlops.devices.microcontroller.job import Job, keep_objects, lay_out
from tinymlops.devices.microcontroller.targets import STACK_KIB, Target, helium_of, load_target
from tinymlops.devices.microcontroller.toolchain import ensure_toolchain
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.errors import DoesNotRunError
from tinymlops.measurement import Figure, Status

_MEMORY_MIB = 1024  # of the container: what a compiler may take for megabytes of weights
_FIRMWARE_KIB = 32  # code of the firmware and of kernels, generously
_ENDINGS = {
    2: "the firmware ended in a fault of the processor",
    3: "the firmware could not open its files",
    4: "the inputs are no whole number of rows",
    5: "the firmware could not write its outputs",
    6: f"it needs more than the {STACK_KIB} KiB of stack that the emulated board has",
}


@dataclass(frozen=True)
class MicrocontrollerBackend:
    """Runs models as firmware, or as Linux programs without an interpreter.

    Attributes:
        engine: Runs the containers.
        timeout_s: Wall-clock time of one measurement.
    """

    engine: Engine
    timeout_s: float = 300.0
    _images: list[str] = field(default_factory=list, repr=False, compare=False)

    def prepare(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        """Build the image with compilers and emulators if it is not there, and return its tag.

        Raises:
            EngineError: The build failed, or the engine is gone.
            UnknownNameError: No target is called like the profile's ``cpu``.
        """
        del runtime
        load_target(profile.cpu)
        if not self._images:
            self._images.append(ensure_toolchain(self.engine, on_progress))
        return self._images[0]

    def run(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        """Compile and run ``model``; whatever it does is a Run.

        Raises:
            EngineError: The engine is gone.
            ModelFileError: ``model`` is not a readable .tflite.
        """
        image = self.prepare(profile, runtime, on_progress)
        try:
            generated = generate(model, KernelSet(profile.runtime.kernels), helium=helium_of(profile.cpu))
        except DoesNotRunError as error:
            return Run(status=Status.UNSUPPORTED_OPERATOR, reason=error.cause)
        job = Job(image, load_target(profile.cpu), generated)
        excess = too_large(generated, job.target)
        if excess:
            return Run(status=Status.OUT_OF_MEMORY, reason=excess, runtime=_runtime(generated))
        on_progress(f"{profile.name}: compiling and running in a container")
        return self._contain(job, inputs, profile)

    def _contain(self, job: Job, inputs: bytes, profile: DeviceProfile) -> Run:
        """One container from start to end."""
        with tempfile.TemporaryDirectory(prefix="tinymlops-run-") as name:
            folder = Path(name)
            ended = self.engine.run(
                job.image,
                ["/bin/sh", "/work/in/job.sh"],
                lay_out(folder, job, inputs),
                Limits(2.0, _MEMORY_MIB, self.timeout_s),
            )
            status, reason = judge(ended, _read(folder / "out" / "stage").decode().strip(), self.timeout_s)
            if status is not Status.OK:
                return Run(status=status, reason=reason, image=job.image, runtime=_runtime(job.model))
            keep_objects(folder)
            return _collect(folder / "out", job, profile)


def judge(ended: ContainerResult, stage: str, timeout_s: float) -> tuple[Status, str]:
    """How a container's end reads as a measurement.

    Args:
        ended: How it ended.
        stage: How far it came: ``compile``, ``link``, ``run`` or ``done``.
        timeout_s: Its limit.
    """
    lines = [line.strip() for line in ended.log.splitlines() if line.strip()] or ["it printed nothing"]
    last = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
    if ended.timed_out:
        return Status.TIMED_OUT, f"it was not done after {timeout_s:g} s"
    if ended.oom_killed:
        return Status.OUT_OF_MEMORY, f"the compiler needs more than {_MEMORY_MIB} MiB for it"
    if ended.exit_code == 0 and stage == "done":
        return Status.OK, ""
    if stage == "run":
        return Status.CRASHED, _ENDINGS.get(ended.exit_code, f"the emulator ended with {ended.exit_code}: {last}")
    return Status.CRASHED, f"the generated C did not {stage or 'reach the compiler'}: {last}"


def too_large(model: GeneratedModel, target: Target) -> str:
    """Why not even the emulated board has room, or nothing; asked before a linker would have to say it."""
    buffers = sum(one.bytes for one in (*model.inputs, *model.outputs))
    ram = model.arena_bytes + buffers
    most_ram, most_flash = (target.ram_kib - STACK_KIB) << 10, (target.constants_kib - _FIRMWARE_KIB) << 10
    if ram > most_ram:
        return f"it needs {ram:,} B of RAM besides its stack, and the emulated board has {most_ram:,} B"
    if model.constant_bytes > most_flash:
        return f"its constants take {model.constant_bytes:,} B, and the emulated board has {most_flash:,} B for them"
    return ""


def _collect(out: Path, job: Job, profile: DeviceProfile) -> Run:
    counts = parse_counts(_read(out / "counts").decode("ascii", errors="replace"))
    stack, program = _read(out / "stack.bin"), _read(out / "firmware.elf")
    if counts is None or len(stack) != 4:
        return Run(status=Status.CRASHED, reason="the firmware ended without a result", image=job.image)
    model = job.model
    costs = operator_costs(counts, model.operators)
    if not costs:
        reason = "the counter saw other operators than the generator wrote"
        return Run(status=Status.CRASHED, reason=reason, image=job.image, runtime=_runtime(model))
    sections = section_sizes(program)
    (stack_bytes,) = struct.unpack("<I", stack)
    latency, energy = calibrate(profile, counts.inference.mean)
    figures = Figures(
        instructions=Figure(counts.inference.mean, "instructions"),
        latency_p50=latency,
        energy=energy,
        flash=_bytes(sum(sections.get(name, 0) for name in (".text", ".rodata", ".data"))),
        peak_memory=_bytes(sum(sections.get(name, 0) for name in (".data", ".bss")) + stack_bytes),
        arena=_bytes(model.arena_bytes),
        stack=_bytes(stack_bytes),
        operators=costs,
    )
    layout = tuple(TensorLayout(one.shape, one.dtype) for one in model.outputs)
    outputs = _read(out / "outputs.bin")
    return Run(
        status=Status.OK, outputs=outputs, layout=layout, figures=figures, image=job.image, runtime=_runtime(model)
    )


def _runtime(model: GeneratedModel) -> str:
    return f"generated C, {model.kernels}"


def _bytes(count: float) -> Figure:
    return Figure(float(count), "B")


def _read(path: Path) -> bytes:
    """A file of the run; empty where the run did not come so far."""
    return path.read_bytes() if path.is_file() else b""
