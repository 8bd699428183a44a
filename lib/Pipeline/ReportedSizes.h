//===- ReportedSizes.h - sizes at which work is counted ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_REPORTEDSIZES_H
#define QCC_LIB_PIPELINE_REPORTEDSIZES_H

#include "mlir/IR/BuiltinOps.h"

namespace qcc {

/// What a size that is not known is taken to be: 1 where it is the first one of
/// an input, which is a batch mostly, else as long as a short text.
inline constexpr int64_t kAssumedBatch = 1, kAssumedSize = 128;

/// A size for each symbol of a module.
struct AssumedSizes {
  std::vector<int64_t> values;
  std::vector<bool> isBatch; ///< first dimensions of inputs
};

/// Those of a module with inputs of these types, before its bounds count.
AssumedSizes assumeSizes(mlir::ModuleOp module,
                         llvm::ArrayRef<mlir::Type> inputs);

/// Keeps sizes within the bounds of the module's symbols.
void clampSizes(mlir::ModuleOp module, std::vector<int64_t> &sizes);

} // namespace qcc

#endif // QCC_LIB_PIPELINE_REPORTEDSIZES_H
