"""Fixed-point arithmetic of TensorFlow Lite Micro and gemmlowp on Python integers, bit for bit.

Raw values are signed integers of ``bits`` bits; a raw value r with n integer bits stands for r · 2^(n - bits + 1).
Source: gemmlowp, ``fixedpoint/fixedpoint.h``; Jacob et al., arXiv 1712.05877, section 2.2.
"""

from __future__ import annotations

import math

INT32_MAX = 2**31 - 1
_EXP_OF_MINUS_ONE_EIGHTH = 1895147668
_ONE_THIRD = 715827883
# exp(-2^k) with 31 fractional bits for k = -2 … 4
_EXP_OF_MINUS_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540


def wrapped(value: int, bits: int = 32) -> int:
    """``value`` modulo 2^bits, as a signed integer."""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half


def saturated(value: int, bits: int = 32) -> int:
    """``value``, or the nearest signed integer of ``bits`` bits."""
    half = 1 << (bits - 1)
    return max(-half, min(half - 1, value))


def doubling_high_multiply(a: int, b: int, bits: int = 32) -> int:
    """A · b / 2^(bits - 1), to nearest, halves up, saturated."""
    return saturated((a * b + (1 << (bits - 2))) >> (bits - 1), bits)


def divide_by_power_of_two(value: int, exponent: int, bits: int = 32) -> int:
    """Value / 2^exponent, to nearest, halves away from zero; as odd as gemmlowp's where exponent ≥ bits."""
    mask = wrapped((1 << exponent) - 1, bits)
    threshold = (mask >> 1) + (value < 0)
    return (value >> exponent) + ((value & mask) > threshold)


def requantize(value: int, multiplier: int, shift: int) -> int:
    """Value · multiplier · 2^(shift - 31), rounded twice (``MultiplyByQuantizedMultiplier``)."""
    shifted = wrapped(value << max(shift, 0))
    return divide_by_power_of_two(doubling_high_multiply(shifted, multiplier), max(-shift, 0))


def rounded(value: float) -> int:
    """To nearest, halves away from zero (C's ``round``)."""
    whole = math.floor(abs(value))
    return int(math.copysign(whole + (abs(value) - whole >= 0.5), value))


def exp_of_negative(raw: int, integer_bits: int) -> int:
    """Exp of a value ≤ 0 with ``integer_bits`` integer bits, as raw value with 31 fractional bits."""
    if raw == 0:
        return INT32_MAX
    fractional_bits = 31 - integer_bits
    quarter = 1 << (fractional_bits - 2)
    part = (raw & (quarter - 1)) - quarter
    result = _exp_near_zero(saturated(part << integer_bits))
    remainder = wrapped(part - raw)
    for power, factor in _EXP_OF_MINUS_POWERS.items():
        if integer_bits > power and remainder & (1 << (fractional_bits + power)):
            result = doubling_high_multiply(result, factor)
    return result


def _exp_near_zero(a: int) -> int:
    """Exp on [-1/4, 0) by Taylor's series around -1/8."""
    x = wrapped(a + (1 << 28))
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4_over_4 = divide_by_power_of_two(doubling_high_multiply(x2, x2), 2)
    tail = divide_by_power_of_two(wrapped(doubling_high_multiply(wrapped(x4_over_4 + x3), _ONE_THIRD) + x2), 1)
    return wrapped(
        _EXP_OF_MINUS_ONE_EIGHTH + doubling_high_multiply(_EXP_OF_MINUS_ONE_EIGHTH, wrapped(x + tail)),
    )


def one_over_one_plus(x: int) -> int:
    """1 / (1 + x) for x in [0, 1), raw values with 31 fractional bits; Newton-Raphson in three steps."""
    half_denominator = (x + INT32_MAX + 1) // 2
    estimate = _48_OVER_17 + doubling_high_multiply(half_denominator, _MINUS_32_OVER_17)
    for _ in range(3):
        error = (1 << 29) - doubling_high_multiply(half_denominator, estimate)
        estimate = wrapped(estimate + saturated(doubling_high_multiply(estimate, error) << 2))
    return saturated(estimate << 1)


def logistic(raw: int, integer_bits: int) -> int:
    """1 / (1 + exp(-x)), result with 31 fractional bits."""
    if raw == 0:
        return 1 << 30
    positive = one_over_one_plus(exp_of_negative(-abs(raw), integer_bits))
    return positive if raw > 0 else INT32_MAX - positive
