//===- ShapeData.h - what is known of the elements of small tensors -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Exporters compute shapes with tensors: Shape, Gather, Mul, Concat, Reshape.
// To know the shape that Reshape gives, the importer carries the elements of
// such tensors as expressions of the module's symbols beside the values
// themselves.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_IMPORT_ONNX_SHAPEDATA_H
#define QCC_LIB_IMPORT_ONNX_SHAPEDATA_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include <optional>

namespace qcc::onnx_import {

using Dims = llvm::SmallVector<mlir::AffineExpr>;

/// `numerator / denominator`, the denominator positive; integers have
/// denominator 1, floats a power of two.
struct ShapeElement {
  mlir::AffineExpr numerator;
  int64_t denominator = 1;

  std::optional<int64_t> getInteger() const;
  bool isConstant() const {
    return mlir::isa<mlir::AffineConstantExpr>(numerator);
  }
};

/// Elements of a tensor of rank 0 or 1.
using ShapeElements = llvm::SmallVector<ShapeElement>;

/// Most elements that a tensor may have to be followed.
inline constexpr int64_t kMaxShapeElements = 64;

/// The elements that are known, by value.
class ShapeTable {
public:
  /// Known elements of a value: those that were set, or those of the small
  /// constant that defines it.
  std::optional<ShapeElements> lookup(mlir::Value value) const;
  void set(mlir::Value value, ShapeElements elements) {
    known[value] = std::move(elements);
  }

  /// The run-time symbol that element `i` of a value was bound to; null if it
  /// was not.
  mlir::AffineExpr lookupBound(mlir::Value value, int64_t i) const {
    return bound.lookup(value).lookup(i);
  }
  void setBound(mlir::Value value, int64_t i, mlir::AffineExpr symbol) {
    bound[value][i] = symbol;
  }

  /// To be called before the operation that defines a value is erased.
  void forget(mlir::Value value) {
    known.erase(value);
    bound.erase(value);
  }

private:
  llvm::DenseMap<mlir::Value, ShapeElements> known;
  llvm::DenseMap<mlir::Value, llvm::SmallDenseMap<int64_t, mlir::AffineExpr>>
      bound;
};

/// `a / b` where factors of products cancel, so that `s0 * 12 / (s0 * 3)` is 4;
/// rounds down otherwise. `exact` tells whether the division is known to leave
/// no rest. None for a divisor that is zero or negative.
std::optional<mlir::AffineExpr>
divideDims(mlir::AffineExpr a, mlir::AffineExpr b, bool *exact = nullptr);

/// Simplified as far as makes equal sizes compare equal.
mlir::AffineExpr simplifyDim(mlir::AffineExpr expr);

/// Largest constant in the expression of a size.
inline constexpr int64_t kMaxFactor = int64_t(1) << 60;

/// The largest magnitude of the constants in an expression, at least 1.
int64_t largestConstant(mlir::AffineExpr expr);

/// Products and sums of constants that overflow are errors, not wrapped sizes;
/// null then, and for products whose factors of symbols exceed `kMaxFactor`.
mlir::AffineExpr addDims(mlir::AffineExpr a, mlir::AffineExpr b);
mlir::AffineExpr mulDims(mlir::AffineExpr a, mlir::AffineExpr b);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_SHAPEDATA_H
