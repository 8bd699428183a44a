//===- DecomposeDetail.h - helpers of the decompositions --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_DECOMPOSEDETAIL_H
#define QCC_LIB_DIALECT_QCC_DECOMPOSEDETAIL_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

namespace qcc::decomposition {

/// Index arithmetic and bounds in the body of a generic.
struct Body {
  explicit Body(mlir::ImplicitLocOpBuilder &b) : b(b) {}

  mlir::Value index(unsigned dim) {
    return IndexOp::create(b, b.getIndexType(), dim);
  }
  mlir::Value extent(mlir::AffineExpr expr) {
    return b.createOrFold<ExtentOp>(
        b.getIndexType(),
        mlir::AffineMapAttr::get(makeSizeMap({expr}, b.getContext())));
  }
  mlir::Value constant(int64_t value) {
    return mlir::arith::ConstantIndexOp::create(b, value);
  }
  /// `value * scale + offset`.
  mlir::Value affine(mlir::Value value, int64_t scale, int64_t offset);
  mlir::Value add(mlir::Value x, mlir::Value y) {
    return b.createOrFold<mlir::arith::AddIOp>(x, y);
  }
  mlir::Value compare(mlir::arith::CmpIPredicate predicate, mlir::Value x,
                      mlir::Value y) {
    return mlir::arith::CmpIOp::create(b, predicate, x, y);
  }
  mlir::Value both(mlir::Value x, mlir::Value y) {
    return x ? mlir::Value(mlir::arith::AndIOp::create(b, x, y)) : y;
  }
  /// `condition && 0 <= value < size`; `condition` may be null.
  mlir::Value inRange(mlir::Value condition, mlir::Value value,
                      mlir::Value size);
  /// `condition ? inside() : otherwise`, evaluating only one.
  mlir::Value guarded(mlir::Value condition, mlir::Value otherwise,
                      llvm::function_ref<mlir::Value()> inside);
  mlir::Value real(mlir::Type type, double value) {
    return mlir::arith::ConstantOp::create(b, b.getFloatAttr(type, value));
  }
  /// Widens a float below f32 to f32, and to `type` if it is a wider integer.
  mlir::Value widen(mlir::Value value, bool isUnsigned, mlir::Type type);
  /// Rounds to `type` if it is narrower.
  mlir::Value narrow(mlir::Value value, mlir::Type type);

  mlir::ImplicitLocOpBuilder &b;
};

/// f32 for 16-bit floats, the type itself otherwise.
mlir::Type getComputeType(mlir::Type elementType);

/// The map of `rank` dimensions to these expressions.
mlir::AffineMap makeMap(unsigned numDims,
                        llvm::ArrayRef<mlir::AffineExpr> exprs,
                        mlir::MLIRContext *context);
/// The identity on the first `results` of `numDims` dimensions.
mlir::AffineMap leading(unsigned numDims, unsigned results,
                        mlir::MLIRContext *context);

// Decompositions by family; each replaces the operation.
mlir::LogicalResult decomposeWindow(ConvOp op, mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeWindow(ConvTransposeOp op,
                                    mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeWindow(PoolOp op, mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeRow(SoftmaxOp op, mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeRow(NormOp op, mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeRow(ArgReduceOp op, mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeRow(QuantizeRowsOp op,
                                 mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeQuantized(QuantizeOp op,
                                       mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeQuantized(DequantizeOp op,
                                       mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeQuantized(IntMatMulOp op,
                                       mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeQuantized(IntConvOp op,
                                       mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeProduct(MatMulOp op, mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeProduct(QMatMulOp op,
                                     mlir::RewriterBase &rewriter);
mlir::LogicalResult decomposeProduct(AttentionOp op,
                                     mlir::RewriterBase &rewriter);

} // namespace qcc::decomposition

#endif // QCC_LIB_DIALECT_QCC_DECOMPOSEDETAIL_H
