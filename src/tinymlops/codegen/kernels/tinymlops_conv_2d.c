/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_arithmetic.h"
#include "tinymlops_kernels.h"
#include "tinymlops_products.h"
#include "tinymlops_taps.h"

/* Bytes under a kernel that are gathered on the stack: first layers have few channels, and rows too short to be worth
 * a loop each. */
#define MAX_PATCH 64

/* The weights of two output channels, which are computed together. */
typedef struct {
    const int8_t *first, *second;
} two_rows;

/* Taps outside the picture, where every input counts as the zero point. */
static void add_outside(tinymlops_two_sums *sums, int32_t zero_point, two_rows weights, int32_t from, int32_t count)
{
    for (int32_t i = from; i < (from + count); i++) {
        sums->first += zero_point * weights.first[i];
        sums->second += zero_point * weights.second[i];
    }
}

/* One row of taps that lies inside the picture; at: offset of its first tap, which may lie to the left of it. */
static void add_row(const tinymlops_window *window, tinymlops_two_sums *sums, const int8_t *input, int32_t at,
                    two_rows weights, int32_t from, tinymlops_taps along)
{
    const int32_t channels = window->input_channels;
    const int32_t inside = along.end - along.first;
    add_outside(sums, window->input_zero_point, weights, from, along.first * channels);
    if (window->dilation_width == 1) {
        if (inside > 0) {
            const int32_t start = from + (along.first * channels);
            tinymlops_add_products(sums, &input[at + (along.first * channels)], &weights.first[start],
                                   &weights.second[start], inside * channels);
        }
    } else {
        for (int32_t kx = along.first; kx < along.end; kx++) {
            const int32_t start = from + (kx * channels);
            tinymlops_add_products(sums, &input[at + (kx * window->dilation_width * channels)], &weights.first[start],
                                   &weights.second[start], channels);
        }
    }
    add_outside(sums, window->input_zero_point, weights, from + (along.end * channels),
                (window->kernel_width - along.end) * channels);
}

static tinymlops_two_sums sums_of(const tinymlops_window *window, const int8_t *input, int32_t corner,
                                  two_rows weights, tinymlops_taps down, tinymlops_taps along)
{
    const int32_t row_weights = window->kernel_width * window->input_channels;
    const int32_t row_step = window->dilation_height * window->input_width * window->input_channels;
    tinymlops_two_sums sums = {0, 0};

    add_outside(&sums, window->input_zero_point, weights, 0, down.first * row_weights);
    for (int32_t ky = down.first; ky < down.end; ky++) {
        add_row(window, &sums, input, corner + (ky * row_step), weights, ky * row_weights, along);
    }
    add_outside(&sums, window->input_zero_point, weights, down.end * row_weights,
                (window->kernel_height - down.end) * row_weights);
    return sums;
}

static int8_t finished(const tinymlops_requantization *to, int32_t channel, int32_t sum, int32_t bias)
{
    const int32_t at = channel * to->step;
    const int32_t total = tinymlops_wrapping_add(sum, bias);
    return tinymlops_output(tinymlops_requantize(total, to->multiplier[at], to->shift[at]), to->zero_point, to->low,
                            to->high);
}

/* A kernel too large for a patch on the stack: row by row where the input lies. */
static void place_in_rows(const tinymlops_window *window, const tinymlops_requantization *to, const int8_t *input,
                          const int8_t *weights, const int32_t *bias, int32_t top, int32_t left, int8_t *output)
{
    const int32_t columns = window->kernel_height * window->kernel_width * window->input_channels;
    const int32_t corner = ((top * window->input_width) + left) * window->input_channels;
    const tinymlops_taps down =
        tinymlops_taps_inside(top, window->input_height, window->kernel_height, window->dilation_height);
    const tinymlops_taps along =
        tinymlops_taps_inside(left, window->input_width, window->kernel_width, window->dilation_width);

    for (int32_t channel = 0; channel < window->output_channels; channel += 2) {
        /* The last channel of an odd number is its own second. */
        const int32_t other = ((channel + 1) < window->output_channels) ? (channel + 1) : channel;
        const two_rows rows = {&weights[channel * columns], &weights[other * columns]};
        const tinymlops_two_sums sums = sums_of(window, input, corner, rows, down, along);
        output[channel] = finished(to, channel, sums.first, bias[channel]);
        output[other] = finished(to, other, (other == channel) ? sums.first : sums.second, bias[other]);
    }
}

/* The values under a small kernel, one behind the other. */
static void gather(const tinymlops_window *window, const int8_t *input, int32_t top, int32_t left, int8_t *patch)
{
    const int32_t channels = window->input_channels;
    int8_t *next = patch;

    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        const int32_t y = top + (ky * window->dilation_height);
        const int row_inside = (y >= 0) && (y < window->input_height);
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            const int32_t x = left + (kx * window->dilation_width);
            const int inside = row_inside && (x >= 0) && (x < window->input_width);
            const int32_t at = inside ? (((y * window->input_width) + x) * channels) : 0;
            for (int32_t channel = 0; channel < channels; channel++) {
                next[channel] = inside ? input[at + channel] : (int8_t)window->input_zero_point;
            }
            next = &next[channels];
        }
    }
}

void tinymlops_conv_2d_s8(const tinymlops_window *window, const tinymlops_requantization *to, const int8_t *input,
                          const int8_t *weights, const int32_t *bias, int8_t *output)
{
    const int32_t taps = window->kernel_height * window->kernel_width;
    const int32_t columns = taps * window->input_channels;
    const int32_t channels = window->output_channels;
    const int pointwise = (taps == 1) && (window->pad_top == 0) && (window->pad_left == 0);
    int8_t patch[MAX_PATCH];
    int8_t *next = output;

    for (int32_t oy = 0; oy < window->output_height; oy++) {
        const int32_t top = (oy * window->stride_height) - window->pad_top;
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const int32_t left = (ox * window->stride_width) - window->pad_left;
            if (pointwise) {
                const int32_t at = ((top * window->input_width) + left) * window->input_channels;
                tinymlops_matrix_vector_s8(to, &input[at], weights, bias, columns, channels, next);
            } else if (columns <= MAX_PATCH) {
                gather(window, input, top, left, patch);
                tinymlops_matrix_vector_s8(to, patch, weights, bias, columns, channels, next);
            } else {
                place_in_rows(window, to, input, weights, bias, top, left, next);
            }
            next = &next[channels];
        }
    }
}
