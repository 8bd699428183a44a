//===- Program.h - building sequential programs -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_PROGRAM_H
#define QCC_LIB_IMPORT_ONNX_PROGRAM_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// Builds the body of a `qcc.program`: arithmetic, and statements that write.
class ProgramBody : public Body {
public:
  using Body::Body;

  /// Sets an element; f32 is narrowed for tensors of f16 and bf16.
  void write(mlir::Value value, mlir::Value tensor, mlir::ValueRange indices);
  /// Runs `fn(i)` for i from 0 to `count`.
  void repeat(mlir::Value count, llvm::function_ref<void(mlir::Value)> fn);
  /// Runs `fn` at each index of a tensor of these sizes, the last dimension
  /// innermost.
  void forEach(llvm::ArrayRef<mlir::AffineExpr> sizes,
               llvm::function_ref<void(mlir::ValueRange)> fn);
  /// Runs `fn` if the condition holds.
  void when(mlir::Value condition, llvm::function_ref<void()> fn);
  /// Copies `count` elements of a tensor of rank 1.
  void copy(mlir::Value from, mlir::Value to, mlir::Value count);
};

/// A program at the insertion point, run once or once per index of `over`
/// (`dim(0)` in the body) where that is given. `fn` gets the operands and then
/// the results as tensors. Results that nothing reads are working memory. Empty
/// with a problem recorded, or if an input is null.
llvm::SmallVector<mlir::Value>
emitProgram(NodeContext &node, llvm::ArrayRef<mlir::RankedTensorType> results,
            mlir::ValueRange inputs, mlir::AffineExpr over,
            llvm::function_ref<void(ProgramBody &, mlir::ValueRange)> fn);

/// Sorts the numbers 0 to `count` of row `row`: results `order` and `spare`,
/// i64 `[rows, count]`, are written, `order` being the result. Stable; `less`
/// compares two numbers. Takes time `n log n`.
void emitSort(ProgramBody &body, mlir::Value order, mlir::Value spare,
              mlir::Value row, mlir::Value count,
              llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> less);

/// `x < y` in a total order: NaN is above all numbers.
mlir::Value isBelow(Body &body, mlir::Value x, mlir::Value y, bool isUnsigned);

/// The places `[n]`, i64, of the elements of a vector that are not zero, and
/// how many there are, a size found at run time. Null with a problem recorded.
struct Places {
  mlir::Value places;
  mlir::AffineExpr count;
};
Places emitNonZero(NodeContext &node, mlir::Value vector);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_PROGRAM_H
