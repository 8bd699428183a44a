//===- MappedOperand.h - operands read through affine maps ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_MAPPEDOPERAND_H
#define QCC_LIB_DIALECT_QCC_MAPPEDOPERAND_H

#include "ScalarProgram.h"
#include "mlir/IR/AffineMap.h"
#include "llvm/Support/MathExtras.h"

namespace qcc {

/// A sum of multiples of iteration indices and a constant.
struct LinearIndex {
  int64_t base = 0;
  llvm::SmallVector<int64_t> coefficients;

  explicit LinearIndex(unsigned dims) : coefficients(dims, 0) {}

  /// Adds `expr * scale` if it is linear; else some of it, and false.
  bool add(mlir::AffineExpr expr, int64_t scale);

  int64_t at(llvm::ArrayRef<int64_t> point) const {
    int64_t result = base;
    for (size_t i = 0; i < coefficients.size(); ++i)
      result += coefficients[i] * point[i];
    return result;
  }
};

/// `scale` times the whole part or the rest of a linear index by a divisor: the
/// block that an index is in.
struct DividedIndex {
  LinearIndex index;
  int64_t divisor, scale;
  bool isRest;

  int64_t at(llvm::ArrayRef<int64_t> point) const {
    int64_t number = index.at(point);
    return scale * (isRest ? llvm::mod(number, divisor)
                           : llvm::divideFloorSigned(number, divisor));
  }
};

/// An operand read through an affine map: offsets are linear in the iteration
/// point, but for indices that are divided. Other maps are evaluated as they
/// are.
struct MappedOperand {
  TensorView view;
  mlir::AffineMap map;
  LinearIndex index;
  std::vector<DividedIndex> divided;
  bool isKnown = true; ///< by the two above
  bool linear = true;

  MappedOperand(TensorView tensor, mlir::AffineMap affine);

  /// Element offset at a point.
  int64_t offset(llvm::ArrayRef<int64_t> point) const {
    if (!isKnown)
      return evaluate(point);
    int64_t result = index.at(point);
    for (const DividedIndex &part : divided)
      result += part.at(point);
    return result;
  }

private:
  bool add(mlir::AffineExpr expr, int64_t scale);
  int64_t evaluate(llvm::ArrayRef<int64_t> point) const;
};

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_MAPPEDOPERAND_H
