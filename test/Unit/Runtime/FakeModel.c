/*===- FakeModel.c - a model written by hand ----------------------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/*
 * What the compiler would emit for the program of MakeFakeProgram.cpp. Tests
 * link it with the runtime's archive into a library like any artifact.
 */
#include "qcc/Runtime/Program.h"

__attribute__((aligned(64))) const unsigned char qcc_program_blob[] = {
#include "Program.inc"
};

__attribute__((aligned(64))) const unsigned char qcc_embedded_weights[] = {
    0, 0, 0x20, 0x41, 0, 0, 0xa0, 0x41, 0, 0, 0xf0, 0x41, 0, 0, 0x20, 0x42};

/* Rows of 4: bindings are x and 2 * x. The scratch has what each worker must
 * find for itself. */
static void twice(void *const *b, const int64_t *dims, int64_t begin,
                  int64_t end, void *scratch) {
  const float *x = b[0];
  float *y = b[1];
  volatile float *mine = scratch;
  (void)dims;
  for (int64_t i = 4 * begin; i < 4 * end; ++i) {
    mine[i % 16] = 2 * x[i];
    y[i] = mine[i % 16];
  }
}

static void add_weight(void *const *b, const int64_t *dims, int64_t begin,
                       int64_t end, void *scratch) {
  const float *x = b[0];
  const float *w = b[1];
  float *y = b[2];
  (void)dims;
  (void)scratch;
  for (int64_t i = 4 * begin; i < 4 * end; ++i)
    y[i] = x[i] + w[i % 4];
}

static void accumulate(void *const *b, const int64_t *dims, int64_t begin,
                       int64_t end, void *scratch) {
  (void)dims;
  (void)begin;
  (void)end;
  (void)scratch;
  *(int64_t *)b[0] += *(const int64_t *)b[1];
}

static void count_nonzero(void *const *b, const int64_t *dims, int64_t begin,
                          int64_t end, void *scratch) {
  const float *x = b[0];
  int64_t *count = b[1];
  (void)begin;
  (void)end;
  (void)scratch;
  *count = 0;
  for (int64_t i = 0; i < dims[0]; ++i)
    *count += x[i] != 0;
}

static void fill_indices(void *const *b, const int64_t *dims, int64_t begin,
                         int64_t end, void *scratch) {
  const float *x = b[0];
  int64_t *found = b[1];
  int64_t *spare = b[2];
  (void)begin;
  (void)end;
  (void)scratch;
  for (int64_t i = 0; i < dims[0]; ++i) {
    spare[i] = i;
    if (x[i] != 0)
      *found++ = spare[i];
  }
}

static void probe(void *const *b, int32_t level) {
  int32_t *out = b[0];
  out[0] = (int32_t)__builtin_ia32_stmxcsr();
  out[1] = level;
}

static void probe_base(void *const *b, const int64_t *dims, int64_t begin,
                       int64_t end, void *scratch) {
  (void)dims;
  (void)begin;
  (void)end;
  (void)scratch;
  probe(b, 0);
}

static void probe_better(void *const *b, const int64_t *dims, int64_t begin,
                         int64_t end, void *scratch) {
  (void)dims;
  (void)begin;
  (void)end;
  (void)scratch;
  probe(b, 1);
}

const qcc_kernel_fn qcc_kernel_table[] = {
    twice, add_weight, accumulate, count_nonzero, fill_indices, probe_base,
    twice, add_weight, accumulate, count_nonzero, fill_indices, probe_better};

