/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TINYMLOPS_PRODUCTS_H
#define TINYMLOPS_PRODUCTS_H

#include <stdint.h>

/* Sums of two rows of weights: each input is loaded once for both. */
typedef struct {
    int32_t first, second;
} tinymlops_two_sums;

static inline void tinymlops_add_products(tinymlops_two_sums *sums, const int8_t *values, const int8_t *first,
                                          const int8_t *second, int32_t count)
{
    int32_t first_sum = sums->first;
    int32_t second_sum = sums->second;
    int32_t i = 0;

#if defined(__riscv)
    /* Loads take no index here, so that each pointer is moved for each value: four values share a move. */
    for (; (i + 3) < count; i += 4) {
        const int8_t *v = &values[i];
        const int8_t *a = &first[i];
        const int8_t *b = &second[i];
        first_sum += (v[0] * a[0]) + (v[1] * a[1]) + (v[2] * a[2]) + (v[3] * a[3]);
        second_sum += (v[0] * b[0]) + (v[1] * b[1]) + (v[2] * b[2]) + (v[3] * b[3]);
    }
#endif
    for (; i < count; i++) {
        const int32_t value = values[i];
        first_sum += value * first[i];
        second_sum += value * second[i];
    }
    sums->first = first_sum;
    sums->second = second_sum;
}

#endif
