//===- ShapeData.cpp - what is known of the elements of small tensors -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ShapeData.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;

namespace qcc::onnx_import {

std::optional<int64_t> ShapeElement::getInteger() const {
  return denominator == 1 ? getConstantSize(numerator) : std::nullopt;
}

/// A float as a fraction with a small power of two below; none where that is
/// not exact.
static std::optional<ShapeElement> toFraction(double value,
                                              MLIRContext *context) {
  if (!std::isfinite(value) || std::fabs(value) > 1e12)
    return std::nullopt;
  for (int64_t denominator = 1; denominator <= 1024; denominator *= 2) {
    double scaled = value * static_cast<double>(denominator);
    if (scaled == std::trunc(scaled))
      return ShapeElement{
          getAffineConstantExpr(static_cast<int64_t>(scaled), context),
          denominator};
  }
  return std::nullopt;
}

std::optional<ShapeElements> ShapeTable::lookup(Value value) const {
  if (auto found = known.find(value); found != known.end())
    return found->second;
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant)
    return std::nullopt;
  auto attr = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!attr || attr.getType().getRank() > 1 ||
      attr.getNumElements() > kMaxShapeElements)
    return std::nullopt;
  MLIRContext *context = value.getContext();
  ShapeElements elements;
  if (auto integer = dyn_cast<IntegerType>(attr.getElementType())) {
    for (const APInt &element : attr.getValues<APInt>()) {
      int64_t number = integer.isUnsigned() || integer.getWidth() == 1
                           ? static_cast<int64_t>(element.getZExtValue())
                           : element.getSExtValue();
      elements.push_back({getAffineConstantExpr(number, context)});
    }
    return elements;
  }
  if (!attr.getElementType().isF32() && !attr.getElementType().isF64())
    return std::nullopt;
  for (const APFloat &element : attr.getValues<APFloat>()) {
    std::optional<ShapeElement> fraction =
        toFraction(element.convertToDouble(), context);
    if (!fraction)
      return std::nullopt;
    elements.push_back(*fraction);
  }
  return elements;
}

/// Splits `expr` into `rest + constant`.
static std::pair<AffineExpr, int64_t> splitConstant(AffineExpr expr) {
  auto sum = dyn_cast<AffineBinaryOpExpr>(expr);
  if (sum && expr.getKind() == AffineExprKind::Add)
    if (std::optional<int64_t> constant = getConstantSize(sum.getRHS()))
      return {sum.getLHS(), *constant};
  return {expr, 0};
}

/// `(rest + constant) / divisor`, joined with a division inside of it:
/// (a / b + c) / d = (a + b * c) / (b * d). Whole multiples of the divisor are
/// taken out, so that equal sizes are equal expressions.
static AffineExpr makeQuotient(AffineExpr rest, int64_t constant,
                               int64_t divisor) {
  auto inner = dyn_cast<AffineBinaryOpExpr>(rest);
  if (inner && rest.getKind() == AffineExprKind::FloorDiv)
    if (std::optional<int64_t> by = getConstantSize(inner.getRHS());
        by && *by > 0) {
      int64_t product, offset;
      auto [numerator, added] = splitConstant(inner.getLHS());
      if (!llvm::MulOverflow(*by, divisor, product) &&
          !llvm::MulOverflow(*by, constant, offset) &&
          !llvm::AddOverflow(offset, added, offset))
        return makeQuotient(numerator, offset, product);
    }
  int64_t whole = llvm::divideFloorSigned(constant, divisor);
  return (rest + (constant - whole * divisor)).floorDiv(divisor) + whole;
}

