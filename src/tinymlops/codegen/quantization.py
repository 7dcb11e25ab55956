"""From scales to integers: multipliers, ranges and tables, computed as TensorFlow Lite Micro's kernels prepare them.

Where the reference computes in float32, so does this; where it would abort or shift by more bits than there are,
a ``ValueError`` says what is wrong with the scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinymlops.codegen import fixed_point as fp

INT8_MIN, INT8_MAX = -128, 127
Table = np.ndarray[tuple[int], np.dtype[np.int8]]
_SOFTMAX_INTEGER_BITS = 5
_LOGISTIC_INTEGER_BITS = 4
_ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
_LARGEST_SHIFT = 30


def float32(value: float) -> np.float32:
    """``value`` as the reference's float."""
    return np.float32(value)


def multiplier_of(real: float) -> tuple[int, int]:
    """Multiplier and shift with real ≈ multiplier · 2^(shift - 31) (``QuantizeMultiplier``).

    Raises:
        ValueError: Not a number that a multiplier can stand for.
    """
    if not (math.isfinite(real) and real >= 0):
        raise ValueError(f"scales that make a multiplier of {real}")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = fp.rounded(fraction * (1 << 31))
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    if shift > _LARGEST_SHIFT:
        raise ValueError(f"scales that make a multiplier of {real:.3g}, more than 2^{_LARGEST_SHIFT}")
    return (0, 0) if shift < -31 else (multiplier, shift)


def multiplier_below_one(real: float) -> tuple[int, int]:
    """Multiplier and shift to the right, 0 to 31.

    Raises:
        ValueError: ``real`` is 0, 1 or more, or rounds to 1.
    """
    if not 0 < real < 1:
        raise ValueError(f"scales that make a multiplier of {real:.3g}, which must lie between 0 and 1")
    multiplier, shift = multiplier_of(real)
    if shift > 0:
        raise ValueError(f"scales that make a multiplier of {real:.9g}, which rounds to 1")
    return multiplier, -shift


def activation_range(activation: int, scale: float, zero_point: int) -> tuple[int, int]:
    """Smallest and largest output that a fused activation leaves (``CalculateActivationRangeQuantized``).

    Raises:
        ValueError: An activation without an int8 form, or a scale that is too small for it.
    """
    name = _ACTIVATIONS.get(activation)
    if name is None:
        raise ValueError(f"fused activation {activation}, which has no int8 form")

    def quantized(real: float) -> int:
        steps = float(float32(real) / float32(scale)) if scale else math.inf
        if not abs(steps) <= fp.INT32_MAX:
            raise ValueError(f"a scale of {scale:.3g}, too small for {name}")
        return zero_point + fp.rounded(steps)

    low = {"RELU": 0.0, "RELU6": 0.0, "RELU_N1_TO_1": -1.0}.get(name)
    high = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(name)
    return (
        INT8_MIN if low is None else max(INT8_MIN, quantized(low)),
        INT8_MAX if high is None else min(INT8_MAX, quantized(high)),
    )


def _table(entry: Callable[[int], int], low: int = INT8_MIN, high: int = INT8_MAX) -> Table:
    return np.array([max(low, min(high, entry(value))) for value in range(INT8_MIN, INT8_MAX + 1)], np.int8)


def requantize_table(scales: tuple[float, float], zero_points: tuple[int, int], low: int = INT8_MIN) -> Table:
    """Outputs for inputs -128 … 127 of ``QUANTIZE`` between int8 tensors; in, out.

    Raises:
        ValueError: The scales lie too far apart.
    """
    return _requantized(float(scales[0]) / float(scales[1]), zero_points, low)


def relu_table(scales: tuple[float, float], zero_points: tuple[int, int]) -> Table:
    """Outputs of ``RELU``; in, out. The reference divides the scales in float32.

    Raises:
        ValueError: The scales lie too far apart.
    """
    return _requantized(float(float32(scales[0]) / float32(scales[1])), zero_points, zero_points[1])


def _requantized(real: float, zero_points: tuple[int, int], low: int) -> Table:
    multiplier, shift = multiplier_of(real)
    return _table(
        lambda value: fp.wrapped(fp.requantize(value - zero_points[0], multiplier, shift) + zero_points[1]), low
    )


def relu6_table(scale: float, zero_point: int) -> Table:
    """Outputs of ``RELU6``, which keeps the input's scale.

    Raises:
        ValueError: The scale is too small.
    """
    steps = float(float32(6.0) / float32(scale))
    if not steps <= fp.INT32_MAX - 128:
        raise ValueError(f"a scale of {scale:.3g}, too small for RELU6")
    six = max(INT8_MIN, min(INT8_MAX, fp.rounded(steps) + zero_point))
    return _table(lambda value: six if value > six else max(value, zero_point))


