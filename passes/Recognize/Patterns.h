//===- Patterns.h - what Recognize looks for --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_RECOGNIZE_PATTERNS_H
#define QCC_PASSES_RECOGNIZE_PATTERNS_H

#include "mlir/IR/PatternMatch.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// An elementwise generic whose body is one binary operation of its two
/// operands, each an input or a constant.
struct BinaryElementwise {
  mlir::Operation *op;     ///< the operation of the body
  mlir::Value operands[2]; ///< tensors; null where a constant stands
  mlir::AffineMap maps[2]; ///< how each is read
  std::optional<double> constants[2];
};
std::optional<BinaryElementwise> matchBinary(mlir::Value value);

/// The tensor that a generic applies a body of one unary operation to, read by
/// the identity; null if it is of another form.
mlir::Value matchUnary(mlir::Value value, llvm::StringRef opName);

/// The value that all elements of a constant have.
std::optional<double> getSplat(mlir::Value value);

/// The number that `value`, of the body of `generic`, is for all elements: a
/// constant there, or an input that is one; none if it is not one number.
std::optional<double> getNumber(GenericOp generic, mlir::Value value);

void populateAttentionPatterns(mlir::RewritePatternSet &patterns);
void populateSoftmaxPatterns(mlir::RewritePatternSet &patterns);
void populateAttentionOperandPatterns(mlir::RewritePatternSet &patterns);
void populateNormPatterns(mlir::RewritePatternSet &patterns);
void populateChannelScalePatterns(mlir::RewritePatternSet &patterns);

} // namespace qcc

#endif // QCC_PASSES_RECOGNIZE_PATTERNS_H
