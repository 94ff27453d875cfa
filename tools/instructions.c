/* Counts the instructions of an emulated program: a plugin of QEMU's user mode, plugin API 1 (QEMU 6 to 8.1).
 *
 * The program marks a point by closing a file that cannot be open, number 0x0ed60000 + N, which does nothing; the plugin then
 * writes "N COUNT" to its file. Counts are of translated blocks as they are entered, exact for one thread.
 *
 * QEMU's own header is packaged nowhere in Debian, so what is used of it is declared here (docs/devel/tcg-plugins.rst).
 *
 *     cc -shared -fPIC -O2 -o instructions.so instructions.c
 *     qemu-aarch64 -plugin ./instructions.so,out=instructions.txt PROGRAM
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef struct {
    const char *target_name;
    struct { int min, cur; } version;
    bool system_emulation;
    union { struct { int smp_vcpus, max_vcpus; } system; };
} qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

#define EXPORTED __attribute__((visibility("default")))
#define MARK 0x0ed60000u

EXPORTED int qemu_plugin_version = 1;

static uint64_t count;
static FILE *out;
static int64_t close_number = 57; /* of the system call: aarch64 and all newer architectures */

static void block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &count, qemu_plugin_tb_n_insns(tb));
}

static void system_call(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
                        uint64_t a6, uint64_t a7, uint64_t a8)
{
    if (number == close_number && (a1 & 0xffff0000u) == MARK) {
        fprintf(out, "%u %" PRIu64 "\n", (unsigned)(a1 & 0xffff), count);
        fflush(out);
    }
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w")))
        return -1;
    if (!strcmp(info->target_name, "arm"))
        close_number = 6;
    qemu_plugin_register_vcpu_tb_trans_cb(id, block);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    return 0;
}
