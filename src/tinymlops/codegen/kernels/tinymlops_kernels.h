/* SPDX-License-Identifier: Apache-2.0
 *
 * Portable int8 kernels. Tensors are NHWC with one row (N = 1), as TensorFlow Lite lays them out.
 * Every output is bit for bit that of TensorFlow Lite Micro's reference kernels.
 *
 * Biases are folded: the generator has added (sum of a row's weights) * (-input zero point), so that the kernels
 * multiply raw inputs. What lies outside the picture then counts as the input's zero point.
 */
#ifndef TINYMLOPS_KERNELS_H
#define TINYMLOPS_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TINYMLOPS_MAX_RANK 4

/* How rows of sums become int8 outputs. */
typedef struct {
    const int32_t *multiplier; /* one a row, or a single one for all */
    const int8_t *shift;       /* likewise: -31 to 30, positive to the left */
    int32_t step;              /* 1: one a row; 0: a single one for all rows */
    int32_t zero_point;        /* of the output */
    int32_t low;               /* smallest output that the activation leaves */
    int32_t high;              /* largest */
} tinymlops_requantization;

/* Geometry of a window that slides over a picture. */
typedef struct {
    int32_t input_height, input_width, input_channels;
    int32_t output_height, output_width, output_channels;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t pad_top, pad_left;
    int32_t input_zero_point;
} tinymlops_window;

/* output[row] = requantized(bias[row] + weights[row] . input), rows times. */
void tinymlops_matrix_vector_s8(const tinymlops_requantization *to, const int8_t *input, const int8_t *weights,
                                const int32_t *bias, int32_t columns, int32_t rows, int8_t *output);

/* The same for several inputs that lie one behind the other. */
void tinymlops_fully_connected_s8(const tinymlops_requantization *to, const int8_t *input, const int8_t *weights,
                                  const int32_t *bias, int32_t batches, int32_t columns, int32_t rows, int8_t *output);

void tinymlops_conv_2d_s8(const tinymlops_window *window, const tinymlops_requantization *to, const int8_t *input,
                          const int8_t *weights, const int32_t *bias, int8_t *output);

/* output_channels is a multiple of input_channels: the depth multiplier. bias is not folded. */
void tinymlops_depthwise_conv_2d_s8(const tinymlops_window *window, const tinymlops_requantization *to,
                                    const int8_t *input, const int8_t *weights, const int32_t *bias, int8_t *output);

void tinymlops_average_pool_2d_s8(const tinymlops_window *window, int32_t low, int32_t high, const int8_t *input,
                                  int8_t *output);

void tinymlops_max_pool_2d_s8(const tinymlops_window *window, int32_t low, int32_t high, const int8_t *input,
                              int8_t *output);

/* Sides of the output and, for each side, how far apart its values lie in both inputs: 0 repeats a value. */
typedef struct {
    int32_t side[TINYMLOPS_MAX_RANK];
    int32_t a_step[TINYMLOPS_MAX_RANK];
    int32_t b_step[TINYMLOPS_MAX_RANK];
} tinymlops_broadcast;

/* Shifts are 0 to 31, to the right. */
typedef struct {
    int32_t a_zero_point, a_multiplier, a_shift;
    int32_t b_zero_point, b_multiplier, b_shift;
    int32_t zero_point, multiplier, shift;
    int32_t low, high;
} tinymlops_sum;

void tinymlops_add_s8(const tinymlops_sum *sum, const tinymlops_broadcast *over, const int8_t *a, const int8_t *b,
                      int8_t *output);

void tinymlops_sub_s8(const tinymlops_sum *sum, const tinymlops_broadcast *over, const int8_t *a, const int8_t *b,
                      int8_t *output);

typedef struct {
    int32_t a_zero_point, b_zero_point;
    int32_t zero_point, multiplier, shift; /* shift: -31 to 30, positive to the left */
    int32_t low, high;
} tinymlops_product;

void tinymlops_mul_s8(const tinymlops_product *product, const tinymlops_broadcast *over, const int8_t *a,
                      const int8_t *b, int8_t *output);

/* Sides that are kept and sides that are averaged, with the distance of their values in the input. */
typedef struct {
    int32_t side[TINYMLOPS_MAX_RANK], step[TINYMLOPS_MAX_RANK];
    int32_t averaged_side[TINYMLOPS_MAX_RANK], averaged_step[TINYMLOPS_MAX_RANK];
    int32_t offset; /* -input zero point * number of averaged values */
    int32_t zero_point, multiplier, shift;
} tinymlops_average;

void tinymlops_mean_s8(const tinymlops_average *average, const int8_t *input, int8_t *output);

/* exponential[d]: e to the power of -d * scale * beta, with 31 fractional bits, for the distance d from the largest. */
void tinymlops_softmax_s8(const int32_t exponential[256], int32_t rows, int32_t columns, const int8_t *input,
                          int8_t *output);

/* output[i] = table[input[i] + 128]. input and output may be the same. */
void tinymlops_lookup_s8(const int8_t table[256], int32_t count, const int8_t *input, int8_t *output);

/* Every value of a box of the input, row by row. */
typedef struct {
    int32_t side[TINYMLOPS_MAX_RANK], step[TINYMLOPS_MAX_RANK];
    int32_t first; /* offset of the first value; steps may be negative */
} tinymlops_box;

void tinymlops_copy_box_s8(const tinymlops_box *box, const int8_t *input, int8_t *output);

/* The other way round: the input's values, row by row, into a box of the output; steps are those of the output. */
void tinymlops_fill_box_s8(const tinymlops_box *box, const int8_t *input, int8_t *output);

/* Rows and columns of the input that each row and column of the output repeats. */
void tinymlops_resize_nearest_s8(const uint16_t *row, const uint16_t *column, int32_t rows, int32_t columns,
                                 int32_t input_columns, int32_t channels, const int8_t *input, int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
