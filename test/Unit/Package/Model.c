/*===- Model.c - the smallest program that can be packaged --------*- C -*-===*/
/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
#include "qcc/Runtime/Program.h"

static void copyKernel(void *const *bindings, const int64_t *dims,
                       int64_t begin, int64_t end, void *scratch) {
  const float *weight = bindings[0], *in = bindings[1];
  float *out = bindings[2];
  (void)dims, (void)scratch;
  for (int64_t i = begin; i < end; ++i)
    out[i] = in[i] * weight[i];
}

static int32_t runMain(const qcc_exec_table *table, qcc_exec *x,
                       const int64_t *symbols) {
  const qcc_binding bindings[] = {{QCC_SPACE_WEIGHT, 0, 0},
                                  {QCC_SPACE_INPUT, 0, 0},
                                  {QCC_SPACE_OUTPUT, 0, 0}};
  (void)symbols;
  return table->dispatch(x, 0, 0, bindings, 3, 0, 0, 4);
}

const qcc_kernel_fn qcc_kernel_table[] = {copyKernel};
const qcc_entry_fn qcc_entry_table[] = {runMain};
