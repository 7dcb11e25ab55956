from __future__ import annotations

import msgspec
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator

from tests.unit.devices.flatbuffer_models import dense, with_operator
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.operators import check_operators, refuse
from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import load_runtime
from tinymlops.measurement import Status
from tinymlops.model_file import read_model

RUNTIMES = ["litert-2.3.0", "litert-1.4.0", "tflite-runtime-2.14.0"]


def int8_only() -> DeviceProfile:
    zero = load_profile("raspberry-pi-zero-2")
    return msgspec.structs.replace(zero, runtime=msgspec.structs.replace(zero.runtime, int8_only=True))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_dense_int8_model_is_supported_everywhere(runtime: str) -> None:
    assert check_operators(read_model(dense(), "m"), load_runtime(runtime)) == ""


def test_the_missing_operator_and_the_runtime_are_named() -> None:
    model = read_model(with_operator(BuiltinOperator.STABLEHLO_ABS), "m")
    assert check_operators(model, load_runtime("litert-1.4.0")) == "litert 1.4.0 has no STABLEHLO_ABS"


def test_a_version_that_is_too_new_says_which_one_would_do() -> None:
    model = read_model(dense(version=14), "m")
    assert check_operators(model, load_runtime("litert-2.3.0")) == ""
    reason = check_operators(model, load_runtime("litert-1.4.0"))
    assert reason == "litert 1.4.0 has no FULLY_CONNECTED version 14 (only up to 13)"


def test_a_custom_operator_is_named_unless_the_runtime_brings_it() -> None:
    runtime = load_runtime("litert-2.3.0")
    flex = read_model(with_operator(BuiltinOperator.CUSTOM, custom="FlexErf"), "m")
    known = read_model(with_operator(BuiltinOperator.CUSTOM, custom="TFLite_Detection_PostProcess"), "m")
    assert check_operators(flex, runtime) == "litert 2.3.0 has no custom operator FlexErf"
    assert check_operators(known, runtime) == ""


def test_an_int8_only_profile_refuses_a_float_model_and_takes_an_integer_one() -> None:
    profile, runtime = int8_only(), load_runtime("litert-1.4.0")
    status, reason = refuse(read_model(dense(dtype="float32", version=1), "m"), profile, runtime)
    assert status is Status.UNSUPPORTED_TYPE
    assert reason == "only int8 models run here, and this one has float32 tensors"
    assert refuse(read_model(dense(), "m"), profile, runtime) == (Status.OK, "")


def test_an_int8_only_profile_wants_int8_at_both_ends() -> None:
    whole = with_operator(BuiltinOperator.ABS, dtype="int32")
    status, reason = refuse(read_model(whole, "m"), int8_only(), load_runtime("generated-c"))
    assert status is Status.UNSUPPORTED_TYPE
    assert reason == "only int8 models run here, and 'input' is int32 with a scale of 0"


def test_a_generator_knows_its_operators_itself() -> None:
    assert check_operators(read_model(with_operator(BuiltinOperator.ABS), "m"), load_runtime("generated-c")) == ""
