/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tinymlops_kernels.h"

/* The values under the kernel, one behind the other; where the kernel hangs over the edge, the zero point. */
static void gather(const tinymlops_window *window, const int8_t *input, int32_t top, int32_t left, int8_t *patch)
{
    const int32_t channels = window->input_channels;
    int8_t *next = patch;

    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        const int32_t y = top + (ky * window->dilation_height);
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            const int32_t x = left + (kx * window->dilation_width);
            if ((y >= 0) && (y < window->input_height) && (x >= 0) && (x < window->input_width)) {
                (void)memcpy(next, &input[((y * window->input_width) + x) * channels], (size_t)channels);
            } else {
                (void)memset(next, (int)window->input_zero_point, (size_t)channels);
            }
            next = &next[channels];
        }
    }
}

void tinymlops_conv_2d_s8(const tinymlops_window *window, const tinymlops_requantization *to, const int8_t *input,
                          const int8_t *weights, const int32_t *bias, int8_t *patch, int8_t *output)
{
    const int32_t columns = window->kernel_height * window->kernel_width * window->input_channels;
    const int pointwise = (window->kernel_height == 1) && (window->kernel_width == 1) && (window->pad_top == 0) &&
                          (window->pad_left == 0);
    int8_t *next = output;

    for (int32_t oy = 0; oy < window->output_height; oy++) {
        const int32_t top = (oy * window->stride_height) - window->pad_top;
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const int32_t left = (ox * window->stride_width) - window->pad_left;
            const int8_t *values = patch;
            if (pointwise) {
                values = &input[((top * window->input_width) + left) * window->input_channels];
            } else {
                gather(window, input, top, left, patch);
            }
            tinymlops_matrix_vector_s8(to, values, weights, bias, columns, window->output_channels, next);
            next = &next[window->output_channels];
        }
    }
}
