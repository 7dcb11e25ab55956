/* SPDX-License-Identifier: Apache-2.0
 *
 * Fixed-point arithmetic of TensorFlow Lite Micro's reference kernels, written so that every step is defined in C99.
 * Sums wrap around modulo 2^32 where the reference lets a signed sum overflow.
 */
#ifndef TINYMLOPS_ARITHMETIC_H
#define TINYMLOPS_ARITHMETIC_H

#include <stdint.h>

/* The kernels rely on two things that C99 leaves to the compiler and every compiler for these processors does:
 * a right shift of a negative number copies its sign, and a conversion to a signed type keeps the low bits. */
typedef char tinymlops_shift_copies_sign[((-1 >> 1) == -1) ? 1 : -1];
typedef char tinymlops_conversion_wraps[((int32_t)UINT32_C(0xFFFFFFFF) == -1) ? 1 : -1];

static inline int32_t tinymlops_clamp(int32_t value, int32_t low, int32_t high)
{
    const int32_t not_low = (value < low) ? low : value;
    return (not_low > high) ? high : not_low;
}

static inline int32_t tinymlops_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* value / 2^exponent, to nearest, halves away from zero; exponent 0 to 31. */
static inline int32_t tinymlops_divide_by_power_of_two(int32_t value, int32_t exponent)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1U);
    const int32_t remainder = value & mask;
    const int32_t threshold = (mask >> 1) + ((value < 0) ? 1 : 0);
    return (value >> exponent) + ((remainder > threshold) ? 1 : 0);
}

/* a * b / 2^31, to nearest, halves up. Never both INT32_MIN: multipliers are not negative. */
#if defined(__ARM_ARCH_6M__) || defined(TINYMLOPS_SHORT_MULTIPLY)
/* The multiplier of these cores gives 32 bits alone: four products of halves cost less than a 64-bit product. */
__attribute__((noinline, unused)) static int32_t tinymlops_doubling_high_multiply(int32_t a, int32_t b)
{
    const uint32_t a_low = (uint32_t)a & 0xFFFFU;
    const uint32_t b_low = (uint32_t)b & 0xFFFFU;
    const int32_t a_high = a >> 16;
    const int32_t b_high = b >> 16;
    const uint32_t low = a_low * b_low;
    const int32_t cross_a = a_high * (int32_t)b_low;
    const int32_t cross_b = (int32_t)a_low * b_high;
    const uint32_t middle = (low >> 16) + ((uint32_t)cross_a & 0xFFFFU) + ((uint32_t)cross_b & 0xFFFFU);
    const int32_t high = (a_high * b_high) + (cross_a >> 16) + (cross_b >> 16) + (int32_t)(middle >> 16);
    /* Bits 31 to 62 of the product, and bit 30 to round by. */
    const uint32_t from_bit_31 = ((uint32_t)high << 1) | ((middle >> 15) & 1U);
    return (int32_t)(from_bit_31 + ((middle >> 14) & 1U));
}
#else
static inline int32_t tinymlops_doubling_high_multiply(int32_t a, int32_t b)
{
    return (int32_t)((((int64_t)a * b) + (INT64_C(1) << 30)) >> 31);
}
#endif

/* value * multiplier * 2^(shift - 31), rounded twice as the reference does; shift -31 to 30. */
static inline int32_t tinymlops_requantize(int32_t value, int32_t multiplier, int32_t shift)
{
    const int32_t left = (shift > 0) ? shift : 0;
    const int32_t right = (shift > 0) ? 0 : -shift;
    const int32_t shifted = (int32_t)((uint32_t)value << left);
    return tinymlops_divide_by_power_of_two(tinymlops_doubling_high_multiply(shifted, multiplier), right);
}

/* A requantized sum as an int8 output: offset added, clamped to the range that the activation leaves. */
static inline int8_t tinymlops_output(int32_t value, int32_t zero_point, int32_t low, int32_t high)
{
    return (int8_t)tinymlops_clamp(tinymlops_wrapping_add(value, zero_point), low, high);
}

#endif