static int32_t run_main(const qcc_exec_table *t, qcc_exec *x,
                        const int64_t *symbols) {
  static const qcc_binding first[] = {{QCC_SPACE_INPUT, 0, 0},
                                      {QCC_SPACE_ARENA, 0, 0}};
  static const qcc_binding second[] = {{QCC_SPACE_ARENA, 0, 0},
                                       {QCC_SPACE_WEIGHT, 0, 0},
                                       {QCC_SPACE_OUTPUT, 0, 0}};
  static const qcc_binding history = {QCC_SPACE_STATE, 1, 0};
  const int64_t dims[] = {symbols[0]};
  t->dispatch(x, 0, 0, first, 2, dims, 1, symbols[0]);
  t->observe(x, 0, &first[1], 4 * symbols[0], 2 | 32 << 8 | 1 << 16);
  t->copy(x, &history, &first[1], 16 * symbols[0]);
  return t->dispatch(x, 1, 1, second, 3, dims, 1, symbols[0]);
}

static int32_t run_count(const qcc_exec_table *t, qcc_exec *x,
                         const int64_t *symbols) {
  static const qcc_binding b[] = {{QCC_SPACE_STATE, 0, 0},
                                  {QCC_SPACE_INPUT, 0, 0}};
  static const qcc_binding temporary = {QCC_SPACE_ARENA, 0, 0};
  static const qcc_binding total = {QCC_SPACE_OUTPUT, 0, 0};
  (void)symbols;
  t->dispatch(x, 2, 2, b, 2, 0, 0, 1);
  t->copy(x, &temporary, &b[0], 8);
  return t->copy(x, &total, &temporary, 8);
}

static int32_t run_nonzero(const qcc_exec_table *t, qcc_exec *x,
                           const int64_t *symbols) {
  static const qcc_binding count[] = {{QCC_SPACE_INPUT, 0, 0},
                                      {QCC_SPACE_ARENA, 0, 0}};
  qcc_binding fill[] = {{QCC_SPACE_INPUT, 0, 0},
                        {QCC_SPACE_OUTPUT, 0, 0},
                        {QCC_SPACE_HOST, 0, 0}};
  const int64_t dims[] = {symbols[1]};
  t->dispatch(x, 3, 3, count, 2, dims, 1, 1);
  int64_t found = t->read_index(x, &count[1], 0, 64 << 8 | 1 << 16);
  t->bind_symbol(x, 2, found);
  t->prepare_output(x, 0);
  /* As a loop would: more blocks than there is room for at first, one that
     grows and keeps what it holds, one that is freed and reserved again. */
  for (uint32_t i = 0; i < 100; ++i)
    t->reserve(x, i, 8, 0);
  static const qcc_binding block = {QCC_SPACE_HOST, 3, 0};
  t->copy(x, &block, &count[1], 8);
  for (int64_t bytes = 16; bytes < 4096; bytes += 8)
    t->reserve(x, 3, bytes, 1);
  if (t->read_index(x, &block, 0, 64 << 8 | 1 << 16) != found)
    return t->fail(x, 10, QCC_NONE);
  t->release(x, 7);
  t->reserve(x, 7, 8 * symbols[1], 0);
  fill[2].index = 7;
  return t->dispatch(x, 4, 4, fill, 3, dims, 1, 1);
}

static int32_t run_refuse(const qcc_exec_table *t, qcc_exec *x,
                          const int64_t *symbols) {
  (void)symbols;
  t->fail(x, 10, 5);
  return t->reserve(x, 0, 8, 0) == 10 ? 0 : 99;
}

static int32_t run_probe(const qcc_exec_table *t, qcc_exec *x,
                         const int64_t *symbols) {
  static const qcc_binding b[] = {{QCC_SPACE_OUTPUT, 0, 0}};
  (void)symbols;
  return t->dispatch(x, 6, 5, b, 1, 0, 0, 1);
}

/* Refers to memory behind its output: the runtime must refuse. */
static int32_t run_wild(const qcc_exec_table *t, qcc_exec *x,
                        const int64_t *symbols) {
  static const qcc_binding to = {QCC_SPACE_OUTPUT, 0, 8};
  static const qcc_binding from = {QCC_SPACE_WEIGHT, 0, 0};
  (void)symbols;
  return t->copy(x, &to, &from, 16);
}

const qcc_entry_fn qcc_entry_table[] = {run_main,   run_count, run_nonzero,
                                        run_refuse, run_probe, run_wild};
