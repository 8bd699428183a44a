//===- Verify.h - what must hold after each stage ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PIPELINE_VERIFY_H
#define QCC_PIPELINE_VERIFY_H

#include "mlir/IR/BuiltinOps.h"
#include "qcc/Pipeline/Stage.h"

namespace qcc {

/// Checks the invariant of a stage besides what the operations' own verifiers
/// check: which operations may stand at which level after it, and that scales
/// are finite. A broken invariant is a fault of qcc and is reported as one.
mlir::LogicalResult verifyStage(mlir::ModuleOp module, Stage stage);

} // namespace qcc

#endif // QCC_PIPELINE_VERIFY_H
