/* SPDX-License-Identifier: Apache-2.0 */
#include "tinymlops_kernels.h"

void tinymlops_fully_connected_s8(const tinymlops_requantization *to, const int8_t *input, const int8_t *weights,
                                  const int32_t *bias, int32_t batches, int32_t columns, int32_t rows, int8_t *output)
{
    for (int32_t batch = 0; batch < batches; batch++) {
        tinymlops_matrix_vector_s8(to, &input[batch * columns], weights, bias, columns, rows, &output[batch * rows]);
    }
}
