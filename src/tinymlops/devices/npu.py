"""NPUs that can't be run here: Arm's own compiler, Vela, says what they would take; the CPU beside them gives the bits.

Vela ends with success even where nothing of a model runs on the NPU. So the operators that it left to the CPU are
counted in the file that it wrote, and the share is part of every measurement.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tinymlops.devices.backend import Backend, Figures, Progress, Run
from tinymlops.devices.profile import Accelerator, DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.errors import ModelFileError, SetupError
from tinymlops.files import sha256
from tinymlops.measurement import Figure, Provenance, Status
from tinymlops.model_file import ModelFile, read_model

_VELA_CONFIG = "Arm/vela.ini"  # of the package itself
_NPU_OPERATOR = "ethos-u"
_KIB = 1024
_KEPT_RUNS = 32


@dataclass(frozen=True)
class Estimate:
    """What Vela says of a model.

    Attributes:
        seconds: Of an inference; NaN where Vela gives none.
        sram_bytes: Activations and scratch on the chip.
        flash_bytes: Commands and compressed weights.
        on_npu: Fraction of the model's operators that the NPU takes.
        on_cpu: Names of the others.
    """

    seconds: float
    sram_bytes: float
    flash_bytes: float
    on_npu: float
    on_cpu: tuple[str, ...]


@dataclass(frozen=True)
class NpuBackend:
    """Asks Vela for the cost, and another backend for the outputs.

    The core's outputs are kept while this backend lives: NPUs that have the same core beside them need them once.

    Attributes:
        cpu: Runs the model on the core beside the NPU.
        timeout_s: Wall-clock time that Vela may take.
    """

    cpu: Backend
    timeout_s: float = 300.0
    _seen: dict[tuple[str, ...], Run] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def prepare(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        """What the core beside the NPU needs.

        Raises:
            EngineError: It can't be made.
        """
        return self.cpu.prepare(profile, runtime, on_progress)

    def run(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        """Run ``model`` on the core, and estimate it on the NPU; whatever it does is a Run.

        Raises:
            EngineError: The engine is gone.
            SetupError: Vela is not installed.
        """
        run = self._on_cpu(model, inputs, profile, runtime, on_progress)
        words = f"{runtime.title}; outputs from {run.runtime or 'generated C'} on the {profile.cpu} beside it"
        run = msgspec.structs.replace(run, runtime=words)
        if run.status is not Status.OK or profile.accelerator is None:
            return run
        on_progress(f"{profile.name}: asking {runtime.title}")
        try:
            estimate = ask_vela(model, profile.accelerator, self.timeout_s)
        except subprocess.TimeoutExpired:
            return Run(status=Status.TIMED_OUT, reason=f"Vela was not done after {self.timeout_s:g} s", runtime=words)
        except ModelFileError as error:
            return Run(status=Status.CRASHED, reason=error.cause, runtime=words)
        return msgspec.structs.replace(run, figures=figures_of(estimate))

    def _on_cpu(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        key = (profile.cpu, profile.runtime.kernels, sha256(model), sha256(inputs))
        seen = self._seen.get(key)
        if seen is not None:
            return seen
        run = self.cpu.run(model, inputs, profile, runtime, on_progress)
        with self._lock:
            for oldest in list(self._seen)[: 1 - _KEPT_RUNS]:
                del self._seen[oldest]
            self._seen[key] = run
        return run


def ask_vela(model: bytes, accelerator: Accelerator, timeout_s: float) -> Estimate:
    """Compile ``model`` for ``accelerator`` and read what Vela wrote.

    Raises:
        ModelFileError: Vela gave up; its last line is in the sentence.
        SetupError: Vela is not installed.
        subprocess.TimeoutExpired: It took too long.
    """
    with tempfile.TemporaryDirectory(prefix="tinymlops-vela-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ethosu.vela", "model.tflite", "--output-dir", "out"),
                *("--accelerator-config", accelerator.config, "--config", _VELA_CONFIG),
                *("--system-config", accelerator.system, "--memory-mode", accelerator.memory_mode),
            ],
            cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=timeout_s,
        )  # fmt: skip
        if "No module named" in done.stderr:
            raise SetupError("Vela is not installed", "run `pip install tinymlops[microcontroller]`")
        summaries = sorted((folder / "out").glob("*_summary_*.csv"))
        compiled = folder / "out" / "model_vela.tflite"
        if done.returncode != 0 or not summaries or not compiled.is_file():
            words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise ModelFileError(f"Vela gave up ({words})", "leave this device out for this model")
        (row,) = csv.DictReader(summaries[0].read_text().splitlines())
        return read_estimate(row, read_model(model, "model"), read_model(compiled.read_bytes(), "Vela's model"))


def read_estimate(row: dict[str, str], model: ModelFile, compiled: ModelFile) -> Estimate:
    """The line of Vela's summary, with the operators that are left for the CPU.

    Args:
        row: Column → text.
        model: What went in.
        compiled: What came out: operators of the NPU's are one of its own, the others are as they were.
    """
    left = [operator for operator in compiled.operators if operator.name != _NPU_OPERATOR]
    total = sum(operator.count for operator in model.operators)
    on_cpu = sum(operator.count for operator in left)
    memory = {name: float(row[f"{name}_memory_used"]) * _KIB for name in ("sram", "on_chip_flash", "off_chip_flash")}
    finite = math.isfinite(float(row["inferences_per_second"]))
    return Estimate(
        seconds=float(row["inference_time"]) if finite else math.nan,
        sram_bytes=memory["sram"],
        flash_bytes=memory["on_chip_flash"] + memory["off_chip_flash"],
        on_npu=1 - on_cpu / total if total else 0.0,
        on_cpu=tuple(operator.name for operator in left),
    )


def figures_of(estimate: Estimate) -> Figures:
    """An estimate with units. Where operators stay on the CPU the time of the whole is not known, and none is given."""
    whole = estimate.on_npu == 1 and not math.isnan(estimate.seconds)
    return Figures(
        latency_p50=_estimated(estimate.seconds * 1e6, "us", "") if whole else None,
        peak_memory=_estimated(estimate.sram_bytes, "B", "SRAM for activations") if estimate.on_npu else None,
        flash=_estimated(estimate.flash_bytes, "B", "commands and compressed weights") if estimate.on_npu else None,
        npu_share=_estimated(estimate.on_npu, "fraction", _share_words(estimate)),
    )


def _share_words(estimate: Estimate) -> str:
    if not estimate.on_cpu:
        return ""
    part = f"the NPU's part takes {estimate.seconds * 1e6:,.1f} µs"
    part = "Vela gives no time (NaN)" if math.isnan(estimate.seconds) else part
    return f"{', '.join(estimate.on_cpu)} stay on the CPU; {part}, so there is no time for the whole"


def _estimated(value: float, unit: str, note: str) -> Figure:
    return Figure(value, unit, Provenance.ESTIMATED, note)
