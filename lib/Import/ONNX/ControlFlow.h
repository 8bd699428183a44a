//===- ControlFlow.h - importing the body of a loop -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_CONTROLFLOW_H
#define QCC_LIB_IMPORT_ONNX_CONTROLFLOW_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// True for a tensor of one boolean.
bool isBoolean(mlir::Value value);
/// The constant value of a boolean, if it has one; none for null.
std::optional<bool> getConstantCondition(NodeContext &node, mlir::Value value);
/// Erases the body of a branch or loop and forgets what was known of its
/// values.
void eraseBody(mlir::Region &region, ShapeTable &shapes);

/// Builds a `qcc.loop` whose body is imported or emitted by a callback.
class LoopImport {
public:
  /// Emits the body at the importer's insertion point: from the carried values
  /// to a condition (if there is one), the next carried values and what is
  /// stacked.
  using BodyImporter = llvm::function_ref<mlir::LogicalResult(
      llvm::ArrayRef<mlir::Value>, llvm::SmallVectorImpl<mlir::Value> &)>;

  LoopImport(NodeContext &node, llvm::SmallVector<mlir::Value> init);

  /// The symbol that counts iterations from 0; null with a problem recorded.
  mlir::AffineExpr getIteration();

  /// Builds the loop and gives its results: the last carried values, then the
  /// stacks `[iterations, ...]`. None with a problem recorded. `trip`: the most
  /// iterations, null for no limit. `condition`: whether the first one
  /// runs, null for always; `first`: it is known to be true. `hasCondition`:
  /// the body gives one. The body is emitted several times where sizes of
  /// carried values turn out to change.
  std::optional<llvm::SmallVector<mlir::Value>>
  run(mlir::AffineExpr trip, mlir::Value condition, bool first,
      bool hasCondition, BodyImporter body);

private:
  std::optional<bool> widen(unsigned i, mlir::Value next);
  std::optional<bool> importOnce(BodyImporter body, unsigned skip,
                                 mlir::Region &region,
                                 llvm::SmallVectorImpl<mlir::Value> &results);
  std::optional<Dims> liftSizes(mlir::Value element, size_t firstInner,
                                mlir::Region &region);
  mlir::AffineMapAttr bindSizes(unsigned skip,
                                llvm::ArrayRef<mlir::Value> results,
                                llvm::SmallVectorImpl<int64_t> &positions);
  std::optional<llvm::SmallVector<mlir::Value>>
  build(mlir::AffineExpr trip, mlir::Value condition, bool first, unsigned skip,
        size_t firstInner, mlir::Region &region,
        llvm::ArrayRef<mlir::Value> results);

  NodeContext &node;
  llvm::SmallVector<mlir::Value> init;
  /// Sizes of the carried values; those in `symbols` change.
  llvm::SmallVector<Dims> dims;
  llvm::SmallVector<mlir::AffineExpr> symbols;
  mlir::AffineExpr iteration;
};

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_CONTROLFLOW_H
