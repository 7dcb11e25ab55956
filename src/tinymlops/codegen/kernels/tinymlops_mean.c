/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"

static int32_t sum_of(const tinymlops_average *average, const int8_t *input)
{
    const int32_t *side = average->averaged_side;
    const int32_t *step = average->averaged_step;
    int32_t sum = 0;
    for (int32_t i = 0; i < side[0]; i++) {
        for (int32_t j = 0; j < side[1]; j++) {
            for (int32_t k = 0; k < side[2]; k++) {
                const int8_t *row = &input[(i * step[0]) + (j * step[1]) + (k * step[2])];
                for (int32_t l = 0; l < side[3]; l++) {
                    sum += row[l * step[3]];
                }
            }
        }
    }
    return sum;
}

void tinymlops_mean_s8(const tinymlops_average *average, const int8_t *input, int8_t *output)
{
    const int32_t *side = average->side;
    const int32_t *step = average->step;
    int8_t *next = output;
    for (int32_t i = 0; i < side[0]; i++) {
        for (int32_t j = 0; j < side[1]; j++) {
            for (int32_t k = 0; k < side[2]; k++) {
                for (int32_t l = 0; l < side[3]; l++) {
                    const int32_t at = (i * step[0]) + (j * step[1]) + (k * step[2]) + (l * step[3]);
                    const int32_t sum = tinymlops_wrapping_add(sum_of(average, &input[at]), average->offset);
                    *next++ = tinymlops_output(tinymlops_requantize(sum, average->multiplier, average->shift),
                                               average->zero_point, INT8_MIN, INT8_MAX);
                }
            }
        }
    }
}
