"""Generated C on every core, in real emulators in real containers, held against TensorFlow Lite Micro bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from bench.mlperf_tiny import networks
from tests.integration.workloads.quick import WORKLOADS
from tests.unit.devices.flatbuffer_models import dense, with_operator
from tinymlops.benchmarking import Outcome, Workbench, benchmark, random_inputs
from tinymlops.codegen import GeneratedModel, GeneratedOperator, GeneratedTensor
from tinymlops.compression.recipes import RECIPES, Precision
from tinymlops.compression.variants import compress
from tinymlops.devices.catalogue import load_profile, profiles
from tinymlops.devices.engine import Engine
from tinymlops.devices.microcontroller import MicrocontrollerBackend
from tinymlops.devices.microcontroller.job import Job
from tinymlops.devices.microcontroller.targets import Target, targets
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import load_runtime
from tinymlops.devices.tensors import encode
from tinymlops.errors import NotApplicableError
from tinymlops.files import sha256
from tinymlops.measurement import Figure, Status, facts_of
from tinymlops.model_file import read_model
from tinymlops.selection import fits
from tinymlops.training import TrainedNetwork, train

pytestmark = pytest.mark.docker

FILE = Path(__file__).with_name("workloads") / "quick.py"
SEED = 3
ROWS = 6
COMPILED = [profile for profile in profiles() if profile.kind in {"microcontroller", "compiled"}]
L4R5 = load_profile("nucleo-l4r5zi")
M3 = msgspec.structs.replace(L4R5, name="cortex-m3", cpu="cortex-m3", calibration=None)
INT8 = [name for name, recipe in RECIPES.items() if recipe.precision in {Precision.INT8, Precision.QAT}]


@pytest.fixture(scope="module")
def bench() -> Workbench:
    opened = Workbench.contain(Engine.connect(), timeout_s=120)
    opened.prepare(L4R5, print)
    return opened


def measure(model: bytes, profile: DeviceProfile, bench: Workbench, rows: int = ROWS) -> Outcome:
    inputs = random_inputs(read_model(model, "m"), rows, seed=7)
    return benchmark(model, inputs, profile, facts_of(model, "m"), bench=bench)


def truth(model: bytes, rows: int = ROWS) -> str:
    """Digest of what TensorFlow Lite Micro's own interpreter gives for the same inputs."""
    from tflite_micro import runtime

    described = read_model(model, "m")
    raw = np.frombuffer(encode(random_inputs(described, rows, seed=7), described), np.int8).reshape(rows, -1)
    interpreter = runtime.Interpreter.from_bytes(model)
    outputs = []
    for row in raw:
        interpreter.set_input(row.reshape(described.inputs[0].one_row), 0)
        interpreter.invoke()
        outputs.append(np.asarray(interpreter.get_output(0), np.int8).tobytes())
    return sha256(b"".join(outputs))


