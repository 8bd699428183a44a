//===- Shape.h - symbolic shapes in tensor types ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A dimension is an affine expression over the module's symbols
// (`qcc.symbols`). A tensor type with at least one dimension that is not a
// constant carries all of them as the affine map that is its encoding.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_DIALECT_QCC_SHAPE_H
#define QCC_DIALECT_QCC_SHAPE_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"

namespace qcc {

/// Name of the module attribute: an array of strings, the name of each symbol
/// by position.
inline constexpr llvm::StringLiteral kSymbolsAttr = "qcc.symbols";

/// Module attribute (i64): symbols from this position on get their values while
/// an entry runs (`qcc.bind`, loops); the others are bound by its inputs.
inline constexpr llvm::StringLiteral kRuntimeFromAttr = "qcc.runtime_from";

/// Dimensions of a tensor type as expressions without affine dims; constants
/// where the size is static.
llvm::SmallVector<mlir::AffineExpr> getDims(mlir::Type type);

/// The ranked tensor type with these dimensions (simplified); no encoding if
/// all are constants.
mlir::RankedTensorType makeTensorType(llvm::ArrayRef<mlir::AffineExpr> dims,
                                      mlir::Type elementType);
mlir::RankedTensorType makeTensorType(mlir::MLIRContext *context,
                                      llvm::ArrayRef<int64_t> dims,
                                      mlir::Type elementType);

/// A size expression (no affine dims) simplified as MLIR does it, for any
/// number of symbols.
mlir::AffineExpr simplifySize(mlir::AffineExpr expr);

/// The map `()[s0, ...] -> (exprs)` with as many symbols as the highest one
/// used plus one: the canonical form.
mlir::AffineMap makeSizeMap(llvm::ArrayRef<mlir::AffineExpr> exprs,
                            mlir::MLIRContext *context);

/// The constant value of a size expression, if it is one.
std::optional<int64_t> getConstantSize(mlir::AffineExpr expr);
bool isStatic(mlir::Type type);

/// Product of all dimensions (1 for rank 0).
mlir::AffineExpr getNumElements(mlir::Type type);
mlir::AffineExpr product(llvm::ArrayRef<mlir::AffineExpr> exprs,
                         mlir::MLIRContext *context);

/// Bytes of one element in memory: bool and 8-bit and smaller types take 1.
int64_t getElementBytes(mlir::Type elementType);

/// What a scalar of an element type is in the body of a generic: the signless
/// integer of an integer, the code of a float of 8 bits and less
/// (SmallFloat.h), the type itself of other floats.
mlir::Type getScalarType(mlir::Type elementType);

/// Value of a size expression for given symbol values; none on overflow,
/// division by zero or a missing symbol.
std::optional<int64_t> evaluateSize(mlir::AffineExpr expr,
                                    llvm::ArrayRef<int64_t> symbols);

/// Constants, symbols and operations that an expression is written with; what
/// comes after `limit` of them is not looked at, since expressions share parts
/// and may be exponentially longer than what they were built from.
size_t countTerms(mlir::AffineExpr expr, size_t limit);

/// 1 if a size is 1, else 0, as an expression of it.
mlir::AffineExpr isOne(mlir::AffineExpr size);

/// True for a size of an operand that may be 1 where that of the result is not,
/// which is known only at run time: a symbol, and where one of the two sizes
/// was made by `broadcastSize`. Sizes that were computed in other ways (of
/// windows, of concatenations) and differ as expressions are taken for equal.
bool mayBroadcast(mlir::AffineExpr size, mlir::AffineExpr resultSize);

/// The size that two sizes of which one may be 1 broadcast to.
mlir::AffineExpr broadcastSize(mlir::AffineExpr a, mlir::AffineExpr b);

/// Identity map of a rank; and the map that reads a tensor of `operandDims`
/// broadcast (numpy rules, aligned at the last dimension) to a result of `rank`
/// dimensions: dimensions of size 1 are read at 0 unless the result's is 1 too,
/// and those that may be 1 only at run time at an index that is then 0.
mlir::AffineMap getBroadcastMap(llvm::ArrayRef<mlir::AffineExpr> operandDims,
                                llvm::ArrayRef<mlir::AffineExpr> resultDims,
                                mlir::MLIRContext *context);

} // namespace qcc

#endif // QCC_DIALECT_QCC_SHAPE_H
