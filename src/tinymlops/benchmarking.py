"""Variant × device → Measurement, with the outputs that the device itself gave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from tinymlops.devices.backend import Backend, Progress, Run, silent
from tinymlops.devices.engine import Engine
from tinymlops.devices.linux import LinuxBackend
from tinymlops.devices.microcontroller import MicrocontrollerBackend
from tinymlops.devices.native import NativeBackend
from tinymlops.devices.npu import NpuBackend
from tinymlops.devices.operators import refuse
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable, load_runtime
from tinymlops.devices.tensors import decode, encode
from tinymlops.errors import EngineError, ProfileError, SetupError
from tinymlops.files import sha256
from tinymlops.measurement import Measurement, Status, VariantFacts
from tinymlops.model_file import ModelFile, TensorSpec, read_model

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """A measurement, and what the scores can be computed from.

    Attributes:
        measurement: Without scores.
        outputs: float32, dequantized, shape ``(rows, values)``; None unless the status is ``OK``.
    """

    measurement: Measurement
    outputs: Array | None = None


@dataclass(frozen=True)
class Workbench:
    """The backends that this machine has: open it once, measure many times.

    Attributes:
        backends: By the ``kind`` of a profile.
        contained: True where a container engine answers; else only this machine's own CPU can be measured.
    """

    backends: dict[str, Backend]
    contained: bool

    @classmethod
    def open(cls, timeout_s: float = 300.0) -> Workbench:
        """Connect to the container engine, and remove containers that a killed process left; or do without it.

        Args:
            timeout_s: Wall-clock time that one measurement may take.
        """
        try:
            engine = Engine.connect()
            engine.sweep()
        except (EngineError, SetupError) as error:
            alone = NativeBackend(timeout_s, because=error.cause)
            return cls(dict.fromkeys(("linux", "compiled", "microcontroller", "npu"), alone), contained=False)
        return cls.contain(engine, timeout_s)

    @classmethod
    def contain(cls, engine: Engine, timeout_s: float = 300.0) -> Workbench:
        """Every kind of device, in the containers of ``engine``."""
        compiled = MicrocontrollerBackend(engine, timeout_s)
        return cls(
            {
                "linux": LinuxBackend(engine, timeout_s),
                "compiled": compiled,
                "microcontroller": compiled,
                "npu": NpuBackend(compiled, timeout_s),
            },
            contained=True,
        )

    def backend(self, profile: DeviceProfile) -> Backend:
        """The backend for ``profile``.

        Raises:
            ProfileError: There is none for its kind.
        """
        if profile.kind not in self.backends:
            raise ProfileError(
                f"{profile.name} is of kind {profile.kind!r}", f"the kinds are {', '.join(sorted(self.backends))}"
            )
        return self.backends[profile.kind]

    def prepare(self, profile: DeviceProfile, on_progress: Progress = silent) -> str:
        """Make what measuring on ``profile`` needs before the first measurement.

        Returns the tag of its image, which holds a digest of all that is inside; empty where there is none.

        Raises:
            EngineError: It can't be made, or ``profile`` needs an engine and none answers.
            SetupError: This machine lacks what making it takes.
        """
        return self.backend(profile).prepare(profile, load_runtime(profile.runtime.name), on_progress)


@lru_cache(maxsize=1)
def workbench() -> Workbench:
    """The workbench of this process, opened when it is first needed."""
    return Workbench.open()


def benchmark(
    model: bytes,
    inputs: Array,
    profile: DeviceProfile,
    facts: VariantFacts,
    *,
    bench: Workbench | None = None,
    on_progress: Progress = silent,
) -> Outcome:
    """Measure ``model`` on ``profile``.

    What the model does (too large, too slow, an operator the runtime lacks, a crash) is a status with a reason.

    Args:
        model: The ``.tflite``.
        inputs: Real numbers, shape ``(rows, ...)``.
        profile: The device.
        facts: What is known of the variant; a vetoed one is measured like any other.
        bench: Where to measure; the one of this process if not given.
        on_progress: Told what is being done.

    Raises:
        ModelFileError: ``model`` is not a readable .tflite.
        UsageError: ``inputs`` do not suit the model.
        EngineError: No container engine answers where one is needed, or it died.
        SetupError: This machine lacks what making the image takes.
    """
    described = read_model(model, f"{facts.recipe}.tflite")
    runtime = load_runtime(profile.runtime.name)
    status, reason = refuse(described, profile, runtime)
    if status is not Status.OK:
        return _outcome(Run(status=status, reason=reason), described, profile, facts, 0)
    raw = encode(inputs, described)
    backend = (bench or workbench()).backend(profile)
    run = backend.run(model, raw, profile, runtime, on_progress)
    return _outcome(run, described, profile, facts, len(inputs))


def _outcome(run: Run, model: ModelFile, profile: DeviceProfile, facts: VariantFacts, rows: int) -> Outcome:
    """A Run in the words of a measurement."""
    runtime = load_runtime(profile.runtime.name)
    measurement = Measurement(
        variant=facts,
        device=profile.name,
        runtime=run.runtime or label(runtime, profile),
        status=run.status,
        reason=run.reason,
        outputs_sha256=sha256(run.outputs) if run.status is Status.OK else "",
        image=run.image,
        **msgspec.structs.asdict(run.figures),
    )
    outputs = decode(run.outputs, run.layout, model, rows) if run.status is Status.OK else None
    return Outcome(measurement, outputs)


def label(runtime: RuntimeTable, profile: DeviceProfile) -> str:
    """Interpreter, version and kernel set in words, such as ``"litert 2.3.0, xnnpack"``."""
    return f"{runtime.title}, {profile.runtime.kernels}"


def random_inputs(model: ModelFile, rows: int, seed: int) -> Array:
    """Inputs for a model whose data we do not have: float32, shape ``(rows, values of all inputs)``.

    Quantized inputs are spread over the whole range that they can hold, real ones are normal, and plain integers,
    which may be indices into a table, are 0 or 1.
    """
    rng = np.random.default_rng(seed)
    return np.concatenate([_random(spec, rows, rng) for spec in model.inputs], axis=1).astype(np.float32)


def _random(spec: TensorSpec, rows: int, rng: np.random.Generator) -> Array:
    shape = (rows, spec.size)
    kind = np.dtype(spec.dtype)
    if kind.kind == "f":
        return rng.standard_normal(shape)
    if not spec.scale:
        return rng.integers(0, 2, shape)
    limits = np.iinfo(kind)
    steps = rng.integers(int(limits.min), int(limits.max), shape, endpoint=True)
    return (steps - spec.zero_point) * spec.scale
