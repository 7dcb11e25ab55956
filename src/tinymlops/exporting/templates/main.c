/* Example: what an application does with the model. Replace what reads the input and what uses the output. */
#include <stdio.h>

#include "@name@.h"
#include "self_test.h"

int main(void)
{
    int8_t *input = @name@_inputs[0];
    const int8_t *output = @name@_outputs[0];
    int best = 0;

    /* 1. Is this the code that was tried? Takes @rows@ inferences; leave it out of a product if it takes too long. */
    const int differing = @name@_self_test();
    if (differing != 0) {
        (void)printf("self-test: %d outputs differ\n", differing);
        return 1;
    }
    (void)puts("self-test: every output as expected");

    /* 2. Write the input where the model reads it. Real numbers become int8 by @name@_@quantize@. */
    for (int i = 0; i < @UPPER@_INPUT_0_BYTES; i++) {
        input[i] = @name@_@quantize@(0.0f);
    }

    /* 3. Run, and read the output where the model left it. */
    @name@_run();
    for (int i = 1; i < @UPPER@_OUTPUT_0_BYTES; i++) {
        best = (output[i] > output[best]) ? i : best;
    }
    (void)printf("largest output: number %d, %d thousandths\n", best,
                 (int)(1000.0f * @name@_@dequantize@(output[best])));
    return 0;
}
