//===- Probe.h - the model with some weights rounded ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_PROBE_H
#define QCC_PASSES_PRECISION_ASSIGN_PROBE_H

#include "Layers.h"
#include "qcc/Calibration/OutputJudge.h"

namespace qcc::assign {

/// Measures what each candidate of each layer does alone, and sets the losses.
/// Weights are arguments of the code that runs, so that it is compiled once for
/// many layers; activations of integer formats are rounded and multiplied back
/// in float. Errors: what compiling and running give.
llvm::Error measureLosses(Workspace &workspace, mlir::ModuleOp module,
                          const OutputJudge &judge,
                          llvm::MutableArrayRef<Layer> layers);

/// Estimates the same without running the model for each: the squared error of
/// a layer's outputs relative to their power, by the diagonal of x^T x (its
/// Hessian). For models too large to be measured.
llvm::Error estimateLosses(Workspace &workspace, mlir::ModuleOp module,
                           llvm::MutableArrayRef<Layer> layers);

/// Scores the model with the formats chosen for all layers, weights rounded to
/// nearest.
llvm::Expected<OutputScore> scoreAssignment(Workspace &workspace,
                                            mlir::ModuleOp module,
                                            const OutputJudge &judge,
                                            llvm::ArrayRef<Layer> layers);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_PROBE_H
