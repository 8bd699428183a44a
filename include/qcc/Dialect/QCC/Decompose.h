//===- Decompose.h - the meaning of named operations ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_DIALECT_QCC_DECOMPOSE_H
#define QCC_DIALECT_QCC_DECOMPOSE_H

#include "mlir/IR/PatternMatch.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// Creates a generic. `maps` has one map per input; `over` are the extents of
/// the reduction dimensions. `body` gets the scalars of the inputs and then the
/// whole tensors and returns what is yielded.
GenericOp
createGeneric(mlir::OpBuilder &builder, mlir::Location loc,
              mlir::RankedTensorType type, Combiner combiner,
              mlir::ValueRange inputs, llvm::ArrayRef<mlir::AffineMap> maps,
              mlir::ValueRange whole, llvm::ArrayRef<mlir::AffineExpr> over,
              llvm::function_ref<mlir::Value(mlir::ImplicitLocOpBuilder &,
                                             mlir::ValueRange)>
                  body);

/// A copy of a tensor with its dimensions in another order: dimension i of the
/// result is dimension permutation[i] of the input.
GenericOp permute(mlir::OpBuilder &builder, mlir::Location loc,
                  mlir::Value input, llvm::ArrayRef<int64_t> permutation);

/// A tensor of floats or of integers rounded to `elementType`, once and as the
/// bodies of that type round (docs/numerics.md), or floats widened to it; the
/// tensor itself if it is of that type.
mlir::Value castTo(mlir::OpBuilder &builder, mlir::Location loc,
                   mlir::Value value, mlir::Type elementType);

/// A tensor as numbers that a float of 8 bits has, in f32, times a scale for
/// each row (last dimension, which the scales [..., 1] have once).
struct RoundedTokens {
  mlir::Value values, scales;
};
/// Rounds an f32 tensor to E4M3FN or E5M2, to nearest with ties to even. The
/// scale of a row is its largest magnitude over the largest float, 1 for rows
/// of which that is 0 (dynamic FP8 of llm-compressor). Rows with NaN or
/// infinite elements become NaN.
RoundedTokens roundTokens(mlir::OpBuilder &builder, mlir::Location loc,
                          mlir::Value input, mlir::FloatType format);
/// `values` with each row times its scale [..., 1].
mlir::Value scaleTokens(mlir::OpBuilder &builder, mlir::Location loc,
                        mlir::Value values, mlir::Value scales);

/// True for the named operations that `decompose` can replace.
bool isDecomposable(mlir::Operation *op);

/// Replaces a named operation by generics that compute the same: this is what
/// the operation means. 16-bit floats are computed in f32 and rounded once at
/// the end. Fails with a diagnostic for an operation that it does not know.
mlir::LogicalResult decompose(mlir::Operation *op,
                              mlir::RewriterBase &rewriter);

} // namespace qcc

#endif // QCC_DIALECT_QCC_DECOMPOSE_H
