//===- LinearGroup.h - products of the same activation ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What algorithms work on: products with constant weights that read the same
// activation, whose data are gathered once for all.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_LINEARGROUP_H
#define QCC_CALIBRATION_LINEARGROUP_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/ADT/SetVector.h"
#include <vector>

namespace qcc {

/// Products with constant weights that read the same activation.
struct LinearGroup {
  mlir::Value input;
  llvm::SmallVector<MatMulOp> layers;
  /// Others that read it and stay in float, as a router: where channels are
  /// scaled, their weights are too.
  llvm::SmallVector<MatMulOp> kept;
  /// What hands rows of the input on to the products: experts have those of
  /// their tokens. Nothing else reads what these make.
  llvm::SetVector<mlir::Operation *> movers;

  /// True for a use of the input, or of what movers make of it, by the group.
  bool reads(mlir::OpOperand &use) const;
};

/// The groups of a function, in the order of its first products, of those that
/// `take` takes.
llvm::SmallVector<LinearGroup>
collectLinearGroups(mlir::func::FuncOp func,
                    llvm::function_ref<bool(MatMulOp)> take);

/// The same for what scales channels: products belong together by what picks,
/// repeats and reshapes the rows of their inputs too, so that all experts of a
/// mixture, its router and what they share are one group. `kept` has products
/// that `take` does not take.
llvm::SmallVector<LinearGroup>
collectScaledGroups(mlir::func::FuncOp func,
                    llvm::function_ref<bool(MatMulOp)> take);

/// The layers by which scales are chosen: all, but of experts those, evenly
/// spaced, that have 2^25 weights, at least 4, for the sake of memory.
llvm::SmallVector<MatMulOp> getJudgedLayers(const LinearGroup &group);

/// The operand of which an operation repeats, picks or reshapes rows, the last
/// dimension as it is; null for one that does anything else.
mlir::OpOperand *getMovedRows(mlir::Operation *op);

/// The rows and columns of a layer's weight, whichever way it is stored.
int64_t getWeightRows(MatMulOp layer);
int64_t getWeightColumns(MatMulOp layer);

/// The weight of a layer, [K, N] row-major. Errors: as Workspace::evaluate;
/// BadTensor for weights that are not finite.
llvm::Expected<std::vector<float>> readWeight(Workspace &workspace,
                                              MatMulOp layer);

/// Multiplies the rows of the weights of a group.
void scaleWeightRows(const LinearGroup &group, llvm::ArrayRef<float> scales);
/// Divides the group's input in an operation of its own, which only the group
/// reads.
void divideInput(const LinearGroup &group, llvm::ArrayRef<float> scales);

/// `value` times or over a constant of `sizes` along its dimensions `dims`.
mlir::Value scaleChannels(mlir::OpBuilder &b, mlir::Value value,
                          llvm::ArrayRef<int64_t> dims,
                          llvm::ArrayRef<int64_t> sizes,
                          llvm::ArrayRef<float> factors, bool divide);

} // namespace qcc

#endif // QCC_CALIBRATION_LINEARGROUP_H