/// Makes the sizes of a chain of strided windows short, from the inside out.
static AffineExpr joinDivisions(AffineExpr expr) {
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return expr;
  AffineExpr lhs = joinDivisions(binary.getLHS());
  AffineExpr rhs = joinDivisions(binary.getRHS());
  std::optional<int64_t> divisor = getConstantSize(rhs);
  if (expr.getKind() == AffineExprKind::FloorDiv && divisor && *divisor > 0) {
    auto [rest, constant] = splitConstant(simplifySize(lhs));
    return makeQuotient(rest, constant, *divisor);
  }
  return getAffineBinaryOpExpr(expr.getKind(), lhs, rhs);
}

AffineExpr simplifyDim(AffineExpr expr) {
  AffineExpr simple = simplifySize(expr);
  return simplifySize(joinDivisions(simple));
}

AffineExpr addDims(AffineExpr a, AffineExpr b) {
  std::optional<int64_t> x = getConstantSize(a), y = getConstantSize(b);
  int64_t sum;
  if (x && y)
    return llvm::AddOverflow(*x, *y, sum)
               ? AffineExpr()
               : getAffineConstantExpr(sum, a.getContext());
  return simplifyDim(a + b);
}

int64_t largestConstant(AffineExpr expr) {
  uint64_t largest = 1;
  expr.walk([&](AffineExpr e) {
    if (auto constant = dyn_cast<AffineConstantExpr>(e))
      largest = std::max(largest, constant.getValue() < 0
                                      ? -uint64_t(constant.getValue())
                                      : uint64_t(constant.getValue()));
  });
  return static_cast<int64_t>(std::min<uint64_t>(largest, INT64_MAX));
}

AffineExpr mulDims(AffineExpr a, AffineExpr b) {
  std::optional<int64_t> x = getConstantSize(a), y = getConstantSize(b);
  int64_t product;
  if (x && y)
    return llvm::MulOverflow(*x, *y, product)
               ? AffineExpr()
               : getAffineConstantExpr(product, a.getContext());
  // Factors of symbols are multiplied with each other when they are simplified.
  if (llvm::MulOverflow(largestConstant(a), largestConstant(b), product) ||
      product > kMaxFactor)
    return {};
  return simplifyDim(a * b);
}

/// Splits a product into a constant and other factors. A sum whose terms share
/// a constant factor gives that factor too.
static void collectFactors(AffineExpr expr, int64_t &constant, Dims &factors) {
  if (auto value = dyn_cast<AffineConstantExpr>(expr)) {
    if (llvm::MulOverflow(constant, value.getValue(), constant))
      constant = 0;
    return;
  }
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (binary && expr.getKind() == AffineExprKind::Mul) {
    collectFactors(binary.getLHS(), constant, factors);
    collectFactors(binary.getRHS(), constant, factors);
    return;
  }
  int64_t divisor = expr.getLargestKnownDivisor();
  if (binary && expr.getKind() == AffineExprKind::Add && divisor > 1) {
    constant *= divisor;
    expr = simplifyDim(expr.floorDiv(divisor));
  }
  factors.push_back(expr);
}

std::optional<AffineExpr> divideDims(AffineExpr a, AffineExpr b, bool *exact) {
  int64_t x = 1, y = 1;
  Dims above, below, left;
  collectFactors(a, x, above);
  collectFactors(b, y, below);
  if (y <= 0)
    return std::nullopt;
  for (AffineExpr factor : below) {
    auto same = llvm::find(above, factor);
    if (same != above.end())
      above.erase(same);
    else
      left.push_back(factor);
  }
  int64_t common = x == 0 ? y : static_cast<int64_t>(std::gcd(x, y));
  x /= common;
  y /= common;
  MLIRContext *context = a.getContext();
  AffineExpr result = getAffineConstantExpr(x, context);
  for (AffineExpr factor : above)
    result = result * factor;
  AffineExpr divisor = getAffineConstantExpr(y, context);
  for (AffineExpr factor : left)
    divisor = divisor * factor;
  if (exact)
    *exact = left.empty() && y == 1;
  return simplifyDim(result.floorDiv(divisor));
}

} // namespace qcc::onnx_import
