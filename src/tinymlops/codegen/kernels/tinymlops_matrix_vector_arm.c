/* SPDX-License-Identifier: Apache-2.0
 *
 * The matrix-vector product for Cortex-M with CMSIS-NN: CMSIS-NN 4.0.0 has no fully connected kernel with a multiplier
 * for each row. With Helium 16 products an instruction, with the DSP extension two, else one.
 */
#include "arm_nnsupportfunctions.h"
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"

static int8_t finished(const tinymlops_requantization *to, int32_t row, int32_t sum, int32_t bias)
{
    const int32_t at = row * to->step;
    const int32_t total = tinymlops_wrapping_add(sum, bias);
    return tinymlops_output(tinymlops_requantize(total, to->multiplier[at], to->shift[at]), to->zero_point, to->low,
                            to->high);
}

#if defined(ARM_MATH_MVEI)

static void four_rows(const int8_t *input, const int8_t *weights, int32_t columns, int32_t sums[4])
{
    const int8_t *row0 = weights;
    const int8_t *row1 = &row0[columns];
    const int8_t *row2 = &row1[columns];
    const int8_t *row3 = &row2[columns];
    int32_t sum0 = 0;
    int32_t sum1 = 0;
    int32_t sum2 = 0;
    int32_t sum3 = 0;
    for (int32_t left = columns, at = 0; left > 0; left -= 16, at += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)left);
        const int8x16_t values = vldrbq_z_s8(&input[at], lanes);
        sum0 = vmladavaq_s8(sum0, values, vldrbq_z_s8(&row0[at], lanes));
        sum1 = vmladavaq_s8(sum1, values, vldrbq_z_s8(&row1[at], lanes));
        sum2 = vmladavaq_s8(sum2, values, vldrbq_z_s8(&row2[at], lanes));
        sum3 = vmladavaq_s8(sum3, values, vldrbq_z_s8(&row3[at], lanes));
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

static int32_t one_row(const int8_t *input, const int8_t *weights, int32_t columns)
{
    int32_t sum = 0;
    for (int32_t left = columns, at = 0; left > 0; left -= 16, at += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)left);
        sum = vmladavaq_s8(sum, vldrbq_z_s8(&input[at], lanes), vldrbq_z_s8(&weights[at], lanes));
    }
    return sum;
}

#else

static int32_t one_row(const int8_t *input, const int8_t *weights, int32_t columns)
{
    int32_t sum = 0;
    for (int32_t column = 0; column < columns; column++) {
        sum += (int32_t)input[column] * weights[column];
    }
    return sum;
}

/* Four rows at a time: each input is loaded and widened once for all. As a part of its caller it would run out of
 * registers. */
__attribute__((noinline)) static void four_rows(const int8_t *input, const int8_t *weights, int32_t columns, int32_t sums[4])
{
    const int8_t *value = input;
    const int8_t *row = weights;
    int32_t sum0 = 0;
    int32_t sum1 = 0;
    int32_t sum2 = 0;
    int32_t sum3 = 0;

#if defined(ARM_MATH_DSP)
    for (const int8_t *const end = &input[columns & ~3]; value != end; value += 4, row += 4) {
        const uint32_t values = (uint32_t)arm_nn_read_s8x4(value);
        const uint32_t even = __SXTB16(values);
        const uint32_t odd = __SXTB16_RORn(values, 8);
        uint32_t four = (uint32_t)arm_nn_read_s8x4(row);
        sum0 = (int32_t)__SMLAD(__SXTB16(four), even, (uint32_t)sum0);
        sum0 = (int32_t)__SMLAD(__SXTB16_RORn(four, 8), odd, (uint32_t)sum0);
        four = (uint32_t)arm_nn_read_s8x4(&row[columns]);
        sum1 = (int32_t)__SMLAD(__SXTB16(four), even, (uint32_t)sum1);
        sum1 = (int32_t)__SMLAD(__SXTB16_RORn(four, 8), odd, (uint32_t)sum1);
        four = (uint32_t)arm_nn_read_s8x4(&row[2 * columns]);
        sum2 = (int32_t)__SMLAD(__SXTB16(four), even, (uint32_t)sum2);
        sum2 = (int32_t)__SMLAD(__SXTB16_RORn(four, 8), odd, (uint32_t)sum2);
        four = (uint32_t)arm_nn_read_s8x4(&row[3 * columns]);
        sum3 = (int32_t)__SMLAD(__SXTB16(four), even, (uint32_t)sum3);
        sum3 = (int32_t)__SMLAD(__SXTB16_RORn(four, 8), odd, (uint32_t)sum3);
    }
#endif
    for (; value != &input[columns]; value++, row++) {
        const int32_t one = *value;
        sum0 += one * row[0];
        sum1 += one * row[columns];
        sum2 += one * row[2 * columns];
        sum3 += one * row[3 * columns];
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

#endif

void tinymlops_matrix_vector_s8(const tinymlops_requantization *to, const int8_t *input, const int8_t *weights,
                                const int32_t *bias, int32_t columns, int32_t rows, int8_t *output)
{
    int32_t row = 0;
    for (; (row + 4) <= rows; row += 4) {
        int32_t sums[4];
        four_rows(input, &weights[row * columns], columns, sums);
        for (int32_t i = 0; i < 4; i++) {
            output[row + i] = finished(to, row + i, sums[i], bias[row + i]);
        }
    }
    for (; row < rows; row++) {
        output[row] = finished(to, row, one_row(input, &weights[row * columns], columns), bias[row]);
    }
}
