//===- Model.h - an open model ----------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_MODEL_H
#define QCC_LIB_RUNTIME_MODEL_H

#include "Pool.h"
#include "Support.h"
#include "Weights.h"

#include "qcc/Runtime/ProgramView.h"

#include <atomic>

/// What qcc_open gives: all of it but the count of contexts and the threads is
/// constant from then on.
struct qcc_model {
  qcc_host host;
  qcc::runtime::Memory memory;
  qcc::runtime::ProgramView program;
  qcc::runtime::Weights weights;
  qcc::runtime::Pool pool;
  /// The level of kernels in use.
  uint32_t level;
  /// Workers of a run, at most.
  uint32_t maxWorkers;
  /// For tensor_info, per dim of the program: its value or -1, and its symbol.
  int64_t *dims;
  const char **dimSymbols;
  std::atomic<uint32_t> contexts;
  /// Largest counts over kernels and entries, for the arrays of contexts.
  uint32_t maxBindings;
  uint32_t maxInputs;
  uint32_t maxOutputs;
  uint64_t scratchBytes;
};

namespace qcc::runtime {

/// Opens the model that this library carries.
qcc_status openModel(const qcc_open_options &options, qcc_model *&model,
                     ErrorText &error);
/// Frees a model that has no contexts.
void closeModel(qcc_model *model);

/// The last level whose features are all in `features`; QCC_NONE when there is
/// none, and then `missing` has what the first level lacks.
uint32_t chooseLevel(const ProgramView &program, uint64_t features,
                     uint64_t &missing);

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_MODEL_H
