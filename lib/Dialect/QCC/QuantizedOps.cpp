//===- QuantizedOps.cpp - verifiers of the quantized operations -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/SmallFloat.h"

using namespace mlir;
using namespace qcc;

/// True if two sizes are equal or not both known.
static bool mayEqual(AffineExpr a, AffineExpr b) {
  std::optional<int64_t> x = getConstantSize(a), y = getConstantSize(b);
  return !x || !y || *x == *y;
}

/// Types of codes: integers of 2 to 16 bits, and floats of 4 and 8 with a sign.
static bool isCode(Type type) {
  if (auto integer = dyn_cast<IntegerType>(type))
    return integer.getWidth() >= 2 && integer.getWidth() <= 16;
  return isSmallFloat(type) && !isa<Float8E8M0FNUType>(type);
}

static bool isReal(Type type) {
  return type.isF32() || type.isF16() || type.isBF16();
}

/// Checks a scale or zero point against the tensor that it is for: see
/// qcc.quantize.
static LogicalResult verifyScale(Operation *op, StringRef what, Value operand,
                                 RankedTensorType tensor, int64_t axis,
                                 int64_t block) {
  SmallVector<AffineExpr> dims = getDims(tensor),
                          sizes = getDims(operand.getType());
  auto rank = static_cast<int64_t>(dims.size());
  if (block < 0 || axis < 0 || (rank > 0 ? axis >= rank : axis != 0))
    return op->emitOpError("expected an axis of the tensor and a block of 0 or "
                           "more");
  if (block == 0) {
    bool perAxis =
        sizes.size() == 1 && rank > 0 &&
        (getConstantSize(sizes[0]) == 1 || mayEqual(sizes[0], dims[axis]));
    if (sizes.empty() || perAxis)
      return success();
    return op->emitOpError("expected the ")
           << what << " to be a scalar or to have an element per index of the "
           << "axis";
  }
  bool fits = sizes.empty() || (sizes.size() == dims.size() && rank > 0);
  for (int64_t i = 0; fits && !sizes.empty() && i < rank; ++i)
    fits = mayEqual(sizes[i], i == axis ? dims[i].ceilDiv(block) : dims[i]);
  return fits ? success()
              : op->emitOpError("expected the ")
                    << what << " to have an element per block of the axis";
}

LogicalResult EncodeOp::verify() {
  auto weight = getWeight().getType();
  if (weight.getRank() != 2 || !weight.hasStaticShape() ||
      !weight.getElementType().isF32())
    return emitOpError("expected a static f32 matrix, but got ") << weight;
  auto result = getResult().getType();
  bool bytes = result.getRank() == 1 && result.hasStaticShape() &&
               result.getElementType().isInteger(8);
  if (!bytes && result != weight)
    return emitOpError("expected bytes or the weight's type as the result, but "
                       "got ")
           << result;
  int64_t k = weight.getDimSize(0), n = weight.getDimSize(1),
          group = getFormat().getGroup();
  if (group < 0)
    return emitOpError("expected a group of 0 or more rows, but got ") << group;
  int64_t groups = group ? llvm::divideCeil(k, group) : 1;
  auto check = [&](StringRef name, Value value, ArrayRef<int64_t> shape,
                   Type element) {
    auto expected = RankedTensorType::get(shape, element);
    if (!value || value.getType() == expected)
      return success();
    emitOpError("expected ")
        << name << " of type " << expected << ", but got " << value.getType();
    return failure();
  };
  Builder b(getContext());
  if (failed(check("importance", getImportance(), {k}, b.getF32Type())) ||
      failed(check("scales", getScales(), {groups, n}, b.getF32Type())) ||
      failed(check("zeros", getZeros(), {groups, n}, b.getI32Type())))
    return failure();
  if (getZeros() && (!getScales() || getFormat().getSymmetric()))
    return emitOpError("expected zeros only with scales and a format that is "
                       "not symmetric");
  if (getScales() && !getZeros() && !getFormat().getSymmetric())
    return emitOpError("expected zeros beside scales, as the format is not "
                       "symmetric");
  return success();
}

LogicalResult QuantizeOp::verify() {
  RankedTensorType type = getInput().getType(), result = getResult().getType();
  Type scale = getScale().getType().getElementType();
  if (getDims(type) != getDims(result))
    return emitOpError("expected a result of the input's shape");
  if (!isReal(type.getElementType()) || !isCode(result.getElementType()))
    return emitOpError("expected a float and a result of 2 to 16 bits");
  if (!isReal(scale) && !isa<Float8E8M0FNUType>(scale))
    return emitOpError("expected a scale of floats, but got ") << scale;
  if (getZero() &&
      getZero().getType().getElementType() != result.getElementType())
    return emitOpError("expected a zero point of the result's type");
  if (getPrecision() && !isReal(*getPrecision()))
    return emitOpError("expected f32, f16 or bf16 as the precision");
  if (failed(
          verifyScale(*this, "scale", getScale(), type, getAxis(), getBlock())))
    return failure();
  return getZero() ? verifyScale(*this, "zero point", getZero(), type,
                                 getAxis(), getBlock())
                   : success();
}

