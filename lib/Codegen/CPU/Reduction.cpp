//===- Reduction.cpp - combining elements -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Reduction.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <limits>
#include <numeric>

using namespace mlir;
using namespace qcc;

static Type lift(Type type, unsigned lanes) {
  return lanes == 1 ? type : VectorType::get(lanes, type);
}

static unsigned lanesOf(Value value) {
  auto vector = dyn_cast<VectorType>(value.getType());
  return vector ? vector.getNumElements() : 1;
}

Reduction::Reduction(Combiner combiner, Type element, const Capabilities &caps)
    : combiner(combiner),
      isUnsigned(element.isUnsignedInteger() || element.isInteger(1)),
      scalar(getScalarType(element)), accumulator(scalar) {
  bool adds = combiner == Combiner::Sum || combiner == Combiner::Prod;
  if (!adds || !isa<FloatType>(scalar))
    return;
  if (scalar.getIntOrFloatBitWidth() < 32)
    accumulator = Float32Type::get(scalar.getContext());
  if (caps.exactMath)
    accumulator = Float64Type::get(scalar.getContext());
}

Type Reduction::getType(unsigned lanes) const {
  return lift(accumulator, lanes);
}

Value Reduction::getNeutral(KernelBuilder &b, unsigned lanes) const {
  Type type = getType(lanes);
  bool isFloat = isa<FloatType>(accumulator);
  unsigned width = isFloat ? 0 : accumulator.getIntOrFloatBitWidth();
  double infinity = std::numeric_limits<double>::infinity();
  switch (combiner) {
  case Combiner::Prod:
    return b.constant(1, type);
  case Combiner::And:
    return b.constantInt(-1, type);
  case Combiner::Max:
    if (isFloat)
      return b.constant(-infinity, type);
    return b.constantInt(isUnsigned ? 0 : llvm::minIntN(width), type);
  case Combiner::Min:
    if (isFloat)
      return b.constant(infinity, type);
    return b.constantInt(isUnsigned ? -1 : llvm::maxIntN(width), type);
  default:
    return b.constant(0, type);
  }
}

Value Reduction::widen(KernelBuilder &b, Value element) const {
  if (accumulator == scalar)
    return element;
  return arith::ExtFOp::create(b, getType(lanesOf(element)), element);
}

Value Reduction::narrow(KernelBuilder &b, Value value) const {
  if (accumulator == scalar)
    return value;
  return arith::TruncFOp::create(b, lift(scalar, lanesOf(value)), value);
}

Value Reduction::combine(KernelBuilder &b, Value a, Value c) const {
  bool isFloat = isa<FloatType>(accumulator);
  // Zeros need not be ordered.
  auto zeros = arith::FastMathFlags::nsz;
  switch (combiner) {
  case Combiner::Sum:
    return isFloat ? arith::AddFOp::create(b, a, c).getResult()
                   : arith::AddIOp::create(b, a, c).getResult();
  case Combiner::Prod:
    return isFloat ? arith::MulFOp::create(b, a, c).getResult()
                   : arith::MulIOp::create(b, a, c).getResult();
  case Combiner::Max:
    if (isFloat)
      return arith::MaximumFOp::create(b, c, a, zeros);
    return isUnsigned ? arith::MaxUIOp::create(b, a, c).getResult()
                      : arith::MaxSIOp::create(b, a, c).getResult();
  case Combiner::Min:
    if (isFloat)
      return arith::MinimumFOp::create(b, c, a, zeros);
    return isUnsigned ? arith::MinUIOp::create(b, a, c).getResult()
                      : arith::MinSIOp::create(b, a, c).getResult();
  case Combiner::And:
    return arith::AndIOp::create(b, a, c);
  default:
    return arith::OrIOp::create(b, a, c);
  }
}

Value Reduction::horizontal(KernelBuilder &b, Value vector) const {
  for (unsigned lanes = lanesOf(vector); lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low(lanes / 2), high(lanes / 2);
    std::iota(low.begin(), low.end(), 0);
    std::iota(high.begin(), high.end(), lanes / 2);
    vector = combine(b, vector::ShuffleOp::create(b, vector, vector, low),
                     vector::ShuffleOp::create(b, vector, vector, high));
  }
  return vector::ExtractOp::create(b, vector, ArrayRef<int64_t>{0});
}
