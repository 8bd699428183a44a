//===- AttentionParts.h - attention with transposes around it ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_ATTENTIONPARTS_H
#define QCC_TARGETS_X86_ATTENTIONPARTS_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// A tensor of rank 4 in memory, addressed by strides in elements.
struct Operand {
  mlir::Value pointer;
  llvm::SmallVector<mlir::Value> strides;
  bool unit = true; ///< the last index has stride 1

  mlir::Value offset(KernelBuilder &b,
                     llvm::ArrayRef<mlir::Value> indices) const;
};

/// An attention, the copies that permute its operands' dimensions, and either
/// an elementwise epilogue or one operation on the elements of its result that
/// permutes them.
struct AttentionParts {
  AttentionOp op;
  Epilogue epilogue;  ///< empty with `permuted`
  GenericOp permuted; ///< may be null

  /// The parts of a dispatch or kernel; none if its body has another form or an
  /// operand's last dimension would not be contiguous.
  static std::optional<AttentionParts> find(mlir::Block &body);

  /// Where an operand of the attention lies: a permuting copy is looked
  /// through. A dimension of size 1 of the mask has stride 0.
  Operand getOperand(KernelBuilder &b, mlir::Value operand) const;
  /// Where its result goes.
  Operand getResult(KernelBuilder &b) const;
  /// Stores `lanes` elements of the result at `indices` of the attention, after
  /// what follows it; the first `count` of them if that is given.
  mlir::LogicalResult store(KernelBuilder &b, const Operand &result,
                            mlir::Value value,
                            llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
                            mlir::Value count) const;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_ATTENTIONPARTS_H
