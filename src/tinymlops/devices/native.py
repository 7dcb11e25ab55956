"""This machine itself as a device, for where no container engine runs: a process without a container's walls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinymlops.devices.backend import Progress, Run
from tinymlops.devices.job import Job, Result, collect, lay_out, run_of, verdict
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.errors import EngineError
from tinymlops.measurement import Status
from tinymlops.project import project_root

_NOTE = "measured without a container: CPU and memory limits are not enforced"
_HEADROOM = 4  # times the profile's memory, where a runaway allocation is stopped


@dataclass(frozen=True)
class NativeBackend:
    """Runs models in a process of this machine.

    Attributes:
        timeout_s: Wall-clock time of one measurement.
        because: Why no container is used, for those who ask for a device that needs one.
    """

    timeout_s: float = 300.0
    because: str = "no container engine answers"

    def prepare(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        """Nothing to make, and no image.

        Raises:
            EngineError: ``profile`` has a CPU that only a container can show.
        """
        del runtime, on_progress
        if profile.emulated:
            raise EngineError(
                f"{profile.title} needs a container, and {self.because}",
                "start one with `sh infra/engine.sh`, or measure natively on x86-gateway",
            )
        return ""

    def run(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        """Run ``model`` in a process; whatever it does there is a Run.

        Raises:
            EngineError: ``profile`` has a CPU that only a container can show.
        """
        self.prepare(profile, runtime, on_progress)
        on_progress(f"{profile.name}: running without a container")
        limit = profile.memory_mib << 20
        job = Job(
            module=runtime.module, kernels=profile.runtime.kernels, timed=True, data_limit_bytes=_HEADROOM * limit
        )
        with tempfile.TemporaryDirectory(prefix="tinymlops-run-") as name:
            source, target = lay_out(Path(name), model, inputs, job)
            try:
                exit_code, log = _process(source, target, self.timeout_s)
            except subprocess.TimeoutExpired:
                return Run(status=Status.TIMED_OUT, reason=f"it was not done after {self.timeout_s:g} s")
            status, reason = verdict(exit_code, log)
            if status is not Status.OK:
                return Run(status=status, reason=reason)
            collected = collect(target)
            return _too_large(collected, profile) or run_of(collected, "", _NOTE)


def _process(source: Path, target: Path, timeout_s: float) -> tuple[int, str]:
    """Run the runner; its exit code as a shell sees it, and what it printed."""
    runner = project_root() / "infra" / "images" / "linux" / "runner.py"
    done = subprocess.run(
        [sys.executable, "-B", str(runner), str(source), str(target)],
        capture_output=True, text=True, errors="replace", check=False, timeout=timeout_s,
        env={**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    return (128 - done.returncode if done.returncode < 0 else done.returncode), done.stderr


def _too_large(collected: tuple[Result, bytes] | None, profile: DeviceProfile) -> Run | None:
    """A container would have ended what took more memory than the device has; here it is seen afterwards."""
    if collected is None or collected[0].peak_kib <= profile.memory_mib * 1024:
        return None
    peak_mib = collected[0].peak_kib / 1024
    return Run(
        status=Status.OUT_OF_MEMORY,
        reason=f"it took {peak_mib:.0f} MiB, more than the {profile.memory_mib} MiB of {profile.title}",
    )
