/* SPDX-License-Identifier: Apache-2.0
 *
 * The integer softmax of TensorFlow Lite: exponentials from a table, the reciprocal of their sum by Newton-Raphson
 * (https://en.wikipedia.org/wiki/Division_algorithm#Newton-Raphson_division) on fixed-point numbers.
 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"

/* Sums of exponentials carry 12 integer bits: 2^12 ones fit. */
#define SUM_INTEGER_BITS 12
#define FORTY_EIGHT_SEVENTEENTHS INT32_C(1515870810)           /* 48/17 with 29 fractional bits */
#define MINUS_THIRTY_TWO_SEVENTEENTHS (-INT32_C(1010580540))   /* -32/17, likewise */
#define ONE_OF_29_BITS (INT32_C(1) << 29)

static int32_t leading_zeros(uint32_t value)
{
    int32_t count = 0;
    uint32_t rest = value;
    while ((rest & UINT32_C(0x80000000)) == 0U) {
        rest <<= 1;
        count++;
    }
    return count;
}

/* value * 2^bits, saturated. */
static int32_t saturating_shift_left(int32_t value, int32_t bits)
{
    const int32_t limit = (int32_t)((UINT32_C(1) << (31 - bits)) - 1U);
    if (value > limit) {
        return INT32_MAX;
    }
    if (value < -limit) {
        return INT32_MIN;
    }
    return (int32_t)((uint32_t)value << bits);
}

/* 1 / (1 + x) for x in [0, 1), both with 31 fractional bits. */
static int32_t one_over_one_plus(int32_t x)
{
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t estimate = FORTY_EIGHT_SEVENTEENTHS +
                       tinymlops_doubling_high_multiply(half_denominator, MINUS_THIRTY_TWO_SEVENTEENTHS);
    for (int32_t i = 0; i < 3; i++) {
        const int32_t error = ONE_OF_29_BITS - tinymlops_doubling_high_multiply(half_denominator, estimate);
        estimate += saturating_shift_left(tinymlops_doubling_high_multiply(estimate, error), 2);
    }
    return saturating_shift_left(estimate, 1);
}

void tinymlops_softmax_s8(const int32_t exponential[256], int32_t rows, int32_t columns, const int8_t *input,
                          int8_t *output)
{
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *in = &input[row * columns];
        int8_t *out = &output[row * columns];
        int32_t largest = INT8_MIN;
        int32_t sum = 0;
        for (int32_t i = 0; i < columns; i++) {
            largest = (in[i] > largest) ? in[i] : largest;
        }
        for (int32_t i = 0; i < columns; i++) {
            sum += tinymlops_divide_by_power_of_two(exponential[largest - in[i]], SUM_INTEGER_BITS);
        }
        /* sum = (1 + fraction) * 2^(bits above one) */
        const int32_t zeros = leading_zeros((uint32_t)sum);
        const int32_t fraction = (int32_t)(((uint32_t)sum << zeros) - UINT32_C(0x80000000));
        const int32_t reciprocal = one_over_one_plus(fraction);
        const int32_t right = (SUM_INTEGER_BITS - zeros) + 31 - 8;
        for (int32_t i = 0; i < columns; i++) {
            const int32_t share = tinymlops_doubling_high_multiply(reciprocal, exponential[largest - in[i]]);
            out[i] = (int8_t)tinymlops_clamp(tinymlops_divide_by_power_of_two(share, right) + INT8_MIN, INT8_MIN,
                                             INT8_MAX);
        }
    }
}
