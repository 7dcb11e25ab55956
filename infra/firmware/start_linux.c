/* Entry of a Linux program without a C library: the kernel has filled .data and .bss; the stack is our own, so that
 * its depth can be measured. */
#include "port.h"

int main(void);

__attribute__((used, noreturn)) static void begin(void)
{
    port_exit(main());
}

#if defined(__riscv)
__asm__(".globl _start\n_start:\n"
        " .option push\n .option norelax\n la gp, __global_pointer$\n .option pop\n"
        " la sp, stack_top\n j begin\n");
#else
__asm__(".syntax unified\n.globl _start\n.thumb_func\n_start:\n"
        " ldr r0, =stack_top\n mov sp, r0\n b begin\n .ltorg\n");
#endif
