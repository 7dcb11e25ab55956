/* Counts the instructions of every operator of a model, by class (QEMU, plugin API version 1; Arm Thumb and RISC-V).
 *
 * The firmware marks where an inference and each operator begin and end, with instructions that do nothing
 * (infra/firmware/markers.h). When the guest ends, the file given as out=PATH gets one line with the number of
 * inferences and their counts by class, in the order of enum instruction_class, and one such line for each operator
 * in the order they ran; all are sums over all inferences. Marks are not counted. A conditional instruction counts
 * also where its condition is false, as it takes its slot in the pipeline.
 *
 * Debian packages no header for plugins: the few entry points in use are declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum inline_operation { ADD_U64 };
enum callback_flags { NO_REGISTERS };
struct qemu_info {
    const char *target_name; /* the rest is not read */
};

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, enum inline_operation, void *,
                                                       uint64_t);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *),
                                                   enum callback_flags, void *);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

enum instruction_class { ARITHMETIC, LOAD, STORE, MULTIPLY, DIVIDE, BRANCH, VECTOR, CLASSES };
enum mark { NO_MARK, INFERENCE_BEGIN, INFERENCE_END, OPERATOR_BEGIN, OPERATOR_END };

typedef size_t (*measurer)(uint32_t word);
typedef enum instruction_class (*classifier)(uint32_t word, size_t size);
typedef enum mark (*mark_reader)(uint32_t word, size_t size);

enum { MOST_OPERATORS = 4096 };

/* A window that opens and closes many times. */
struct window {
    uint64_t times;
    uint64_t since[CLASSES];
    uint64_t sum[CLASSES];
};

static uint64_t executed[CLASSES];
static struct window inference;
static struct window operators[MOST_OPERATORS];
static size_t current; /* operator of this inference */
static measurer length_of;
static classifier classify;
static mark_reader read_mark;
static FILE *out;

struct pattern {
    uint16_t mask, value;
    uint8_t kind;
};

static enum instruction_class find(uint16_t half, const struct pattern *table, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        if ((half & table[i].mask) == table[i].value) {
            return (enum instruction_class)table[i].kind;
        }
    }
    return ARITHMETIC;
}

#define FIND(half, table) find(half, table, sizeof(table) / sizeof *(table))

/* Lengths are read from the encoding: near the end of a page the emulator looks one instruction ahead, and what it then
 * reports as one instruction is two (seen in QEMU 7.2, which has pages of 1 KiB for these cores). */
static size_t length_of_thumb(uint32_t word)
{
    return (word & 0xf800) >= 0xe800 ? 4 : 2;
}

static size_t length_of_riscv(uint32_t word)
{
    return (word & 3) == 3 ? 4 : 2;
}

/* Armv7-M Architecture Reference Manual, A5.2 */
static const struct pattern thumb_16[] = {
    {0xffc0, 0x4340, MULTIPLY},                                                  /* MUL */
    {0xff00, 0x4700, BRANCH},                                                    /* BX, BLX */
    {0xff87, 0x4687, BRANCH},                                                    /* MOV to PC */
    {0xf800, 0x4800, LOAD},                                                      /* LDR literal */
    {0xfe00, 0x5600, LOAD},                                                      /* LDRSB */
    {0xf800, 0x5000, STORE},  {0xfe00, 0x5400, STORE}, {0xf000, 0x5000, LOAD},   /* register offset */
    {0xe800, 0x6000, STORE},  {0xe800, 0x6800, LOAD},                            /* immediate, word and byte */
    {0xf800, 0x8000, STORE},  {0xf800, 0x8800, LOAD},                            /* halfword */
    {0xf800, 0x9000, STORE},  {0xf800, 0x9800, LOAD},                            /* SP-relative */
    {0xfe00, 0xb400, STORE},  {0xfe00, 0xbc00, LOAD},                            /* PUSH, POP */
    {0xf500, 0xb100, BRANCH},                                                    /* CBZ, CBNZ */
    {0xf800, 0xc000, STORE},  {0xf800, 0xc800, LOAD},                            /* STM, LDM */
    {0xf000, 0xd000, BRANCH}, {0xf800, 0xe000, BRANCH},                          /* B */
};

