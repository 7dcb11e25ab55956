"""Linux-class devices: a container with the device's limits; a foreign CPU is emulated inside it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tinymlops.devices.backend import Progress, Run
from tinymlops.devices.engine import ContainerResult, Engine, Limits
from tinymlops.devices.images import ensure_image
from tinymlops.devices.job import Job, collect, lay_out, run_of, verdict
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.measurement import Figure, Status

EMULATOR_MIB = 64
"""What the emulator takes beside the guest: the same job was seen to take 52 MiB more under qemu than without."""

COUNTING_CPU = "Haswell"
"""The x86 that instructions are counted on: the newest vector unit that qemu 7.2 knows is AVX2."""

_EMULATE = ("/emulator/lib/ld-linux-x86-64.so.2", "--library-path", "/emulator/lib", "/emulator/qemu")
_RUNNER = ("/usr/bin/python3.11", "-S", "-B", "/opt/runtime/runner.py", "/work/in", "/work/out")


@dataclass(frozen=True)
class LinuxBackend:
    """Runs models in containers.

    Attributes:
        engine: The engine that runs them.
        timeout_s: Wall-clock time of one measurement.
    """

    engine: Engine
    timeout_s: float = 300.0
    _images: dict[tuple[str, str], str] = field(default_factory=dict, repr=False, compare=False)

    def prepare(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        """Build the image of ``profile`` if it is not there, and return its tag.

        Raises:
            EngineError: The build failed, or the engine is gone.
        """
        return self._image(profile, runtime, on_progress)

    def _image(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        key = (profile.architecture, runtime.name)
        if key not in self._images:
            self._images[key] = ensure_image(self.engine, *key, on_progress)
        return self._images[key]

    def run(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        """Run ``model`` in a container; whatever it does there is a Run.

        Raises:
            EngineError: The engine is gone.
        """
        image = self._image(profile, runtime, on_progress)
        job = Job(module=runtime.module, kernels=profile.runtime.kernels, timed=not profile.emulated)
        on_progress(f"{profile.name}: running in a container")
        run = self._contain(image, model, inputs, job, profile)
        if profile.emulated or run.status is not Status.OK:
            return run
        on_progress(f"{profile.name}: counting instructions")
        counted = self._contain(
            image, model, inputs, msgspec.structs.replace(job, timed=False, count_only=True), profile, COUNTING_CPU
        )
        return _with_count(run, counted, on_progress)

    def _contain(self, image: str, model: bytes, inputs: bytes, job: Job, profile: DeviceProfile, cpu: str = "") -> Run:
        """One container from start to end, on the profile's CPU unless another is named."""
        core = cpu or profile.cpu
        emulated = core != "native"
        limit_mib = profile.memory_mib + (EMULATOR_MIB if emulated else 0)
        with tempfile.TemporaryDirectory(prefix="tinymlops-run-") as name:
            source, target = lay_out(Path(name), model, inputs, job)
            if emulated:
                (target / "counts").touch(0o666)
                (target / "counts").chmod(0o666)
            ended = self.engine.run(
                image,
                command_for(core),
                {source: "/work/in:ro", target: "/work/out"},
                Limits(profile.cores, limit_mib, self.timeout_s),
            )
            status, reason = judge(ended, profile, emulated, self.timeout_s)
            if status is not Status.OK:
                return Run(status=status, reason=reason, image=image)
            return run_of(collect(target), image, "includes the emulator" if emulated else "")


def command_for(cpu: str) -> list[str]:
    """The runner on ``cpu``: under the counting emulator unless it is this machine's own."""
    if cpu == "native":
        return list(_RUNNER)
    return [*_EMULATE, "-cpu", cpu, "-plugin", "/emulator/count.so,out=/work/out/counts", *_RUNNER]


def judge(ended: ContainerResult, profile: DeviceProfile, emulated: bool, timeout_s: float) -> tuple[Status, str]:
    """How a container's end reads as a measurement."""
    if ended.timed_out:
        return Status.TIMED_OUT, f"it was not done after {timeout_s:g} s"
    if ended.oom_killed:
        beside = f" (and {EMULATOR_MIB} MiB for the emulator)" if emulated else ""
        return Status.OUT_OF_MEMORY, f"it needs more than the {profile.memory_mib} MiB of {profile.title}{beside}"
    return verdict(ended.exit_code, ended.log)


def _with_count(run: Run, counted: Run, on_progress: Progress) -> Run:
    """``run`` with the instructions of ``counted``, marked with the CPU they belong to."""
    figure = counted.figures.instructions
    if figure is None:
        on_progress(f"instructions could not be counted: {counted.reason}")
        return run
    noted = Figure(figure.value, figure.unit, note=f"on an emulated {COUNTING_CPU} (AVX2)")
    return msgspec.structs.replace(run, figures=msgspec.structs.replace(run.figures, instructions=noted))
