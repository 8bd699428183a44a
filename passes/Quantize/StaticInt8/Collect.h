//===- Collect.h - which activations become codes ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What becomes codes besides the inputs of layers that run in integers.
// `layers` are these; values of `keptFloat` are left out. `add` gives the
// activation of a value, which it makes with a range if there is none yet.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_COLLECT_H
#define QCC_PASSES_QUANTIZE_STATICINT8_COLLECT_H

#include "Activations.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"

namespace qcc {

using Adder = llvm::function_ref<Activation &(mlir::Value, Range)>;

/// The earlier operands of sums of several activations, if convolutions give
/// them: they are stored until the last one is there. That one is in
/// registers and stays as it is.
void addSummands(mlir::ModuleOp module,
                 llvm::ArrayRef<mlir::Operation *> layers,
                 const llvm::DenseSet<mlir::Value> &keptFloat, Adder add);

/// What the maximum of a window is taken of gets the same codes as the
/// maximum: its codes are found among them.
void addPooled(const llvm::MapVector<mlir::Value, Activation> &activations,
               const llvm::DenseSet<mlir::Value> &keptFloat, Adder add);

/// What averages are taken of, if integers give it: their sums are exact. It
/// has a scale of its own, for an average's range is narrower.
void addAveraged(mlir::ModuleOp module,
                 llvm::ArrayRef<mlir::Operation *> layers,
                 const llvm::DenseSet<mlir::Value> &keptFloat, Adder add);

/// True for a tensor of f32.
bool isF32(mlir::Value value);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_COLLECT_H
