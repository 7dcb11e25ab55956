/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tinymlops_kernels.h"

void tinymlops_copy_box_s8(const tinymlops_box *box, const int8_t *input, int8_t *output)
{
    const int32_t *side = box->side;
    const int32_t *step = box->step;
    int8_t *next = output;
    for (int32_t i = 0; i < side[0]; i++) {
        for (int32_t j = 0; j < side[1]; j++) {
            for (int32_t k = 0; k < side[2]; k++) {
                const int32_t at = box->first + (i * step[0]) + (j * step[1]) + (k * step[2]);
                if (step[3] == 1) {
                    (void)memcpy(next, &input[at], (size_t)side[3]);
                } else {
                    for (int32_t l = 0; l < side[3]; l++) {
                        next[l] = input[at + (l * step[3])];
                    }
                }
                next = &next[side[3]];
            }
        }
    }
}

void tinymlops_fill_box_s8(const tinymlops_box *box, const int8_t *input, int8_t *output)
{
    const int32_t *side = box->side;
    const int32_t *step = box->step;
    const int8_t *next = input;
    for (int32_t i = 0; i < side[0]; i++) {
        for (int32_t j = 0; j < side[1]; j++) {
            for (int32_t k = 0; k < side[2]; k++) {
                const int32_t at = box->first + (i * step[0]) + (j * step[1]) + (k * step[2]);
                (void)memcpy(&output[at], next, (size_t)side[3]);
                next = &next[side[3]];
            }
        }
    }
}

void tinymlops_resize_nearest_s8(const uint16_t *row, const uint16_t *column, int32_t rows, int32_t columns,
                                 int32_t input_columns, int32_t channels, const int8_t *input, int8_t *output)
{
    int8_t *next = output;
    for (int32_t y = 0; y < rows; y++) {
        for (int32_t x = 0; x < columns; x++) {
            const int32_t at = (((int32_t)row[y] * input_columns) + (int32_t)column[x]) * channels;
            (void)memcpy(next, &input[at], (size_t)channels);
            next = &next[channels];
        }
    }
}