def seconds(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def value(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


# --- one layer on every device


@pytest.mark.parametrize("profile", COMPILED, ids=lambda p: p.name)
def test_a_core_gives_tflite_micros_bits_and_an_exact_repeatable_count(
    profile: DeviceProfile, bench: Workbench
) -> None:
    model = dense(256, 64)
    first = measure(model, profile, bench).measurement
    assert first.status is Status.OK, first.reason
    assert first.outputs_sha256 == truth(model)
    again = measure(model, profile, bench).measurement
    assert again.instructions == first.instructions
    assert again.operators == first.operators
    (layer,) = first.operators
    assert layer.operator == "FULLY_CONNECTED"
    assert layer.macs == 256 * 64
    assert sum(layer.classes.values()) == pytest.approx(layer.instructions)
    assert 0 < value(first.instructions) - layer.instructions < 3000  # copies in and out
    assert 0.2 < (layer.per_mac or 0) < 20
    assert first.runtime.startswith("generated C, ")
    assert first.latency_p95 is None
    assert (first.latency_p50 is None) == (profile.calibration is None)


@pytest.mark.parametrize("profile", COMPILED, ids=lambda p: p.name)
def test_memory_is_read_from_the_program_and_the_stack_from_its_paint(profile: DeviceProfile, bench: Workbench) -> None:
    small, large = (measure(dense(256, classes), profile, bench).measurement for classes in (16, 64))
    assert value(large.flash) - value(small.flash) == pytest.approx(48 * 256, abs=1500)
    assert 48 < value(small.stack) < 2048
    buffers = 256 + 16
    assert value(small.peak_memory) >= buffers + value(small.arena) + value(small.stack) - 64
    assert value(small.peak_memory) < buffers + value(small.arena) + value(small.stack) + 256


@pytest.mark.parametrize("profile", [L4R5, load_profile("raspberry-pi-pico")], ids=lambda p: p.name)
def test_one_round_trip_takes_under_a_second_and_a_half(profile: DeviceProfile, bench: Workbench) -> None:
    model = dense(256, 64)
    measure(model, profile, bench)  # compiles the kernels that no model needed before
    assert any(seconds(lambda: measure(model, profile, bench)) < 1.5 for _ in range(12)), (
        "not even once in twelve tries"
    )


# --- the counter itself


def counted_by_hand(operators: int) -> GeneratedModel:
    """A "model" whose operator i is i % 7 instructions that do nothing, over many pages of code."""
    nops = '__asm__ volatile(".rept {}\\n nop\\n .endr");'
    steps = "".join(
        f"TINYMLOPS_OPERATOR_BEGIN({i}); {nops.format(i % 7)} TINYMLOPS_OPERATOR_END({i});\n" for i in range(operators)
    )
    header = "#include <stdint.h>\n#define MODEL_INPUT_BYTES 4\n#define MODEL_OUTPUT_BYTES 4\n"
    header += "void model_invoke(const int8_t *input, int8_t *output);\n"
    source = '#include "model.h"\nvoid model_invoke(const int8_t *input, int8_t *output)\n{\n'
    source += f"{steps}for (int i = 0; i < 4; i++) output[i] = input[i];\n}}\n"
    end = GeneratedTensor("x", (1, 4), "int8", 1.0, 0, 4)
    return GeneratedModel(
        files={"model.c": source.encode(), "model.h": header.encode()},
        sources=("model.c",),
        include_folders=(".",),
        arena_bytes=0,
        scratch_bytes=0,
        constant_bytes=0,
        operators=tuple(GeneratedOperator(i, "NOP", f"layer {i}", 0, "none") for i in range(operators)),
        inputs=(end,),
        outputs=(end,),
        kernels="none",
    )


@pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
def test_every_instruction_between_marks_is_counted_wherever_it_lies(target: Target) -> None:
    backend = MicrocontrollerBackend(Engine.connect(), timeout_s=60)
    image = backend.prepare(L4R5, load_runtime("generated-c"), print)
    run = backend._contain(Job(image, target, counted_by_hand(1500)), bytes(range(12)), L4R5)
    assert run.status is Status.OK, run.reason
    assert run.outputs == bytes(range(12))
    assert [cost.instructions for cost in run.figures.operators] == [i % 7 for i in range(1500)]
    assert all(set(cost.classes) <= {"arithmetic"} for cost in run.figures.operators)


# --- networks


@cache
def shaped_like_mlperf_tiny() -> dict[str, bytes]:
    return networks()


CORES = {
    "cortex-m3": M3,
    **{name: load_profile(name) for name in ("nucleo-l4r5zi", "nucleo-h7a3", "corstone-300")},
}
MOST: dict[str, dict[str, int]] = {
    "cortex-m3": {"kws": 10_486_181, "ad": 951_715, "ic": 40_348_451, "vww": 31_712_705},
    "nucleo-l4r5zi": {"kws": 7_870_750, "ad": 575_857, "ic": 31_289_494, "vww": 24_606_996},
    "nucleo-h7a3": {"kws": 7_790_210, "ad": 574_246, "ic": 31_386_476, "vww": 24_392_403},
    "corstone-300": {"kws": 2_099_205, "ad": 256_303, "ic": 12_182_829, "vww": 6_493_328},
}
"""Instructions that a first version of this generator needed with the same kernels."""
MOST_ARENA = {"kws": 20_480, "ad": 768, "ic": 51_472, "vww": 69_136}


@pytest.mark.parametrize("core", MOST)
@pytest.mark.parametrize("task", ["kws", "ad", "ic", "vww"])
def test_a_benchmark_network_has_tflite_micros_bits_and_costs_no_more_than_it_did(
    task: str, core: str, bench: Workbench
) -> None:
    model = shaped_like_mlperf_tiny()[task]
    measurement = measure(model, CORES[core], bench, rows=2).measurement
    assert measurement.status is Status.OK, measurement.reason
    assert measurement.outputs_sha256 == truth(model, rows=2)
    assert value(measurement.instructions) <= 1.02 * MOST[core][task]
    assert value(measurement.arena) <= MOST_ARENA[task]


@pytest.mark.parametrize("profile", [p for p in COMPILED if p.calibration is not None], ids=lambda p: p.name)
def test_a_boards_calibration_has_the_counts_that_are_counted(profile: DeviceProfile, bench: Workbench) -> None:
    assert profile.calibration is not None
    for point in profile.calibration.points:
        measurement = measure(shaped_like_mlperf_tiny()[point.task], profile, bench, rows=2).measurement
        assert value(measurement.instructions) == pytest.approx(point.instructions, rel=0.02), "bench/calibration.py"


def test_what_does_not_fit_runs_all_the_same_and_says_by_how_much(bench: Workbench) -> None:
    pico = load_profile("raspberry-pi-pico")
    measurement = measure(shaped_like_mlperf_tiny()["vww"], pico, bench, rows=1).measurement
    assert measurement.status is Status.OK
    needs = f"needs {value(measurement.peak_memory):,.0f} B of 65,536 B RAM"
    assert needs in fits(measurement, pico.budgets)


# --- the project's own workloads


@cache
def trained(name: str) -> TrainedNetwork:
    return train(f"{FILE}:{name}", SEED)


def variants(name: str) -> Iterator[tuple[str, bytes]]:
    for recipe in INT8:
        try:
            yield recipe, compress(f"{FILE}:{name}", SEED, trained(name), RECIPES[recipe]).tflite
        except NotApplicableError:
            continue


@pytest.mark.parametrize("name", [workload.__name__ for workload in WORKLOADS])
def test_every_int8_recipe_of_a_workload_has_tflite_micros_bits_on_every_core(name: str, bench: Workbench) -> None:
    seen: list[Any] = []
    for recipe, model in variants(name):
        right = truth(model)
        for profile in COMPILED:
            measurement = measure(model, profile, bench).measurement
            assert measurement.status is Status.OK, (recipe, profile.name, measurement.reason)
            assert measurement.outputs_sha256 == right, (recipe, profile.name)
            seen.append((recipe, profile.name))
    assert len(seen) >= 4 * len(COMPILED)


# --- what does not run


@pytest.mark.parametrize("profile", [L4R5, load_profile("ethos-u55-128")], ids=lambda p: p.name)
def test_types_and_operators_that_are_missing_are_named(profile: DeviceProfile, bench: Workbench) -> None:
    real = measure(dense(dtype="float32", version=1), profile, bench).measurement
    assert (real.status, real.reason) == (
        Status.UNSUPPORTED_TYPE,
        "only int8 models run here, and this one has float32 tensors",
    )
    odd = measure(with_operator(BuiltinOperator.ABS, dtype="int8"), profile, bench).measurement
    assert odd.status is Status.UNSUPPORTED_OPERATOR
    assert "ABS" in odd.reason
    assert "'output'" in odd.reason


def test_a_model_that_takes_too_long_is_stopped() -> None:
    impatient = Workbench.contain(Engine.connect(), timeout_s=1)
    slow = measure(dense(256, 64), load_profile("raspberry-pi-pico"), impatient, rows=30_000).measurement
    assert (slow.status, slow.reason) == (Status.TIMED_OUT, "it was not done after 1 s")


# --- the NPU


@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256"])
def test_an_npu_is_estimated_and_its_bits_come_from_the_core_beside_it(name: str, bench: Workbench) -> None:
    model = dense(256, 64)
    measurement = measure(model, load_profile(name), bench).measurement
    assert measurement.status is Status.OK, measurement.reason
    assert measurement.outputs_sha256 == truth(model)
    assert measurement.runtime.startswith("Vela 5.2.0; outputs from generated C, CMSIS-NN 4.0.0")
    assert value(measurement.npu_share) == 1
    for figure in (measurement.latency_p50, measurement.peak_memory, measurement.flash, measurement.npu_share):
        assert figure is not None
        assert figure.provenance == "estimated"
    assert measurement.instructions is None
