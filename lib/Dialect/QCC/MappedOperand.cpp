//===- MappedOperand.cpp - operands read through affine maps ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "MappedOperand.h"

using namespace mlir;
using namespace qcc;

bool LinearIndex::add(AffineExpr expr, int64_t scale) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
    base += constant.getValue() * scale;
    return true;
  }
  if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
    coefficients[dim.getPosition()] += scale;
    return true;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return false;
  if (expr.getKind() == AffineExprKind::Add)
    return add(binary.getLHS(), scale) && add(binary.getRHS(), scale);
  auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  return expr.getKind() == AffineExprKind::Mul && factor &&
         add(binary.getLHS(), scale * factor.getValue());
}

MappedOperand::MappedOperand(TensorView tensor, AffineMap affine)
    : view(std::move(tensor)), map(affine), index(affine.getNumDims()) {
  for (auto [i, expr] : llvm::enumerate(map.getResults()))
    isKnown &= add(expr, view.strides[i]);
  linear = isKnown && divided.empty();
}

bool MappedOperand::add(AffineExpr expr, int64_t scale) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (expr.getKind() == AffineExprKind::Add)
    return add(binary.getLHS(), scale) && add(binary.getRHS(), scale);
  bool isRest = expr.getKind() == AffineExprKind::Mod,
       isQuotient = expr.getKind() == AffineExprKind::FloorDiv;
  if (!isRest && !isQuotient)
    return index.add(expr, scale);
  auto divisor = dyn_cast<AffineConstantExpr>(binary.getRHS());
  DividedIndex part{LinearIndex(map.getNumDims()), 1, scale, isRest};
  if (!divisor || divisor.getValue() < 1 || !part.index.add(binary.getLHS(), 1))
    return false;
  part.divisor = divisor.getValue();
  divided.push_back(std::move(part));
  return true;
}

/// An index at a point. Divisors of maps are positive.
static int64_t evaluateIndex(AffineExpr expr, ArrayRef<int64_t> point) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return point[dim.getPosition()];
  auto binary = cast<AffineBinaryOpExpr>(expr);
  int64_t left = evaluateIndex(binary.getLHS(), point),
          right = evaluateIndex(binary.getRHS(), point);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return left + right;
  case AffineExprKind::Mul:
    return left * right;
  case AffineExprKind::Mod:
    return llvm::mod(left, right);
  case AffineExprKind::FloorDiv:
    return llvm::divideFloorSigned(left, right);
  default:
    return llvm::divideCeilSigned(left, right);
  }
}

int64_t MappedOperand::evaluate(ArrayRef<int64_t> point) const {
  int64_t result = 0;
  for (auto [i, expr] : llvm::enumerate(map.getResults()))
    result += evaluateIndex(expr, point) * view.strides[i];
  return result;
}
