/* Files through the debugger's door that both Arm and RISC-V define (Semihosting for AArch32 and AArch64, Arm IHI 0100;
 * the RISC-V Semihosting specification takes over its calls). */
#include "port.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5, STOPPED_APPLICATION_EXIT = 0x20026 };

static intptr_t call(uintptr_t operation, const uintptr_t *block)
{
#if defined(__riscv)
    register uintptr_t a0 __asm__("a0") = operation;
    register const uintptr_t *a1 __asm__("a1") = block;
    /* The two shifts tell a semihosting call from a breakpoint: all three must be 32 bits long and on one page. */
    __asm__ volatile(".balign 16\n .option push\n .option norvc\n"
                     " slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (intptr_t)a0;
#else
    register uintptr_t r0 __asm__("r0") = operation;
    register const uintptr_t *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (intptr_t)r0;
#endif
}

static size_t length(const char *text)
{
    size_t count = 0;
    while (text[count] != '\0') {
        count++;
    }
    return count;
}

intptr_t port_open(const char *path, port_mode mode)
{
    const uintptr_t block[3] = {(uintptr_t)path, mode == PORT_READ ? OPEN_READ_BINARY : OPEN_WRITE_BINARY, length(path)};
    return call(SYS_OPEN, block);
}

/* Both calls answer with the bytes that were left undone. */
size_t port_read(intptr_t file, void *buffer, size_t size)
{
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)buffer, size};
    return size - (size_t)call(SYS_READ, block);
}

size_t port_write(intptr_t file, const void *buffer, size_t size)
{
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)buffer, size};
    return size - (size_t)call(SYS_WRITE, block);
}

void port_exit(int code)
{
    const uintptr_t block[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)code};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}
