/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TINYMLOPS_TAPS_H
#define TINYMLOPS_TAPS_H

#include <stdint.h>

/* The taps of a kernel that lie inside the picture, along one axis: from first, up to but without end. */
typedef struct {
    int32_t first, end;
} tinymlops_taps;

/* start: where the first tap lies on the input's axis of `side` values; taps lie `dilation` apart. */
static inline tinymlops_taps tinymlops_taps_inside(int32_t start, int32_t side, int32_t kernel, int32_t dilation)
{
    tinymlops_taps taps = {0, kernel};
    if (start < 0) {
        taps.first = ((-start) + dilation - 1) / dilation;
    }
    if ((start + ((kernel - 1) * dilation)) >= side) {
        taps.end = (start >= side) ? 0 : (((side - start) + dilation - 1) / dilation);
    }
    /* A kernel that misses the picture altogether has no taps inside. */
    taps.first = (taps.first > kernel) ? kernel : taps.first;
    taps.end = (taps.end < taps.first) ? taps.first : taps.end;
    return taps;
}

#endif
