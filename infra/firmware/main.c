/* Runs the generated model over all rows of inputs.bin, one inference at a time, and writes outputs.bin.
 *
 * The stack is painted first. Its deepest use over the whole run is written to stack.bin, 4 bytes little-endian. */
#include "markers.h"
#include "model.h"
#include "port.h"

#define PAINT UINT32_C(0xa5a5a5a5)
enum { NO_FILES = 3, TORN_ROW = 4, NO_ROOM = 5, STACK_OVERFLOW = 6, FRAME_BYTES = 64 };

extern uint32_t stack_bottom[], stack_top[]; /* from the linker script */

/* What an application would hold beside the model's arena. */
static int8_t input[MODEL_INPUT_BYTES] __attribute__((aligned(16)));
static int8_t output[MODEL_OUTPUT_BYTES] __attribute__((aligned(16)));

static void paint_stack(void)
{
    uint32_t *const here = (uint32_t *)((uintptr_t)__builtin_frame_address(0) - FRAME_BYTES);
    for (volatile uint32_t *word = stack_bottom; word < here; word++) {
        *word = PAINT;
    }
}

static uint32_t deepest_stack(void)
{
    const volatile uint32_t *word = stack_bottom;
    while (word < stack_top && *word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)word);
}

static int run(intptr_t source, intptr_t target)
{
    for (;;) {
        const size_t got = port_read(source, input, sizeof input);
        if (got == 0) {
            return 0;
        }
        if (got != sizeof input) {
            return TORN_ROW;
        }
        TINYMLOPS_INFERENCE_BEGIN();
        model_invoke(input, output);
        TINYMLOPS_INFERENCE_END();
        if (port_write(target, output, sizeof output) != sizeof output) {
            return NO_ROOM;
        }
    }
}

int main(void)
{
    const intptr_t source = port_open("inputs.bin", PORT_READ);
    const intptr_t target = port_open("outputs.bin", PORT_WRITE);
    const intptr_t report = port_open("stack.bin", PORT_WRITE);
    if (source < 0 || target < 0 || report < 0) {
        return NO_FILES;
    }
    paint_stack();
    const int failure = run(source, target);
    if (failure != 0) {
        return failure;
    }
    const uint32_t depth = deepest_stack();
    if (port_write(report, &depth, sizeof depth) != sizeof depth) {
        return NO_ROOM;
    }
    return *stack_bottom == PAINT ? 0 : STACK_OVERFLOW;
}
