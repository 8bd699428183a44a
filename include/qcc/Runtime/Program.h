/*===- Program.h - contract of generated code and runtime ---------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/*
 * The binary contract inside one libmodel.so: a read-only description of the
 * program (the blob), the kernels, the entries, and the table of functions
 * through which entries reach the runtime. Private to the library: the compiler
 * that emits one side links the runtime archive of the same version. Callers
 * use qcc.h.
 *
 * The blob is flat, little endian and 8-byte aligned; records refer to each
 * other by number and to strings by offset, so it needs no relocation. Each
 * section carries the size of its records: a newer writer may append fields,
 * never change or drop one. qcc::ProgramWriter builds it,
 * qcc::runtime::ProgramView checks all of it before anything is used.
 *
 * What the compiler emits is declared at the end, all with hidden visibility.
 */
#ifndef QCC_RUNTIME_PROGRAM_H
#define QCC_RUNTIME_PROGRAM_H

#include <stdint.h>

/* C names, and tables that are defined in generated code.
 * NOLINTBEGIN(readability-identifier-naming,
 * bugprone-dynamic-static-initializers) */

#ifdef __cplusplus
extern "C" {
#endif

#define QCC_PROGRAM_MAGIC 0x50434351u /* the bytes QCCP */
#define QCC_PROGRAM_VERSION 1u
/** No number: no kernel, no entry. */
#define QCC_NONE 0xffffffffu
/** A buffer whose place is planned at run time. */
#define QCC_NO_OFFSET UINT64_MAX

/*===--- sizes ---===*/

/**
 * A size: the value itself when it is not negative, else the number of an
 * expression, as its bitwise complement (QCC_SIZE_EXPR). Sizes count elements
 * (dims), bytes (buffers, traffic) or operations (flops).
 */
typedef int64_t qcc_size;
#define QCC_SIZE_EXPR(number) (~(int64_t)(number))

/**
 * Operations of a size expression, in postfix order over a stack of 64-bit
 * integers. An overflow, a division by a number that is not positive, a symbol
 * without a value or a negative result makes the evaluation fail.
 */
enum qcc_expr_opcode {
  QCC_EXPR_CONST = 0,    /* push value */
  QCC_EXPR_SYMBOL = 1,   /* push the symbol */
  QCC_EXPR_ADD = 2,      /* a b -> a + b */
  QCC_EXPR_MUL = 3,      /* a b -> a * b */
  QCC_EXPR_FLOORDIV = 4, /* a b -> floor(a / b) */
  QCC_EXPR_CEILDIV = 5,  /* a b -> ceil(a / b) */
  QCC_EXPR_MOD = 6,      /* a b -> a - b * floor(a / b) */
  QCC_EXPR_MAX = 7,      /* a b -> max(a, b) */
  QCC_EXPR_MIN = 8       /* a b -> min(a, b) */
};
#define QCC_EXPR_MAX_OPS 1024u
#define QCC_EXPR_MAX_DEPTH 128u

/*===--- records ---===*/

/** Text in the blob: length bytes at offset from its start, then a zero byte
 * that is not counted. */
typedef struct qcc_string {
  uint32_t offset;
  uint32_t length;
} qcc_string;

/** An array of records in the blob. offset is a multiple of 8, stride at least
 * the size of the record. */
typedef struct qcc_section {
  uint32_t offset;
  uint32_t count;
  uint32_t stride;
  uint32_t reserved;
} qcc_section;

typedef struct qcc_expr_op {
  uint32_t op;
  uint32_t symbol;
  int64_t value;
} qcc_expr_op;

/** A size expression: a run of expr_ops. */
typedef struct qcc_expr_rec {
  uint32_t first;
  uint32_t count;
} qcc_expr_rec;

enum qcc_symbol_flags {
  /** The value is known only while the entry runs: generated code sets it by
     bind_symbol. */
  QCC_SYMBOL_RUNTIME = 1u
};

/** A named size. Its value is bound by each input dim that is this symbol
 * alone. min <= value <= max. */
typedef struct qcc_symbol_rec {
  qcc_string name;
  int64_t min;
  int64_t max; /* INT64_MAX: unbounded */
  uint32_t flags;
  uint32_t reserved;
} qcc_symbol_rec;

/** A tensor as the outside sees it: dense, row-major. code, bits, lanes are
 * DLPack's (lanes is 1). */
typedef struct qcc_tensor_rec {
  qcc_string name;
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
  uint32_t rank;
  uint32_t first_dim; /* into dims */
  uint32_t reserved;
} qcc_tensor_rec;

enum qcc_buffer_flags { QCC_BUFFER_NONE = 0u };

/** A piece of the arena, live from first_step to last_step, both included. */
typedef struct qcc_buffer_rec {
  qcc_size bytes;
  uint64_t offset; /* in the arena, a multiple of 64; QCC_NO_OFFSET when planned
                      at run time */
  uint32_t first_step;
  uint32_t last_step;
  uint32_t flags;
  uint32_t reserved;
} qcc_buffer_rec;

enum qcc_entry_flags {
  /** All sizes of the buffers are constants, their offsets are given,
     arena_bytes is the size of the arena. */
  QCC_ENTRY_STATIC = 1u
};

typedef struct qcc_entry_rec {
  qcc_string name;
  uint32_t first_input, num_inputs;   /* into tensors */
  uint32_t first_output, num_outputs; /* into tensors */
  uint32_t first_buffer, num_buffers; /* into buffers */
  uint32_t flags;
  uint32_t reserved;
  uint64_t arena_bytes;
} qcc_entry_rec;

enum qcc_state_init { QCC_STATE_ZERO = 0u };

/** A tensor that a context keeps between runs. */
typedef struct qcc_state_rec {
  uint32_t tensor;
  uint32_t init;
} qcc_state_rec;

/** scratch_bytes: what each worker may use while it runs tasks, for all levels;
 * given 64-byte aligned. */
typedef struct qcc_kernel_rec {
  qcc_string name;
  uint64_t scratch_bytes;
  uint32_t num_bindings;
  uint32_t num_dims;
} qcc_kernel_rec;

/** A value that a site computes, for dumps and comparisons: binding is its
 * number in the dispatch. */
typedef struct qcc_result_rec {
  uint32_t tensor;
  uint32_t binding;
} qcc_result_rec;

/** One dispatch in the host program: who asked for it and what it costs. flops,
 * bytes: per call, 0 if unknown. */
typedef struct qcc_site_rec {
  uint32_t entry;
  uint32_t kernel; /* QCC_NONE: a copy or an observation */
  qcc_string node; /* name of the ONNX node */
  qcc_string op;   /* kind, as "qcc.matmul" */
  qcc_size flops;
  qcc_size bytes;
  uint32_t first_result, num_results; /* into results */
} qcc_site_rec;

/** A version of all kernels. Levels go from the least to the most demanding;
 * the last one that fits is used. */
typedef struct qcc_level_rec {
  qcc_string name;
  uint64_t features; /* bits 1 << qcc_cpu_feature, all needed */
} qcc_level_rec;

/**
 * All weights are one range of bytes. file is empty when they are
 * qcc_embedded_weights, else a plain file name beside the library, in which
 * they begin at data_offset (a multiple of 4096). header_sha256 is that of the
 * file's first data_offset bytes and is compared at each load, sha256 that of
 * the weights and is compared on request.
 */
typedef struct qcc_weights_rec {
  uint64_t bytes;
  uint64_t data_offset;
  uint32_t alignment; /* a power of two, 64 to 4096 */
  uint32_t reserved;
  qcc_string file;
  uint8_t sha256[32];
  uint8_t header_sha256[32];
} qcc_weights_rec;

/** The head of the blob. */
typedef struct qcc_program_v1 {
  uint32_t magic;
  uint32_t version;
  uint32_t header_size; /* of this struct */
  uint32_t total_size;  /* of the blob, in bytes */
  qcc_string model_name;
  qcc_string producer; /* name and version of the compiler */
  uint8_t source_sha256[32];
  qcc_weights_rec weights;
  qcc_section exprs;
  qcc_section expr_ops;
  qcc_section dims; /* of qcc_size */
  qcc_section symbols;
  qcc_section tensors;
  qcc_section buffers;
  qcc_section entries;
  qcc_section states;
  qcc_section kernels;
  qcc_section results;
  qcc_section sites;
  qcc_section levels;
} qcc_program_v1;

/** CPU features by number, as CPUID and XCR0 report them together: a bit is set
 * only where the OS keeps the registers. */
enum qcc_cpu_feature {
  QCC_CPU_SSE42 = 0,
  QCC_CPU_POPCNT = 1,
  QCC_CPU_MOVBE = 2,
  QCC_CPU_LZCNT = 3,
  QCC_CPU_BMI = 4,
  QCC_CPU_BMI2 = 5,
  QCC_CPU_AVX = 6,
  QCC_CPU_F16C = 7,
  QCC_CPU_FMA = 8,
  QCC_CPU_AVX2 = 9,
  QCC_CPU_AVXVNNI = 10,
  QCC_CPU_AVX512F = 11,
  QCC_CPU_AVX512CD = 12,
  QCC_CPU_AVX512BW = 13,
  QCC_CPU_AVX512DQ = 14,
  QCC_CPU_AVX512VL = 15,
  QCC_CPU_AVX512VNNI = 16,
  QCC_CPU_AVX512VBMI = 17,
  QCC_CPU_AVX512VBMI2 = 18,
  QCC_CPU_AVX512BF16 = 19,
  QCC_CPU_AVX512FP16 = 20,
  QCC_CPU_AMX_TILE =
      21, /* also: the kernel gave this process permission to use tiles */
  QCC_CPU_AMX_INT8 = 22,
  QCC_CPU_AMX_BF16 = 23,
  QCC_CPU_NUM_FEATURES = 24
};

/*===--- code ---===*/

/** What a binding's index counts. */
enum qcc_space {
  QCC_SPACE_ARENA = 0,  /* buffer of the entry */
  QCC_SPACE_WEIGHT = 1, /* index is 0, offset counts from the first weight */
  QCC_SPACE_INPUT = 2,  /* input of the entry */
  QCC_SPACE_OUTPUT = 3, /* output of the entry */
  QCC_SPACE_STATE = 4,  /* state of the model */
  QCC_SPACE_HOST = 5    /* block that reserve made in this run */
};

/** A place in memory: never a pointer, so that it can be checked, recorded and
 * moved. offset counts bytes. */
typedef struct qcc_binding {
  uint32_t space;
  uint32_t index;
  uint64_t offset;
} qcc_binding;

/**
 * Runs tasks taskBegin to taskEnd - 1 of a kernel. bindings: addresses in the
 * order of the dispatch; arena, weights, states and host allocations are
 * 64-byte aligned at offset 0, inputs and outputs only to their element.
 * scratch: as the kernel's record says, contents undefined, NULL when it asks
 * for none. Tasks may run in any order, on any thread.
 */
typedef void (*qcc_kernel_fn)(void *const *bindings, const int64_t *dims,
                              int64_t task_begin, int64_t task_end,
                              void *scratch);

/** What two sizes do not keep. */
enum qcc_size_rule {
  QCC_SIZES_FIT = 0,      /* something else: they are not shown */
  QCC_SIZES_EQUAL = 1,    /* got == wanted, or one of them is broadcast */
  QCC_SIZES_AT_LEAST = 2, /* got >= wanted */
  QCC_SIZES_COUNTED = 3   /* bytes of a value, negative if none is allowed */
};

/** A value of bind_symbol that is refused with its own text. */
#define QCC_ZERO_STEP (-((int64_t)3 << 61))

/** One run of an entry, owned by the runtime. */
typedef struct qcc_exec qcc_exec;

/**
 * What an entry may call. Functions are appended, never changed. Each returns a
 * qcc_status of qcc.h, 0 for success (or a value with the failure kept). After
 * a failure every function does nothing and returns the same status, so an
 * entry may check late: it must check only before it depends on a value, and
 * returns the last status.
 */
typedef struct qcc_exec_table {
  uint64_t struct_size;

  /** Runs tasks 0 to tasks - 1 of a kernel and waits for them. tasks 0 is
   * allowed; arrays may be NULL when empty. */
  int32_t (*dispatch)(qcc_exec *x, uint32_t site, uint32_t kernel,
                      const qcc_binding *bindings, uint32_t num_bindings,
                      const int64_t *dims, uint32_t num_dims, int64_t tasks);

  /** Shows count elements to the host's observer, if there is one. type is code
   * | bits << 8 | lanes << 16. */
  int32_t (*observe)(qcc_exec *x, uint32_t site, const qcc_binding *value,
                     int64_t count, uint32_t type);

  /** Copies bytes between places that may overlap. */
  int32_t (*copy)(qcc_exec *x, const qcc_binding *to, const qcc_binding *from,
                  int64_t bytes);

  /** Ends the run with a status (not 0), naming the site's node (QCC_NONE:
   * none) in the error text. */
  int32_t (*fail)(qcc_exec *x, int32_t status, uint32_t site);

  /** Makes block `number` of QCC_SPACE_HOST hold bytes, for a value whose size
   * was found at run time (negative: it has none that is allowed). What the
   * block held is kept if keep is not 0, and the block then grows by half at
   * least, so that adding to it often is cheap. Freed when the run ends. */
  int32_t (*reserve)(qcc_exec *x, uint32_t number, int64_t bytes, int32_t keep);

  /** Reads one element of an integer or bool tensor; -1 after a failure. type
   * as for observe. */
  int64_t (*read_index)(qcc_exec *x, const qcc_binding *value, int64_t element,
                        uint32_t type);

  /** Gives a QCC_SYMBOL_RUNTIME symbol its value for the rest of this run; also
   * written to the entry's symbols. QCC_ZERO_STEP: the node has none because
   * its step is 0. */
  int32_t (*bind_symbol)(qcc_exec *x, uint32_t symbol, int64_t value);

  /** Makes an output usable whose dims depend on QCC_SYMBOL_RUNTIME symbols,
   * after they are bound. */
  int32_t (*prepare_output)(qcc_exec *x, uint32_t output);

  /** Frees a block before the run ends; it may be reserved again. */
  int32_t (*release)(qcc_exec *x, uint32_t number);

  /** Ends the run with a status (not 0) because two sizes do not fit each
   * other; they are shown in the error text as the rule says. node: the name of
   * the node that needs it, which may be "". */
  int32_t (*refuse)(qcc_exec *x, int32_t status, const char *node,
                    uint32_t rule, int64_t got, int64_t wanted);
} qcc_exec_table;

/**
 * An entry: calls dispatch and the rest in order. symbols: the value of each
 * symbol of the program by number, -1 for those that no input of this entry
 * binds.
 */
typedef int32_t (*qcc_entry_fn)(const qcc_exec_table *table, qcc_exec *x,
                                const int64_t *symbols);

/*===--- what the compiler emits ------------------------------------------===*/

/** The blob, 8-byte aligned. */
extern __attribute__((visibility("hidden")))
const unsigned char qcc_program_blob[];

/** Kernel k at level l is element l * (number of kernels) + k. */
extern __attribute__((visibility("hidden")))
const qcc_kernel_fn qcc_kernel_table[];

/** One function per entry. */
extern __attribute__((visibility("hidden")))
const qcc_entry_fn qcc_entry_table[];

/**
 * The weights, aligned as the blob says, when the blob names no file for them;
 * else one byte.
 */
extern __attribute__((visibility("hidden")))
const unsigned char qcc_embedded_weights[];

#ifdef __cplusplus
} /* extern "C" */
#endif

/* NOLINTEND(readability-identifier-naming,
 * bugprone-dynamic-static-initializers) */

#endif /* QCC_RUNTIME_PROGRAM_H */
