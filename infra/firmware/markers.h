/* Marks for the emulator's instruction counter: instructions that do nothing, and that no compiler writes.
 * The counter leaves them out of every count. They are included before the generated model.c is compiled. */
#ifndef TINYMLOPS_MARKERS_H
#define TINYMLOPS_MARKERS_H

#if defined(__riscv)
/* Hints for custom use (RISC-V Unprivileged ISA, section "HINT instructions"): slti to x0. */
#define TINYMLOPS_INFERENCE_BEGIN() __asm__ volatile("slti x0, x0, 1" ::: "memory")
#define TINYMLOPS_INFERENCE_END() __asm__ volatile("slti x0, x0, 2" ::: "memory")
#define TINYMLOPS_OPERATOR_BEGIN(index) __asm__ volatile("slti x0, x0, 3" ::: "memory")
#define TINYMLOPS_OPERATOR_END(index) __asm__ volatile("slti x0, x0, 4" ::: "memory")
#else
/* Moves of a high register to itself. (mov r8, r8 is not among them: it was the NOP of old Thumb assemblers.) */
#define TINYMLOPS_INFERENCE_BEGIN() __asm__ volatile("mov r11, r11" ::: "memory")
#define TINYMLOPS_INFERENCE_END() __asm__ volatile("mov r10, r10" ::: "memory")
#define TINYMLOPS_OPERATOR_BEGIN(index) __asm__ volatile("mov r9, r9" ::: "memory")
#define TINYMLOPS_OPERATOR_END(index) __asm__ volatile("mov r12, r12" ::: "memory")
#endif

#endif
