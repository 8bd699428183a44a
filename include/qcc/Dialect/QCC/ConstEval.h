//===- ConstEval.h - values of constant expressions -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Transposes, foldings and packings of parameters stay expressions in the IR
// and are evaluated here, once, while the artifact is written. Nothing depends
// on the machine: floats are computed as IEEE f32 and f64 in program order.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_DIALECT_QCC_CONSTEVAL_H
#define QCC_DIALECT_QCC_CONSTEVAL_H

#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <functional>

namespace qcc {

/// Where the bytes of parameters and of encoded weights come from.
struct ConstSource {
  /// Bytes of a parameter by key, at any alignment; empty if there is none.
  std::function<llvm::ArrayRef<char>(llvm::StringRef key)> parameter;
  /// Writes the encoded form of a weight: the bytes of the operands (row-major)
  /// in, those of the result out.
  std::function<llvm::Error(EncodeOp op,
                            llvm::ArrayRef<llvm::ArrayRef<char>> operands,
                            llvm::MutableArrayRef<char> out)>
      encode;
};

/// Bytes of a static tensor type in memory: row-major, bool and sub-byte
/// elements one byte each. None if it overflows.
std::optional<uint64_t> getTensorBytes(mlir::Type type);

/// Evaluates a constant expression (see isConstantExpression) into `out`, which
/// has getTensorBytes(value.getType()) bytes. At any time at most the operands
/// of one operation and its result are in memory. Errors: BadTensor for a
/// parameter that is missing or too short, Internal for an operation that
/// cannot be evaluated.
llvm::Error evaluateConstant(mlir::Value value, const ConstSource &source,
                             llvm::MutableArrayRef<char> out);

/// Checks what it takes to evaluate constant expressions one after the other
/// against the parameters that they are made of: a model of few bytes must not
/// ask for much. Errors: LimitReached, with the node, for results or values
/// between of more than 8 times the parameters' bytes and 1 GiB, and for more
/// than 32 steps per element of a parameter and 2^26.
llvm::Error checkConstantCost(mlir::ValueRange values);

/// The constant that a generic, reshape or concat of small constants computes;
/// null if an operand is not a constant, the result has more than `maxElements`
/// elements, it takes more than 2^20 steps, or the body cannot be evaluated.
mlir::DenseElementsAttr foldSmallConstant(mlir::Operation *op,
                                          int64_t maxElements = 4096);

} // namespace qcc

#endif // QCC_DIALECT_QCC_CONSTEVAL_H
