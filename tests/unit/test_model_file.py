from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.devices.flatbuffer_models import dense, hungry, with_operator
from tinymlops.errors import ModelFileError
from tinymlops.model_file import ModelFile, Operator, TensorSpec, read_model

DENSE = dense()


def test_inputs_and_outputs_carry_shape_type_and_quantization() -> None:
    model = read_model(DENSE, "dense.tflite")
    assert model.inputs == (TensorSpec("input", (1, 16), "int8", 0.5, 0),)
    assert model.outputs == (TensorSpec("output", (1, 4), "int8", 1.0, 3),)


def test_operators_are_counted_with_their_versions() -> None:
    assert read_model(DENSE, "dense.tflite").operators == (Operator("FULLY_CONNECTED", 4, 1),)
    assert [o.name for o in read_model(hungry(1), "h").operators] == ["SUM", "TILE"]


def test_custom_operators_are_named_by_their_code() -> None:
    model = read_model(with_operator(BuiltinOperator.CUSTOM, custom="FlexErf"), "m")
    assert model.operators == (Operator("FlexErf", 1, 1, custom=True),)


def test_an_integer_model_is_fully_integer_and_a_float_one_is_not() -> None:
    assert read_model(DENSE, "m").fully_integer
    assert not read_model(dense(dtype="float32", version=1), "m").fully_integer


def test_weights_come_as_stored_with_their_channel_axis() -> None:
    (weights,) = read_model(DENSE, "m").weight_tensors()
    expected = np.random.default_rng(3).integers(-9, 10, (4, 16))
    assert weights.operator == "FULLY_CONNECTED"
    assert weights.output_channel_axis == 0
    assert weights.values.dtype == np.int8
    np.testing.assert_array_equal(weights.values, expected)


@pytest.mark.parametrize("content", [b"", b"x", b"TFL3", b"\0" * 100, b"\x7fELF" + b"\0" * 60, b"PK\x03\x04TFL2"])
def test_what_is_no_model_is_named_in_one_sentence(content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"^some/model\.tflite ") as caught:
        read_model(content, "some/model.tflite")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", range(8, len(DENSE), 37))
def test_a_truncated_model_is_an_error_or_reads_without_its_tail(kept: int) -> None:
    read_everything(DENSE[:kept])


@settings(max_examples=400, deadline=2000)
@given(st.lists(st.tuples(st.integers(8, len(DENSE) - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_a_mutated_model_never_does_worse_than_a_model_file_error(changes: list[tuple[int, int]]) -> None:
    content = bytearray(DENSE)
    for at, value in changes:
        content[at] = value
    read_everything(bytes(content))


@settings(max_examples=200, deadline=2000)
@given(st.integers(2, len(DENSE) // 4 - 1), st.integers(0, 2**32 - 1))
def test_a_mutated_length_or_offset_never_does_worse_than_a_model_file_error(word: int, value: int) -> None:
    read_everything(DENSE[: 4 * word] + value.to_bytes(4, "little") + DENSE[4 * word + 4 :])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_do_worse_than_a_model_file_error(tail: bytes) -> None:
    read_everything(b"\x10\0\0\0TFL3" + tail)


def read_everything(content: bytes) -> ModelFile | None:
    try:
        model = read_model(content, "m.tflite")
        model.weight_tensors()
    except ModelFileError as error:
        assert "m.tflite" in str(error)  # noqa: PT017 - a readable result is fine too
        return None
    return model
