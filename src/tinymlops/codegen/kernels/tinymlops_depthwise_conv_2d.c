/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"
#include "tinymlops_taps.h"

/* corner: offset of the kernel's first tap, which may lie outside; only taps inside are read. */
static int32_t sum_of(const tinymlops_window *window, const int8_t *input, int32_t corner, const int8_t *weights,
                      tinymlops_taps down, tinymlops_taps along)
{
    const int32_t zero_point = window->input_zero_point;
    const int32_t input_step = window->dilation_width * window->input_channels;
    const int32_t row_step = window->dilation_height * window->input_width * window->input_channels;
    const int32_t weight_step = window->output_channels;
    int32_t sum = 0;

    for (int32_t ky = down.first; ky < down.end; ky++) {
        int32_t at = corner + (ky * row_step) + (along.first * input_step);
        int32_t weight_at = ((ky * window->kernel_width) + along.first) * weight_step;
        for (int32_t count = along.end - along.first; count > 0; count--) {
            sum += (input[at] - zero_point) * weights[weight_at];
            at += input_step;
            weight_at += weight_step;
        }
    }
    return sum;
}

void tinymlops_depthwise_conv_2d_s8(const tinymlops_window *window, const tinymlops_requantization *to,
                                    const int8_t *input, const int8_t *weights, const int32_t *bias, int8_t *output)
{
    const int32_t multiplier = window->output_channels / window->input_channels;
    int8_t *next = output;

    for (int32_t oy = 0; oy < window->output_height; oy++) {
        const int32_t top = (oy * window->stride_height) - window->pad_top;
        const tinymlops_taps down =
            tinymlops_taps_inside(top, window->input_height, window->kernel_height, window->dilation_height);
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const int32_t left = (ox * window->stride_width) - window->pad_left;
            const tinymlops_taps along =
                tinymlops_taps_inside(left, window->input_width, window->kernel_width, window->dilation_width);
            const int32_t corner = ((top * window->input_width) + left) * window->input_channels;
            int32_t channel = 0;
            for (int32_t ic = 0; ic < window->input_channels; ic++) {
                for (int32_t m = 0; m < multiplier; m++, channel++) {
                    const int32_t at = channel * to->step;
                    const int32_t sum = sum_of(window, input, corner + ic, &weights[channel], down, along);
                    const int32_t total = tinymlops_wrapping_add(sum, bias[channel]);
                    *next++ = tinymlops_output(tinymlops_requantize(total, to->multiplier[at], to->shift[at]),
                                               to->zero_point, to->low, to->high);
                }
            }
        }
    }
}
