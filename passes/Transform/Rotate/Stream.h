//===- Stream.h - values that are rotated together --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_TRANSFORM_ROTATE_STREAM_H
#define QCC_PASSES_TRANSFORM_ROTATE_STREAM_H

#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include <string>

namespace qcc::rotate {

/// A residual stream: values whose last dimension is the same channels, with
/// the constants that make them and those that read them.
struct Stream {
  int64_t channels = 0;
  llvm::SetVector<mlir::Value> values;
  /// Constant operands whose columns make values: embeddings, weights of
  /// products, biases. Rows of the last dimension, except for `transB`.
  llvm::SetVector<mlir::OpOperand *> makers;
  /// Products whose weight's rows read a value, with the gain that is between
  /// (an operand [channels] of a product of a norm), or null. With an obstacle
  /// those that were found, which may not all read it in this way.
  llvm::MapVector<MatMulOp, mlir::OpOperand *> readers;
  /// Why it cannot be rotated; empty if it can.
  std::string obstacle;
};

/// The stream that a value belongs to.
Stream findStream(mlir::Value value);

/// The values of an attention that a product reads: channels of the product's
/// input in blocks of `size`, each a head's.
struct Heads {
  MatMulOp reader;
  /// Constant operands that make the values: blocks along dimension `dim`,
  /// `count` channels from `first` on.
  struct Maker {
    mlir::OpOperand *operand;
    int64_t dim, first, count;
  };
  llvm::SmallVector<Maker> makers;
  int64_t size = 0;
  std::string obstacle; ///< empty if they can be rotated
};

/// None if the product's input is no attention's result.
std::optional<Heads> findHeads(MatMulOp reader);

} // namespace qcc::rotate

#endif // QCC_PASSES_TRANSFORM_ROTATE_STREAM_H
