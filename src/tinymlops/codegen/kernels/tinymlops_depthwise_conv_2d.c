/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"
#include "tinymlops_taps.h"

/* Channels that are summed at a time: their sums stay in registers while the kernel is walked once for all. */
#define BLOCK 4

/* One place of the output. */
typedef struct {
    const tinymlops_window *window;
    const int8_t *input;
    const int8_t *weights;
    int32_t multiplier; /* output channels of each input channel */
    int32_t corner;     /* offset of the first tap, which may lie outside; only taps inside are read */
    tinymlops_taps down, along;
} spot;

static int8_t finished(const tinymlops_requantization *to, int32_t channel, int32_t sum, int32_t bias)
{
    const int32_t at = channel * to->step;
    const int32_t total = tinymlops_wrapping_add(sum, bias);
    return tinymlops_output(tinymlops_requantize(total, to->multiplier[at], to->shift[at]), to->zero_point, to->low,
                            to->high);
}

/* BLOCK neighbouring channels of a layer that makes one output channel of each input channel. */
static void sum_block(const spot *here, int32_t channel, int32_t sums[BLOCK])
{
    const tinymlops_window *window = here->window;
    const int32_t zero_point = window->input_zero_point;
    const int32_t step = window->input_channels;
    const int32_t input_step = window->dilation_width * step;
    const int32_t row_step = window->dilation_height * window->input_width * step;
    int32_t sum0 = 0;
    int32_t sum1 = 0;
    int32_t sum2 = 0;
    int32_t sum3 = 0;

    for (int32_t ky = here->down.first; ky < here->down.end; ky++) {
        int32_t at = here->corner + channel + (ky * row_step) + (here->along.first * input_step);
        int32_t weight_at = channel + (((ky * window->kernel_width) + here->along.first) * step);
        for (int32_t count = here->along.end - here->along.first; count > 0; count--) {
            const int8_t *values = &here->input[at];
            const int8_t *weights = &here->weights[weight_at];
            sum0 += (values[0] - zero_point) * weights[0];
            sum1 += (values[1] - zero_point) * weights[1];
            sum2 += (values[2] - zero_point) * weights[2];
            sum3 += (values[3] - zero_point) * weights[3];
            at += input_step;
            weight_at += step;
        }
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

static int32_t sum_one(const spot *here, int32_t input_channel, int32_t output_channel)
{
    const tinymlops_window *window = here->window;
    const int32_t input_step = window->dilation_width * window->input_channels;
    const int32_t row_step = window->dilation_height * window->input_width * window->input_channels;
    int32_t sum = 0;

    for (int32_t ky = here->down.first; ky < here->down.end; ky++) {
        int32_t at = here->corner + input_channel + (ky * row_step) + (here->along.first * input_step);
        int32_t weight_at =
            output_channel + (((ky * window->kernel_width) + here->along.first) * window->output_channels);
        for (int32_t count = here->along.end - here->along.first; count > 0; count--) {
            sum += (here->input[at] - window->input_zero_point) * here->weights[weight_at];
            at += input_step;
            weight_at += window->output_channels;
        }
    }
    return sum;
}

static void place(const spot *here, const tinymlops_requantization *to, const int32_t *bias, int8_t *output)
{
    int32_t channel = 0;

    if (here->multiplier == 1) {
        for (; (channel + BLOCK) <= here->window->output_channels; channel += BLOCK) {
            int32_t sums[BLOCK];
            sum_block(here, channel, sums);
            for (int32_t i = 0; i < BLOCK; i++) {
                output[channel + i] = finished(to, channel + i, sums[i], bias[channel + i]);
            }
        }
    }
    /* The channels that no block took; blocks were taken only where input and output have the same channels. */
    for (int32_t ic = channel; ic < here->window->input_channels; ic++) {
        for (int32_t m = 0; m < here->multiplier; m++, channel++) {
            output[channel] = finished(to, channel, sum_one(here, ic, channel), bias[channel]);
        }
    }
}

void tinymlops_depthwise_conv_2d_s8(const tinymlops_window *window, const tinymlops_requantization *to,
                                    const int8_t *input, const int8_t *weights, const int32_t *bias, int8_t *output)
{
    spot here = {window, input, weights, window->output_channels / window->input_channels, 0, {0, 0}, {0, 0}};

    for (int32_t oy = 0; oy < window->output_height; oy++) {
        const int32_t top = (oy * window->stride_height) - window->pad_top;
        here.down = tinymlops_taps_inside(top, window->input_height, window->kernel_height, window->dilation_height);
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const int32_t left = (ox * window->stride_width) - window->pad_left;
            here.along =
                tinymlops_taps_inside(left, window->input_width, window->kernel_width, window->dilation_width);
            here.corner = ((top * window->input_width) + left) * window->input_channels;
            place(&here, to, bias, &output[((oy * window->output_width) + ox) * window->output_channels]);
        }
    }
}
