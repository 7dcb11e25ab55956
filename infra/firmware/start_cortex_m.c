/* Reset and vectors of a Cortex-M: memory as C expects it, coprocessors on, then main. */
#include "port.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define ALLOW_FPU_AND_MVE (UINT32_C(0xF) << 20)
enum { FAULT = 2 };

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
int main(void);

void _start(void);

void _start(void)
{
    CPACR |= ALLOW_FPU_AND_MVE; /* reads as zero and ignores writes where there is neither */
    __asm__ volatile("dsb\n isb" ::: "memory");
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0;
    }
    port_exit(main());
}

static void fault(void)
{
    port_exit(FAULT);
}

/* Initial stack, reset, then every fault there is. */
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)_start, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault,
};
