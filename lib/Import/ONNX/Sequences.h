//===- Sequences.h - lists of tensors while importing -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A sequence exists while a model is imported only: a value of tuple type, cast
// from its tensors, which nothing uses once all nodes that read it are
// imported. What a loop appends is one stack of as many elements as it had
// iterations.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_IMPORT_ONNX_SEQUENCES_H
#define QCC_LIB_IMPORT_ONNX_SEQUENCES_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// Most tensors of a sequence that are counted while importing.
inline constexpr size_t kMaxSequence = 4096;

/// The tensors of a sequence, then those of a stack `[count, ...]` if there is
/// one. `carried`: behind what the loop's carried value of that number had.
struct Sequence {
  llvm::SmallVector<mlir::Value> elements;
  mlir::Value stack;
  std::optional<int64_t> carried;
};

bool isSequence(mlir::Value value);
/// What a value of a sequence stands for; it must be one.
Sequence getSequence(mlir::Value value);
/// A value for it, at the emitter's insertion point; null with LimitReached
/// recorded if it is too long.
mlir::Value makeSequence(Emitter &emitter, const Sequence &sequence);

/// True for operators whose input `i` may be a sequence.
bool takesSequence(llvm::StringRef op, unsigned i);

/// Sequences among the values that a loop carries: its body appends one tensor
/// to each, or none. They are no carried values then: what is appended is
/// stacked.
class CarriedSequences {
public:
  /// `init`: all carried values. Records UnsupportedForm for what is neither.
  CarriedSequences(NodeContext &node, llvm::ArrayRef<mlir::Value> init)
      : node(node), init(init) {}

  /// The carried values that are tensors.
  llvm::SmallVector<mlir::Value> getTensors() const;
  /// Appends the body's arguments: the tensors that are given, and the
  /// sequences between them.
  void addArguments(Emitter &emitter, llvm::ArrayRef<mlir::Value> tensors,
                    llvm::SmallVectorImpl<mlir::Value> &arguments) const;
  /// Makes the body's results (a condition, carried values, what is stacked)
  /// those of a loop that carries tensors alone.
  mlir::LogicalResult takeResults(llvm::SmallVectorImpl<mlir::Value> &results);
  /// Makes the results of such a loop the node's.
  mlir::LogicalResult setOutputs(llvm::ArrayRef<mlir::Value> results);

private:
  NodeContext &node;
  llvm::ArrayRef<mlir::Value> init;
  llvm::DenseSet<size_t> appended; ///< carried values with a stack
};

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_SEQUENCES_H
