/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"
#include "tinymlops_products.h"

static int8_t finished(const tinymlops_requantization *to, int32_t row, int32_t sum, int32_t bias)
{
    const int32_t at = row * to->step;
    const int32_t total = tinymlops_wrapping_add(sum, bias);
    return tinymlops_output(tinymlops_requantize(total, to->multiplier[at], to->shift[at]), to->zero_point, to->low,
                            to->high);
}

void tinymlops_matrix_vector_s8(const tinymlops_requantization *to, const int8_t *input, const int8_t *weights,
                                const int32_t *bias, int32_t columns, int32_t rows, int8_t *output)
{
    int32_t row = 0;

    for (; (row + 1) < rows; row += 2) {
        const int8_t *first = &weights[row * columns];
        tinymlops_two_sums sums = {0, 0};
        tinymlops_add_products(&sums, input, first, &first[columns], columns);
        output[row] = finished(to, row, sums.first, bias[row]);
        output[row + 1] = finished(to, row + 1, sums.second, bias[row + 1]);
    }
    if (row < rows) {
        const int8_t *last = &weights[row * columns];
        int32_t sum = 0;
        for (int32_t column = 0; column < columns; column++) {
            sum += (int32_t)input[column] * last[column];
        }
        output[row] = finished(to, row, sum, bias[row]);
    }
}
