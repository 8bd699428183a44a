//===- Codes.cpp - operands that are dequantized codes ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Codes.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

std::optional<int64_t> qcc::getSplatInteger(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense =
      constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
  auto type = dense ? dyn_cast<IntegerType>(dense.getElementType()) : nullptr;
  if (!type || !dense.isSplat())
    return std::nullopt;
  auto number = dense.getSplatValue<APInt>();
  return type.isUnsigned() ? int64_t(number.getZExtValue())
                           : number.getSExtValue();
}

bool qcc::hasOneElement(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

static std::optional<Codes> getCodes(Value value, unsigned width) {
  auto op = value.getDefiningOp<DequantizeOp>();
  if (!op || op.getBlock() != 0 ||
      !op.getResult().getType().getElementType().isF32() ||
      !op.getScale().getType().getElementType().isF32())
    return std::nullopt;
  auto type = dyn_cast<IntegerType>(op.getInput().getType().getElementType());
  if (!type || type.getWidth() != width)
    return std::nullopt;
  TypedValue<RankedTensorType> zero;
  if (op.getZero()) {
    if (op.getZero().getType().getElementType() != type)
      return std::nullopt;
    zero = cast<TypedValue<RankedTensorType>>(op.getZero());
    if (getSplatInteger(zero) == 0)
      zero = {};
  }
  bool isSingle =
      hasOneElement(op.getScale()) && (!zero || hasOneElement(zero));
  return Codes{cast<TypedValue<RankedTensorType>>(op.getInput()),
               cast<TypedValue<RankedTensorType>>(op.getScale()), zero,
               isSingle ? -1 : int64_t(op.getAxis())};
}

std::optional<Codes> qcc::getCodes(Value value) {
  // Narrower codes are stored in bytes too, but not all kernels read them so.
  return ::getCodes(value, 8);
}

std::optional<Codes> qcc::getWeightCodes(MatMulOp op) {
  std::optional<Codes> codes = ::getCodes(op.getRhs(), 4);
  if (!codes)
    return ::getCodes(op.getRhs(), 8);
  auto type = codes->codes.getType();
  if (!isConstantExpression(op.getRhs()) || type.getRank() != 2 ||
      codes->zero || !type.getElementType().isSignlessInteger())
    return std::nullopt;
  return codes;
}

std::optional<Codes> qcc::getWeightCodes(ConvOp op) {
  std::optional<Codes> codes = ::getCodes(op.getWeight(), 4);
  if (!codes)
    return ::getCodes(op.getWeight(), 8);
  auto type = codes->codes.getType();
  bool isDepthwise = op.getGroups() > 1 && type.getDimSize(1) == 1;
  if (isDepthwise || codes->zero || !type.getElementType().isSignlessInteger())
    return std::nullopt;
  return codes;
}

Value qcc::toScalar(OpBuilder &b, Location loc, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getRank() == 0)
    return value;
  return ReshapeOp::create(
      b, loc, RankedTensorType::get({}, type.getElementType()), value);
}

std::optional<double> qcc::getSplatFloat(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense =
      constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
  if (!dense || !dense.isSplat() || !isa<FloatType>(dense.getElementType()))
    return std::nullopt;
  auto number = dense.getSplatValue<APFloat>();
  bool lost = false;
  number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
  return number.convertToDouble();
}

bool qcc::isPositive(Value scale) {
  std::optional<double> number = getSplatFloat(scale);
  return number && std::isfinite(*number) && *number > 0 &&
         std::abs(std::ilogb(*number)) <= 100;
}

bool qcc::isDepthwise(IntConvOp op) {
  return op.getGroups() > 1 && op.getWeight().getType().getDimSize(1) == 1;
}

bool qcc::coversPadding(PoolOp op) {
  size_t spatial = op.getKernel().size();
  for (size_t i = 0; i < 2 * spatial; ++i) {
    size_t axis = i % spatial;
    int64_t reach = (op.getKernel()[axis] - 1) * op.getDilations()[axis];
    if (op.getPads()[i] > reach)
      return true;
  }
  return false;
}