/* The same, A5.3, by the first halfword; M-profile vector extension and FPU share the coprocessor space */
static const struct pattern thumb_32[] = {
    {0xfc00, 0xec00, VECTOR}, {0xfc00, 0xfc00, VECTOR}, {0xff10, 0xf900, VECTOR},
    {0xfe10, 0xe800, STORE},  {0xfe10, 0xe810, LOAD},  /* multiple, dual, exclusive */
    {0xff10, 0xf800, STORE},  {0xfe10, 0xf810, LOAD},  /* single */
    {0xff00, 0xfb00, MULTIPLY},
};

static enum instruction_class classify_thumb(uint32_t word, size_t size)
{
    const uint16_t first = (uint16_t)word, second = (uint16_t)(word >> 16);
    if (size == 2) {
        return FIND(first, thumb_16);
    }
    if ((first & 0xfff0) == 0xe8d0 && (second & 0xffe0) == 0xf000) {
        return BRANCH; /* TBB, TBH */
    }
    if ((first & 0xffd0) == 0xfb90 && (second & 0x00f0) == 0x00f0) {
        return DIVIDE; /* SDIV, UDIV */
    }
    if ((first & 0xf800) == 0xf000 && (second & 0x8000) != 0) {
        const bool system = (first & 0xff80) == 0xf380 && (second & 0x5000) == 0;
        return system ? ARITHMETIC : BRANCH; /* also the low-overhead loops of Armv8.1-M */
    }
    return FIND(first, thumb_32);
}

/* RISC-V Unprivileged ISA, table "RISC-V base opcode map", by bits 6:2 */
static const uint8_t riscv_32[32] = {
    [0x00] = LOAD,   [0x01] = VECTOR, [0x08] = STORE,  [0x09] = VECTOR, [0x0b] = LOAD,   [0x10] = VECTOR, [0x11] = VECTOR,
    [0x12] = VECTOR, [0x13] = VECTOR, [0x14] = VECTOR, [0x15] = VECTOR, [0x18] = BRANCH, [0x19] = BRANCH, [0x1b] = BRANCH,
};

/* The same, chapter "C": by quadrant and bits 15:13, for 32 and for 64 bits where they differ */
static const uint8_t riscv_16[3][8] = {
    {ARITHMETIC, VECTOR, LOAD, VECTOR, ARITHMETIC, VECTOR, STORE, VECTOR},
    {ARITHMETIC, BRANCH, ARITHMETIC, ARITHMETIC, ARITHMETIC, BRANCH, BRANCH, BRANCH},
    {ARITHMETIC, VECTOR, LOAD, VECTOR, ARITHMETIC, VECTOR, STORE, VECTOR},
};
static const uint8_t riscv_16_wide[3][8] = {
    {ARITHMETIC, VECTOR, LOAD, LOAD, ARITHMETIC, VECTOR, STORE, STORE},
    {ARITHMETIC, ARITHMETIC, ARITHMETIC, ARITHMETIC, ARITHMETIC, BRANCH, BRANCH, BRANCH},
    {ARITHMETIC, VECTOR, LOAD, LOAD, ARITHMETIC, VECTOR, STORE, STORE},
};

static enum instruction_class classify_riscv(uint32_t word, size_t size, const uint8_t (*short_table)[8])
{
    if (size == 2) {
        if ((word & 0xe07f) == 0x8002) {
            return BRANCH; /* C.JR, C.JALR */
        }
        return (enum instruction_class)short_table[word & 3][word >> 13 & 7];
    }
    if (((word & 0x7f) == 0x33 || (word & 0x7f) == 0x3b) && word >> 25 == 1) {
        return (word >> 12 & 7) < 4 ? MULTIPLY : DIVIDE; /* the M extension */
    }
    return (enum instruction_class)riscv_32[word >> 2 & 31];
}

static enum instruction_class classify_riscv32(uint32_t word, size_t size)
{
    return classify_riscv(word, size, riscv_16);
}

static enum instruction_class classify_riscv64(uint32_t word, size_t size)
{
    return classify_riscv(word, size, riscv_16_wide);
}