LogicalResult DequantizeOp::verify() {
  RankedTensorType type = getInput().getType(), result = getResult().getType();
  Type scale = getScale().getType().getElementType(),
       element = type.getElementType();
  if (getDims(type) != getDims(result))
    return emitOpError("expected a result of the input's shape");
  if ((!isCode(element) && !element.isSignlessInteger(32)) ||
      !isReal(result.getElementType()))
    return emitOpError("expected codes of 2 to 16 bits, or 32, and a float");
  if (!isReal(scale) && !isa<Float8E8M0FNUType>(scale))
    return emitOpError("expected a scale of floats, but got ") << scale;
  if (getZero()) {
    Type zero = getZero().getType().getElementType();
    if (zero != element && !isReal(zero))
      return emitOpError(
          "expected a zero point of the input's type or a float");
  }
  if (failed(
          verifyScale(*this, "scale", getScale(), type, getAxis(), getBlock())))
    return failure();
  return getZero() ? verifyScale(*this, "zero point", getZero(), type,
                                 getAxis(), getBlock())
                   : success();
}

/// Operands of an exact product: integers of at most 16 bits, a zero point of
/// the operand's type.
static LogicalResult verifyFactor(Operation *op, Value factor, Value zero) {
  auto type = dyn_cast<IntegerType>(
      cast<RankedTensorType>(factor.getType()).getElementType());
  if (!type || type.getWidth() < 2 || type.getWidth() > 16)
    return op->emitOpError("expected operands of integers of 2 to 16 bits");
  if (zero && cast<RankedTensorType>(zero.getType()).getElementType() != type)
    return op->emitOpError("expected a zero point of its operand's type");
  return success();
}

/// A zero point of a matrix: a scalar, or of its rank with dimensions of 1 or
/// the matrix's, one for all elements along the inner dimension.
static LogicalResult verifyMatrixZero(Operation *op, Value zero, Value matrix,
                                      bool innerIsLast) {
  if (!zero)
    return success();
  SmallVector<AffineExpr> sizes = getDims(zero.getType()),
                          dims = getDims(matrix.getType());
  if (sizes.empty())
    return success();
  bool fits = sizes.size() == dims.size();
  for (size_t i = 0; fits && i < dims.size(); ++i) {
    bool isInner = i + (innerIsLast ? 1 : 2) == dims.size();
    fits = getConstantSize(sizes[i]) == 1 ||
           (!isInner && mayEqual(sizes[i], dims[i]));
  }
  return fits
             ? success()
             : op->emitOpError("expected a zero point that is a scalar, or one "
                               "per row of the first and column of the second "
                               "operand");
}

/// In a kernel the weight is as it is packed.
static bool isPacked(Operation *op) { return isa<KernelOp>(op->getParentOp()); }

LogicalResult IntMatMulOp::verify() {
  if (isPacked(*this))
    return success();
  if (failed(verifyFactor(*this, getLhs(), getLhsZero())) ||
      failed(verifyFactor(*this, getRhs(), getRhsZero())))
    return failure();
  SmallVector<AffineExpr> a = getDims(getLhs().getType()),
                          b = getDims(getRhs().getType()),
                          c = getDims(getResult().getType());
  if (a.size() < 2 || b.size() < 2 || c.size() != std::max(a.size(), b.size()))
    return emitOpError(
        "expected operands of rank 2 or more and a result of the larger rank");
  if (!mayEqual(a.back(), b[b.size() - 2]))
    return emitOpError("expected equal inner sizes");
  if (!getResult().getType().getElementType().isSignlessInteger(32) ||
      !mayEqual(a[a.size() - 2], c[c.size() - 2]) ||
      !mayEqual(b.back(), c.back()))
    return emitOpError("expected rows by columns of i32");
  if (failed(verifyMatrixZero(*this, getLhsZero(), getLhs(), true)))
    return failure();
  return verifyMatrixZero(*this, getRhsZero(), getRhs(), false);
}

LogicalResult IntConvOp::verify() {
  if (isPacked(*this))
    return success();
  if (failed(verifyFactor(*this, getInput(), getInputZero())) ||
      failed(verifyFactor(*this, getWeight(), getWeightZero())))
    return failure();
  int64_t rank = getInput().getType().getRank(), spatial = rank - 2;
  if (spatial < 1 || spatial > 3 || getWeight().getType().getRank() != rank ||
      getResult().getType().getRank() != rank)
    return emitOpError(
        "expected input, weight and result of one rank from 3 to 5");
  if (!getResult().getType().getElementType().isSignlessInteger(32))
    return emitOpError("expected a result of i32");
  auto size = [](ArrayRef<int64_t> v) {
    return static_cast<int64_t>(v.size());
  };
  if (size(getStrides()) != spatial || size(getDilations()) != spatial ||
      size(getPads()) != 2 * spatial)
    return emitOpError("expected strides and dilations of ")
           << spatial << " elements and twice as many pads";
  if (llvm::any_of(getStrides(), [](int64_t s) { return s < 1; }) ||
      llvm::any_of(getDilations(), [](int64_t d) { return d < 1; }) ||
      static_cast<int64_t>(getGroups()) < 1)
    return emitOpError("expected positive strides, dilations and groups");
  SmallVector<AffineExpr> w = getDims(getWeight().getType());
  unsigned channel = getChannelsLast() ? rank - 1 : 1;
  if (!mayEqual(getDims(getInput().getType())[channel], w[1] * getGroups()))
    return emitOpError("expected a multiple of the weight's channels");
  if (!mayEqual(getDims(getResult().getType())[channel], w[0]))
    return emitOpError("expected a result with the weight's output channels");
  if (getInputZero() && getInputZero().getType().getRank() != 0)
    return emitOpError("expected a scalar as the input's zero point");
  if (getWeightZero() &&
      (getWeightZero().getType().getRank() > 1 ||
       (getWeightZero().getType().getRank() == 1 &&
        !mayEqual(getDims(getWeightZero().getType())[0], w[0]))))
    return emitOpError("expected the weight's zero point to be a scalar or one "
                       "per channel");
  return success();
}
