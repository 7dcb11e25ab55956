/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"

/* Inputs gain 20 bits before they are brought to a common scale, so that rounding there costs nothing. */
#define HEADROOM INT32_C(1048576)

static int32_t scaled(int32_t value, int32_t multiplier, int32_t shift)
{
    return tinymlops_divide_by_power_of_two(tinymlops_doubling_high_multiply(value * HEADROOM, multiplier), shift);
}

static int8_t summed(const tinymlops_sum *sum, int32_t a, int32_t b)
{
    const int32_t total =
        tinymlops_divide_by_power_of_two(tinymlops_doubling_high_multiply(a + b, sum->multiplier), sum->shift);
    return tinymlops_output(total, sum->zero_point, sum->low, sum->high);
}

/* The parameters are copied: an output of int8_t may lie anywhere, so they would be read anew for every value. */
static void add_row(const tinymlops_sum *shared, int32_t sign, const tinymlops_broadcast *over, const int8_t *a,
                    const int8_t *b, int8_t *output)
{
    const tinymlops_sum sum = *shared;
    const int32_t a_step = over->a_step[TINYMLOPS_MAX_RANK - 1];
    const int32_t b_step = over->b_step[TINYMLOPS_MAX_RANK - 1];
    const int32_t count = over->side[TINYMLOPS_MAX_RANK - 1];
    for (int32_t i = 0; i < count; i++) {
        const int32_t first = scaled(a[i * a_step] - sum.a_zero_point, sum.a_multiplier, sum.a_shift);
        const int32_t second = scaled(b[i * b_step] - sum.b_zero_point, sum.b_multiplier, sum.b_shift);
        output[i] = summed(&sum, first, sign * second);
    }
}

static void add_all(const tinymlops_sum *sum, int32_t sign, const tinymlops_broadcast *over, const int8_t *a,
                    const int8_t *b, int8_t *output)
{
    int8_t *next = output;
    for (int32_t i = 0; i < over->side[0]; i++) {
        for (int32_t j = 0; j < over->side[1]; j++) {
            for (int32_t k = 0; k < over->side[2]; k++) {
                const int32_t a_at = (i * over->a_step[0]) + (j * over->a_step[1]) + (k * over->a_step[2]);
                const int32_t b_at = (i * over->b_step[0]) + (j * over->b_step[1]) + (k * over->b_step[2]);
                add_row(sum, sign, over, &a[a_at], &b[b_at], next);
                next = &next[over->side[3]];
            }
        }
    }
}

void tinymlops_add_s8(const tinymlops_sum *sum, const tinymlops_broadcast *over, const int8_t *a, const int8_t *b,
                      int8_t *output)
{
    add_all(sum, 1, over, a, b, output);
}

void tinymlops_sub_s8(const tinymlops_sum *sum, const tinymlops_broadcast *over, const int8_t *a, const int8_t *b,
                      int8_t *output)
{
    add_all(sum, -1, over, a, b, output);
}

static void multiply_row(const tinymlops_product *shared, const tinymlops_broadcast *over, const int8_t *a,
                         const int8_t *b, int8_t *output)
{
    const tinymlops_product product = *shared;
    const int32_t a_step = over->a_step[TINYMLOPS_MAX_RANK - 1];
    const int32_t b_step = over->b_step[TINYMLOPS_MAX_RANK - 1];
    const int32_t count = over->side[TINYMLOPS_MAX_RANK - 1];
    for (int32_t i = 0; i < count; i++) {
        const int32_t both = (a[i * a_step] - product.a_zero_point) * (b[i * b_step] - product.b_zero_point);
        output[i] = tinymlops_output(tinymlops_requantize(both, product.multiplier, product.shift),
                                     product.zero_point, product.low, product.high);
    }
}

void tinymlops_mul_s8(const tinymlops_product *product, const tinymlops_broadcast *over, const int8_t *a,
                      const int8_t *b, int8_t *output)
{
    int8_t *next = output;
    for (int32_t i = 0; i < over->side[0]; i++) {
        for (int32_t j = 0; j < over->side[1]; j++) {
            for (int32_t k = 0; k < over->side[2]; k++) {
                const int32_t a_at = (i * over->a_step[0]) + (j * over->a_step[1]) + (k * over->a_step[2]);
                const int32_t b_at = (i * over->b_step[0]) + (j * over->b_step[1]) + (k * over->b_step[2]);
                multiply_row(product, over, &a[a_at], &b[b_at], next);
                next = &next[over->side[3]];
            }
        }
    }
}