def logistic_table(scale: float, zero_point: int) -> Table:
    """Outputs of ``LOGISTIC``, whose output has scale 1/256 and zero point -128.

    Raises:
        ValueError: The scale is outside what the reference can shift.
    """
    multiplier, shift = multiplier_of(float(float32(scale)) * (1 << (31 - _LOGISTIC_INTEGER_BITS)))
    if shift < 0:
        raise ValueError(f"a scale of {scale:.3g}, too small for LOGISTIC")
    radius = _input_radius(_LOGISTIC_INTEGER_BITS, shift)

    def entry(value: int) -> int:
        centred = value - zero_point
        if abs(centred) >= radius:
            return INT8_MIN if centred < 0 else INT8_MAX
        share = fp.logistic(fp.requantize(centred, multiplier, shift), _LOGISTIC_INTEGER_BITS)
        return fp.divide_by_power_of_two(share, 23) - 128

    return _table(lambda value: INT8_MIN if value - zero_point <= -radius else entry(value))


def _input_radius(integer_bits: int, shift: int) -> int:
    """Largest input whose scaled value still fits (``CalculateInputRadius``)."""
    return math.floor(((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) / (1 << shift))


def softmax_exponentials(beta: float, scale: float) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """exp(-d · scale · beta) for the distances d = 0 … 255 from the largest input, with 31 fractional bits.

    Raises:
        ValueError: The scale is too small for the reference.
    """
    real = min(float(float32(beta)) * float(float32(scale)) * (1 << (31 - _SOFTMAX_INTEGER_BITS)), 2.0**31 - 1.0)
    if not real > 1:
        raise ValueError(f"a scale of {scale:.3g}, too small for SOFTMAX")
    fraction, shift = math.frexp(real)
    multiplier = fp.rounded(fraction * (1 << 31))
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    farthest = _input_radius(_SOFTMAX_INTEGER_BITS, shift)
    return np.array(
        [
            fp.exp_of_negative(_scaled_down(-distance, multiplier, shift), _SOFTMAX_INTEGER_BITS)
            if distance <= farthest
            else 0
            for distance in range(256)
        ],
        np.int32,
    )


def _scaled_down(value: int, multiplier: int, shift: int) -> int:
    return fp.doubling_high_multiply(fp.wrapped(value << shift), multiplier)


def hard_swish_table(scales: tuple[float, float], zero_points: tuple[int, int]) -> Table:
    """Outputs of ``HARD_SWISH``: x · min(max(x + 3, 0), 6) / 6 in 16-bit arithmetic; in, out.

    Raises:
        ValueError: The scales are outside what the reference can shift.
    """
    fine = float32(scales[0]) * float32(1.0 / 128.0)
    output, output_shift = multiplier_of(float(fine / float32(scales[1])))
    reluish, reluish_shift = multiplier_of(float(fine / (float32(3.0) / float32(32768.0))))
    if output_shift > 0:
        raise ValueError("an output scale too small for HARD_SWISH")

    def entry(value: int) -> int:
        shifted = (value - zero_points[0]) * 128
        slope = _slope(shifted, _half(reluish), reluish_shift)
        product = slope * fp.doubling_high_multiply(shifted, _half(output), 16)
        scaled = math.trunc(product / 2**15)
        return fp.wrapped(fp.divide_by_power_of_two(scaled, -output_shift, 16) + zero_points[1], 16)

    return _table(entry)


def _half(multiplier: int) -> int:
    """The upper 16 bits of a multiplier, rounded."""
    return 32767 if multiplier >= fp.INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16


def _slope(shifted: int, multiplier: int, shift: int) -> int:
    """The part of the input that passes, in [0, 1] with 15 fractional bits."""
    value = fp.saturated(shifted << max(shift - 1, 0), 16)
    value = fp.doubling_high_multiply(value, multiplier, 16)
    if shift > 0:
        value = fp.saturated(value << 1, 16)
    if shift < 0:
        value = fp.wrapped(fp.divide_by_power_of_two(value, -shift, 16), 16)
    return (value + (1 << 15)) >> 1


def mean_multiplier(scales: tuple[float, float], count: int) -> tuple[int, int]:
    """Multiplier and shift that also divide by ``count`` (``QuantizedMeanOrSum``); scales in, out.

    Raises:
        ValueError: The scales lie too far apart.
    """
    multiplier, shift = multiplier_of(float(scales[0]) / float(scales[1]))
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return fp.wrapped((multiplier << extra) // count), shift - extra
