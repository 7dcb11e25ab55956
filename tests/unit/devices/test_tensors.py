from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.devices.flatbuffer_models import dense
from tinymlops.devices.backend import TensorLayout
from tinymlops.devices.tensors import decode, dequantize, encode, quantize
from tinymlops.errors import UsageError
from tinymlops.model_file import TensorSpec, read_model

INT8 = read_model(dense(), "dense.tflite")
FLOAT = read_model(dense(dtype="float32", version=1), "float.tflite")


@given(
    st.floats(-1000, 1000, width=32),
    st.sampled_from([0.5, 0.01, 0.003, 1 / 256]),
    st.integers(-128, 127),
)
def test_a_value_inside_the_range_comes_back_within_half_a_step(value: float, scale: float, zero_point: int) -> None:
    spec = TensorSpec("t", (1,), "int8", scale, zero_point)
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    stored = quantize(np.array([value], np.float32), spec)
    assert stored.dtype == np.int8
    assert abs(dequantize(stored, spec)[0] - np.clip(value, low, high)) <= scale * 0.5001 + 1e-4


def test_rows_are_laid_one_behind_the_other() -> None:
    raw = encode(np.arange(32, dtype=np.float32).reshape(2, 4, 4), INT8)
    np.testing.assert_array_equal(np.frombuffer(raw, np.int8), np.minimum(np.arange(32) * 2, 127))


def test_floats_go_in_unchanged() -> None:
    values = np.linspace(-1, 1, 32, dtype=np.float64).reshape(2, 16)
    np.testing.assert_array_equal(np.frombuffer(encode(values, FLOAT), np.float32), values.astype(np.float32).ravel())


def test_outputs_come_back_as_real_numbers() -> None:
    raw = np.array([[3, 4, 5, 2], [127, -128, 3, 3]], np.int8).tobytes()
    outputs = decode(raw, (TensorLayout((1, 4), "int8"),), INT8, 2)
    np.testing.assert_array_equal(outputs, [[0, 1, 2, -1], [124, -131, 0, 0]])
    assert outputs.dtype == np.float32


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (np.zeros((0, 16)), "there are no inputs"),
        (np.zeros((3, 15)), "a row has 15 values, and dense.tflite takes 16"),
        (np.full((1, 16), np.nan), "NaN"),
    ],
)
def test_inputs_that_do_not_suit_the_model_are_refused(inputs: np.ndarray, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        encode(inputs, INT8)
