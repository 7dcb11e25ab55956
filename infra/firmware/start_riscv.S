/* Reset of a RISC-V core in machine mode: memory as C expects it, traps caught, then main. */
    .section .vectors, "ax"
    .globl _start
_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, stack_top
    la t0, fault
    .option push
    .option arch, +zicsr
    csrw mtvec, t0
    .option pop
    la t0, bss_start
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  call main           /* .data is loaded in place: the emulator's memory is all RAM */
    call port_exit

    .balign 4
fault:
    li a0, 2
    call port_exit