static enum mark read_thumb_mark(uint32_t word, size_t size)
{
    if (size != 2) {
        return NO_MARK;
    }
    switch (word) {
    case 0x46db: return INFERENCE_BEGIN; /* mov r11, r11 */
    case 0x46d2: return INFERENCE_END;   /* mov r10, r10 */
    case 0x46c9: return OPERATOR_BEGIN;  /* mov r9, r9 */
    case 0x46e4: return OPERATOR_END;    /* mov r12, r12 */
    default: return NO_MARK;
    }
}

static enum mark read_riscv_mark(uint32_t word, size_t size)
{
    /* slti x0, x0, 1 … 4 */
    const bool mark = size == 4 && (word & 0xfffff) == 0x02013;
    return mark && word >> 20 <= OPERATOR_END ? (enum mark)(word >> 20) : NO_MARK;
}

static void begin(struct window *window)
{
    memcpy(window->since, executed, sizeof executed);
}

static void end(struct window *window)
{
    window->times++;
    for (int kind = 0; kind < CLASSES; kind++) {
        window->sum[kind] += executed[kind] - window->since[kind];
    }
}

static void on_mark(unsigned vcpu, void *mark)
{
    (void)vcpu;
    switch ((enum mark)(uintptr_t)mark) {
    case INFERENCE_BEGIN:
        current = 0;
        begin(&inference);
        break;
    case OPERATOR_BEGIN: begin(&operators[current]); break;
    case OPERATOR_END:
        end(&operators[current]);
        if (++current == MOST_OPERATORS) {
            fputs("count: more operators than the counter has room for\n", stderr);
            abort();
        }
        break;
    case INFERENCE_END: end(&inference); break;
    case NO_MARK: break;
    }
}

static void print(const struct window *window)
{
    fprintf(out, "%" PRIu64, window->times);
    for (int kind = 0; kind < CLASSES; kind++) {
        fprintf(out, " %" PRIu64, window->sum[kind]);
    }
    fputc('\n', out);
}

static void on_exit_of_guest(plugin_id id, void *unused)
{
    (void)id, (void)unused;
    print(&inference);
    for (size_t i = 0; i < MOST_OPERATORS && operators[i].times != 0; i++) {
        print(&operators[i]);
    }
    fclose(out);
}

/* One addition per class for a run of instructions between marks, at its first one: a block is never left in its
 * middle but by a fault, and a fault ends the run. */
static void add_counts(struct qemu_plugin_insn *first, uint64_t counts[CLASSES])
{
    for (int kind = 0; kind < CLASSES; kind++) {
        if (first != NULL && counts[kind] != 0) {
            qemu_plugin_register_vcpu_insn_exec_inline(first, ADD_U64, &executed[kind], counts[kind]);
        }
        counts[kind] = 0;
    }
}

static void on_translate(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    struct qemu_plugin_insn *first = NULL;
    uint64_t counts[CLASSES] = {0};
    const size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        const size_t reported = qemu_plugin_insn_size(instruction);
        uint32_t word = 0;
        memcpy(&word, qemu_plugin_insn_data(instruction), reported < sizeof word ? reported : sizeof word);
        const size_t size = length_of(word);
        word = size == 2 ? word & 0xffff : word;
        const enum mark mark = read_mark(word, size);
        if (mark != NO_MARK) {
            add_counts(first, counts);
            first = NULL;
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_mark, NO_REGISTERS, (void *)(uintptr_t)mark);
            continue;
        }
        first = first == NULL ? instruction : first;
        counts[classify(word, size)]++;
    }
    add_counts(first, counts);
}

static bool choose(const char *target)
{
    const bool thumb = strcmp(target, "arm") == 0;
    classify = thumb                             ? classify_thumb
               : strcmp(target, "riscv32") == 0 ? classify_riscv32
               : strcmp(target, "riscv64") == 0 ? classify_riscv64
                                                 : NULL;
    length_of = thumb ? length_of_thumb : length_of_riscv;
    read_mark = thumb ? read_thumb_mark : read_riscv_mark;
    return classify != NULL;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
        }
    }
    if (out == NULL || !choose(info->target_name)) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
    return 0;
}
