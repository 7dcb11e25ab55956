/* Counts the instructions that a guest executes between two marks (QEMU user mode, plugin API version 1).
 *
 * The guest marks with any system call whose first argument is MARK_START or MARK_STOP: a close() of a file
 * descriptor that is never open does nothing else and works from Python. Each finished window adds one line, its
 * count, to the file given as out=PATH.
 *
 * Debian packages no header for plugins: the few entry points in use are declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MARK_START UINT64_C(0x7f4d4d01)
#define MARK_STOP UINT64_C(0x7f4d4d02)
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_info;
enum inline_operation { ADD_U64 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum inline_operation, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = 1;

static uint64_t executed;
static uint64_t started_at;
static bool open_window;
static FILE *out;

/* The addition is compiled into the translated block itself: no call is made while the guest runs. */
static void on_translate(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

/* One mark may arrive as two system calls (close_range, then close where the emulator lacks it):
 * the last start and the first stop count. */
static void on_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)number, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (a1 == MARK_START) {
        started_at = executed;
        open_window = true;
    } else if (a1 == MARK_STOP && open_window) {
        fprintf(out, "%" PRIu64 "\n", executed - started_at);
        fflush(out);
        open_window = false;
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "a");
        }
    }
    if (out == NULL) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
