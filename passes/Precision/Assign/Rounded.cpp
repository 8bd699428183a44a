//===- Rounded.cpp - weights and activations as rounded --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Rounded.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include <cmath>

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;

static bool isInteger(const Scheme &scheme) {
  return scheme.getCompute() == SchemeCompute::Integer;
}

bool assign::roundsActivations(const Scheme *scheme) {
  return scheme && (isInteger(*scheme) || scheme->roundsTokens());
}

/// Elements of a row that share a scale.
static int64_t getWidth(const Scheme &scheme, int64_t k) {
  bool hasGroups = isInteger(scheme) && scheme.getGroup() > 0;
  return hasGroups ? std::min(scheme.getGroup(), k) : k;
}

//===----------------------------------------------------------------------===//
// In the model
//===----------------------------------------------------------------------===//

/// Codes times their scales.
static Value roundRows(OpBuilder &b, Value x, const Scheme &scheme) {
  MLIRContext *context = b.getContext();
  Location loc = x.getLoc();
  SmallVector<AffineExpr> dims = getDims(x.getType());
  int64_t k = getConstantSize(dims.back()).value_or(1),
          width = getWidth(scheme, k), groups = llvm::divideCeil(k, width);
  auto like = [&](Type element, int64_t last) {
    dims.back() = getAffineConstantExpr(last, context);
    return makeTensorType(dims, element);
  };
  auto rows = QuantizeRowsOp::create(
      b, loc, like(b.getI8Type(), k), like(b.getF32Type(), groups),
      like(b.getI32Type(), groups), x, width < k ? width : 0);
  unsigned rank = unsigned(dims.size());
  AffineMap identity = AffineMap::getMultiDimIdentityMap(rank, context);
  SmallVector<AffineExpr> read(identity.getResults());
  read.back() = read.back().floorDiv(width);
  return createGeneric(
             b, loc, cast<RankedTensorType>(x.getType()), Combiner::None,
             {rows.getCodes(), rows.getScales()},
             {identity, AffineMap::get(rank, 0, read, context)}, {}, {},
             [](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
               return arith::MulFOp::create(
                   b, arith::SIToFPOp::create(b, b.getF32Type(), args[0]),
                   args[1]);
             })
      .getResult();
}

Value assign::roundActivation(OpBuilder &b, Value x, const Scheme &scheme,
                              Value toggle) {
  Location loc = x.getLoc();
  Value rounded;
  if (isInteger(scheme)) {
    rounded = roundRows(b, x, scheme);
  } else if (scheme.getTokenFormat() == TokenFormat::BF16) {
    rounded =
        castTo(b, loc, castTo(b, loc, x, b.getBF16Type()), b.getF32Type());
  } else {
    RoundedTokens tokens =
        roundTokens(b, loc, x, getTokenType(scheme, b.getContext()));
    rounded = scaleTokens(b, loc, tokens.values, tokens.scales);
  }
  if (!toggle)
    return rounded;
  auto type = cast<RankedTensorType>(x.getType());
  unsigned rank = unsigned(type.getRank());
  AffineMap identity = b.getMultiDimIdentityMap(rank),
            first = AffineMap::get(rank, 0, b.getAffineConstantExpr(0));
  return createGeneric(
             b, loc, type, Combiner::None, {x, rounded, toggle},
             {identity, identity, first}, {}, {},
             [](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
               Value change = arith::SubFOp::create(b, args[1], args[0]);
               return arith::AddFOp::create(
                   b, args[0], arith::MulFOp::create(b, args[2], change));
             })
      .getResult();
}

Value assign::roundWeight(OpBuilder &b, MatMulOp product,
                          const Scheme &scheme) {
  Location loc = product.getLoc();
  Value weight = product.getRhs();
  if (product.getTransB())
    weight = permute(b, loc, weight, {1, 0}).getResult();
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t group =
      scheme.getGroup() < type.getDimSize(0) ? scheme.getGroup() : 0;
  auto format = FormatAttr::get(b.getContext(), scheme.getKey(), group,
                                scheme.getZero().has_value());
  return EncodeOp::create(b, loc, type, weight, format);
}

//===----------------------------------------------------------------------===//
// In numbers
//===----------------------------------------------------------------------===//

namespace {
/// How activations are rounded: to a format of floats, or to integers, after a
/// division by the scale that makes the largest of a group `top`.
struct Rounder {
  const llvm::fltSemantics *format = nullptr;
  float top = 127; ///< 0: no scale
};
} // namespace

static Rounder getRounder(const Scheme &scheme) {
  if (isInteger(scheme))
    return {};
  if (scheme.getTokenFormat() == TokenFormat::BF16)
    return {&llvm::APFloat::BFloat(), 0};
  const llvm::fltSemantics &format =
      scheme.getTokenFormat() == TokenFormat::E4M3
          ? llvm::APFloat::Float8E4M3FN()
          : llvm::APFloat::Float8E5M2();
  return {&format, float(llvm::APFloat::getLargest(format).convertToDouble())};
}

/// `x` as the nearest code of int8, or number of the format.
static double roundUnit(float x, const llvm::fltSemantics *format) {
  if (!format)
    return std::nearbyint(x);
  bool isInexact;
  llvm::APFloat value(x);
  value.convert(*format, llvm::APFloat::rmNearestTiesToEven, &isInexact);
  value.convert(llvm::APFloat::IEEEdouble(), llvm::APFloat::rmNearestTiesToEven,
                &isInexact);
  return value.convertToDouble();
}

std::vector<double> assign::getRoundingErrors(ArrayRef<float> rows, int64_t k,
                                              const Scheme &scheme) {
  Rounder rounder = getRounder(scheme);
  std::vector<double> sums(size_t(k), 0.0);
  size_t count = rows.size() / size_t(k);
  int64_t width = getWidth(scheme, k);
  for (size_t r = 0; r < count; ++r)
    for (int64_t from = 0; from < k; from += width) {
      int64_t end = std::min(from + width, k);
      const float *x = rows.data() + r * size_t(k);
      float largest = 0;
      for (int64_t i = from; i < end; ++i)
        largest = std::fmax(largest, std::fabs(x[i]));
      float scale = rounder.top > 0 ? largest / rounder.top : 1;
      for (int64_t i = from; i < end && scale > 0; ++i) {
        double error = roundUnit(x[i] / scale, rounder.format) * scale - x[i];
        sums[size_t(i)] += error * error;
      }
    }
  for (double &sum : sums)
    sum /= double(std::max<size_t>(count, 1));
  return sums;
}
