/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"

/* Rows and columns of the input under the kernel, cut off at the edges. */
typedef struct {
    int32_t top, bottom, left, right;
} area;

static area under(const tinymlops_window *window, int32_t oy, int32_t ox)
{
    const int32_t top = (oy * window->stride_height) - window->pad_top;
    const int32_t left = (ox * window->stride_width) - window->pad_left;
    const area part = {
        (top < 0) ? 0 : top,
        tinymlops_clamp(top + window->kernel_height, 0, window->input_height),
        (left < 0) ? 0 : left,
        tinymlops_clamp(left + window->kernel_width, 0, window->input_width),
    };
    return part;
}

static int32_t sum_of(const tinymlops_window *window, area part, const int8_t *input, int32_t channel)
{
    int32_t sum = 0;
    for (int32_t y = part.top; y < part.bottom; y++) {
        for (int32_t x = part.left; x < part.right; x++) {
            sum += input[(((y * window->input_width) + x) * window->input_channels) + channel];
        }
    }
    return sum;
}

static int32_t largest_of(const tinymlops_window *window, area part, const int8_t *input, int32_t channel)
{
    int32_t largest = INT8_MIN;
    for (int32_t y = part.top; y < part.bottom; y++) {
        for (int32_t x = part.left; x < part.right; x++) {
            const int32_t value = input[(((y * window->input_width) + x) * window->input_channels) + channel];
            largest = (value > largest) ? value : largest;
        }
    }
    return largest;
}

void tinymlops_average_pool_2d_s8(const tinymlops_window *window, int32_t low, int32_t high, const int8_t *input,
                                  int8_t *output)
{
    int8_t *next = output;
    for (int32_t oy = 0; oy < window->output_height; oy++) {
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const area part = under(window, oy, ox);
            const int32_t count = (part.bottom - part.top) * (part.right - part.left);
            for (int32_t channel = 0; channel < window->input_channels; channel++) {
                const int32_t sum = sum_of(window, part, input, channel);
                const int32_t half = (sum > 0) ? (count / 2) : -(count / 2);
                *next++ = (int8_t)tinymlops_clamp((sum + half) / count, low, high);
            }
        }
    }
}

void tinymlops_max_pool_2d_s8(const tinymlops_window *window, int32_t low, int32_t high, const int8_t *input,
                              int8_t *output)
{
    int8_t *next = output;
    for (int32_t oy = 0; oy < window->output_height; oy++) {
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const area part = under(window, oy, ox);
            for (int32_t channel = 0; channel < window->input_channels; channel++) {
                *next++ = (int8_t)tinymlops_clamp(largest_of(window, part, input, channel), low, high);
            }
        }
    }
}
