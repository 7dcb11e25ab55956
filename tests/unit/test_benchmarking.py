from __future__ import annotations

import gzip
import hashlib

import msgspec
import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from tests.unit.devices.flatbuffer_models import dense, with_operator
from tinymlops.benchmarking import Workbench, benchmark, random_inputs
from tinymlops.devices.backend import Figures, Progress, Run, TensorLayout
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.engine import Engine
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.errors import EngineError, ModelFileError, ProfileError, UsageError
from tinymlops.measurement import Figure, Status, facts_of
from tinymlops.model_file import read_model

ZERO = load_profile("raspberry-pi-zero-2")
INPUTS = np.zeros((2, 16), np.float32)


class Parrot:
    """A backend that answers what it was told to, and remembers what it was asked."""

    def __init__(self, answer: Run) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def prepare(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        """Nothing to prepare."""
        return ""

    def run(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        self.asked.append(inputs)
        return self.answer


def bench(parrot: Parrot) -> Workbench:
    return Workbench({"linux": parrot}, contained=False)


DONE = Run(
    status=Status.OK,
    outputs=np.array([[3, 4, 5, 2], [0, 0, 0, 0]], np.int8).tobytes(),
    layout=(TensorLayout((1, 4), "int8"),),
    figures=Figures(instructions=Figure(12.5, "instructions")),
    image="tinymlops/x:1",
)


def test_a_run_becomes_a_measurement_and_outputs() -> None:
    model = dense()
    outcome = benchmark(model, INPUTS, ZERO, facts_of(model, "int8"), bench=bench(Parrot(DONE)))
    measurement = outcome.measurement
    assert (measurement.status, measurement.reason, measurement.scores) == (Status.OK, "", None)
    assert (measurement.device, measurement.runtime) == ("raspberry-pi-zero-2", "litert 1.4.0, xnnpack")
    assert measurement.instructions == Figure(12.5, "instructions")
    assert measurement.outputs_sha256 == hashlib.sha256(DONE.outputs).hexdigest()
    assert measurement.image == "tinymlops/x:1"
    assert outcome.outputs is not None
    np.testing.assert_array_equal(outcome.outputs, [[0, 1, 2, -1], [-3, -3, -3, -3]])


def test_a_failed_run_keeps_its_reason_and_has_no_outputs() -> None:
    model = dense()
    failed = Run(status=Status.OUT_OF_MEMORY, reason="it needs more than 1 MiB")
    outcome = benchmark(model, INPUTS, ZERO, facts_of(model, "int8"), bench=bench(Parrot(failed)))
    assert (outcome.measurement.status, outcome.measurement.reason) == (failed.status, failed.reason)
    assert outcome.outputs is None
    assert outcome.measurement.outputs_sha256 == ""


def test_a_model_that_the_runtime_lacks_operators_for_is_never_started() -> None:
    model, parrot = with_operator(BuiltinOperator.STABLEHLO_ABS), Parrot(DONE)
    outcome = benchmark(model, np.zeros((1, 2)), ZERO, facts_of(model, "odd"), bench=bench(parrot))
    assert outcome.measurement.status is Status.UNSUPPORTED_OPERATOR
    assert outcome.measurement.reason == "litert 1.4.0 has no STABLEHLO_ABS"
    assert parrot.asked == []


def test_a_vetoed_variant_is_measured_like_any_other() -> None:
    model = dense()
    facts = msgspec.structs.replace(facts_of(model, "int8"), vetoed="too far below float")
    assert benchmark(model, INPUTS, ZERO, facts, bench=bench(Parrot(DONE))).measurement.status is Status.OK


def test_unreadable_models_and_unfit_inputs_are_errors_before_anything_runs() -> None:
    model, parrot = dense(), Parrot(DONE)
    with pytest.raises(ModelFileError, match=r"^int8\.tflite "):
        benchmark(b"nonsense", INPUTS, ZERO, facts_of(model, "int8"), bench=bench(parrot))
    with pytest.raises(UsageError, match="a row has 3 values"):
        benchmark(model, np.zeros((1, 3)), ZERO, facts_of(model, "int8"), bench=bench(parrot))
    assert parrot.asked == []


def test_a_kind_without_a_backend_is_a_profile_error() -> None:
    strange = msgspec.structs.replace(ZERO, kind="toaster")
    with pytest.raises(ProfileError, match="of kind 'toaster'"):
        bench(Parrot(DONE)).backend(strange)


def test_facts_are_those_of_the_file() -> None:
    model = dense()
    facts = facts_of(model, "int8")
    assert (facts.recipe, facts.model_bytes, facts.sha256) == ("int8", len(model), hashlib.sha256(model).hexdigest())
    assert facts.gzip_bytes == len(gzip.compress(model, 9, mtime=0))


def test_random_inputs_are_seeded_and_cover_the_range_of_a_quantized_input() -> None:
    model = read_model(dense(), "m")
    inputs = random_inputs(model, 500, seed=1)
    assert inputs.shape == (500, 16)
    assert (inputs.min(), inputs.max()) == (-64, 63.5)
    np.testing.assert_array_equal(inputs, random_inputs(model, 500, seed=1))
    assert (inputs != random_inputs(model, 500, seed=2)).any()


def test_no_engine_is_one_sentence_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert not Engine.available()
    with pytest.raises(EngineError, match="no container engine answers") as caught:
        Engine.connect()
    assert "infra/engine.sh" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_an_engine_a_foreign_device_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    alone = Workbench.open()
    assert not alone.contained
    with pytest.raises(EngineError, match="Raspberry Pi Zero 2 W needs a container, and no container engine answers"):
        alone.prepare(ZERO)
