//===- ZeroPoints.cpp - weights of integers without zero points -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels take signed codes without a zero point. With the codes w of a weight,
// its zero points z, and c 0 for signed codes and 128 for those without a sign,
//
//   sum x (w - z) = sum x (w - c) + (c - z) * sum x
//
// where the last sum is a product with a weight of ones. Integers of 32 bits
// wrap, so the result is that of the left side even where a sum on the right
// does not fit. Where all w - z are known to fit signed bytes (kZerosFitAttr),
// they are the codes. Depthwise kernels widen codes: they get w - z as words.
//
//===----------------------------------------------------------------------===//
#include "Codes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

static bool isUnsigned(Value codes) {
  return cast<RankedTensorType>(codes.getType())
      .getElementType()
      .isUnsignedInteger();
}

/// What is taken from codes to make them signed.
static int64_t getCenter(Value codes) { return isUnsigned(codes) ? 128 : 0; }

/// True for codes with a zero point (or none) that signed codes without one can
/// stand for.
static bool isCentered(Value codes, Value zero) {
  return (zero ? getSplatInteger(zero) : 0) == getCenter(codes);
}

/// Codes less their center: 128 less turns the highest bit.
static Value centerCodes(OpBuilder &b, Location loc, Value codes) {
  if (!isUnsigned(codes))
    return codes;
  auto type = cast<RankedTensorType>(codes.getType());
  auto centered =
      createGeneric(b, loc, type.clone(b.getI8Type()), Combiner::None, codes,
                    b.getMultiDimIdentityMap(type.getRank()), {}, {},
                    [](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
                      Value high = arith::ConstantOp::create(
                          inner, inner.getIntegerAttr(inner.getI8Type(), -128));
                      return arith::XOrIOp::create(inner, args[0], high);
                    });
  return centered.getResult();
}

Value qcc::extendCode(ImplicitLocOpBuilder &b, Type type, Value code,
                      bool hasSign) {
  if (hasSign)
    return arith::ExtSIOp::create(b, type, code);
  return arith::ExtUIOp::create(b, type, code);
}

/// Codes less their zero points, which `map` finds, in i16, or where that fits
/// in i8. Without zero points they are widened.
static Value subtractZeros(OpBuilder &b, Location loc, Value codes, Value zero,
                           AffineMap map, Type element) {
  auto type = cast<RankedTensorType>(codes.getType());
  SmallVector<Value> inputs{codes};
  SmallVector<AffineMap> maps{
      b.getMultiDimIdentityMap(unsigned(type.getRank()))};
  if (zero) {
    inputs.push_back(zero);
    maps.push_back(map);
  }
  bool hasSign = !isUnsigned(codes);
  auto less = createGeneric(
      b, loc, type.clone(element), Combiner::None, inputs, maps, {}, {},
      [&](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
        SmallVector<Value> parts(args);
        if (!element.isInteger(8))
          for (Value &part : parts)
            part = extendCode(inner, element, part, hasSign);
        if (parts.size() == 1)
          return parts[0];
        return arith::SubIOp::create(inner, parts[0], parts[1]);
      });
  return less.getResult();
}

/// The center of codes less their zero points, in i32 and of their shape.
static Value getOffsets(OpBuilder &b, Location loc, Value codes, Value zero) {
  auto number = int32_t(getCenter(codes));
  if (!zero) {
    auto scalar = RankedTensorType::get({}, b.getI32Type());
    return ConstantOp::create(b, loc, scalar,
                              DenseElementsAttr::get(scalar, number));
  }
  auto type = cast<RankedTensorType>(zero.getType());
  bool hasSign = !isUnsigned(zero);
  auto offsets =
      createGeneric(b, loc, type.clone(b.getI32Type()), Combiner::None, zero,
                    b.getMultiDimIdentityMap(unsigned(type.getRank())), {}, {},
                    [&](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
                      Type i32 = inner.getI32Type();
                      Value center = arith::ConstantOp::create(
                                inner, inner.getI32IntegerAttr(number)),
                            wide = extendCode(inner, i32, args[0], hasSign);
                      return arith::SubIOp::create(inner, center, wide);
                    });
  return offsets.getResult();
}

static Value createOnes(OpBuilder &b, Location loc, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, b.getI8Type());
  return ConstantOp::create(b, loc, type,
                            DenseElementsAttr::get(type, int8_t(1)));
}

/// How a tensor is read that has dimensions of 1 or of the result: by the
/// indices of the latter.
static AffineMap getBroadcastMap(Value value, RankedTensorType result) {
  MLIRContext *context = value.getContext();
  SmallVector<AffineExpr> dims = getDims(value.getType()), reads;
  auto rank = unsigned(result.getRank());
  for (auto [i, dim] : llvm::enumerate(dims)) {
    auto at = unsigned(rank - dims.size() + i);
    reads.push_back(getConstantSize(dim) == 1
                        ? getAffineConstantExpr(0, context)
                        : getAffineDimExpr(at, context));
  }
  return AffineMap::get(rank, 0, reads, context);
}

/// `sums` and `inputSums` times `offsets`.
static Value addCorrection(OpBuilder &b, Location loc, Value sums,
                           Value inputSums, Value offsets, AffineMap map) {
  auto type = cast<RankedTensorType>(sums.getType());
  auto corrected = createGeneric(
      b, loc, type, Combiner::None, {sums, inputSums, offsets},
      {b.getMultiDimIdentityMap(unsigned(type.getRank())),
       getBroadcastMap(inputSums, type), map},
      {}, {}, [](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
        Value more = arith::MulIOp::create(inner, args[1], args[2]);
        return arith::AddIOp::create(inner, args[0], more);
      });
  return corrected.getResult();
}

namespace {

// What the pattern below needs to know of an operation.

/// True for an operation whose kernels widen codes anyway.
bool takesWords(IntConvOp op) { return isDepthwise(op); }
bool takesWords(IntMatMulOp) { return false; }

MutableOperandRange getZero(IntConvOp op) { return op.getWeightZeroMutable(); }
MutableOperandRange getZero(IntMatMulOp op) { return op.getRhsZeroMutable(); }

/// True if targets may have kernels for an operation whose weight has no zero
/// point: else one in place of two reads the inputs once.
bool mayHaveKernel(IntConvOp op) {
  RankedTensorType weight = op.getWeight().getType();
  return weight.getRank() <= 4 &&
         (!isDepthwise(op) || weight.getDimSize(0) == int64_t(op.getGroups()));
}
bool mayHaveKernel(IntMatMulOp op) {
  return op.getRhs().getType().getRank() == 2 &&
         (!op.getLhsZero() || op.getLhsZero().getType().getRank() == 0);
}

/// The sums of what each output sums products of. Without groups they are the
/// same for all output channels.
Value sumInputs(OpBuilder &b, IntConvOp op) {
  SmallVector<int64_t> shape(op.getWeight().getType().getShape());
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  if (op.getGroups() == 1) {
    shape[0] = 1;
    dims[1] = getAffineConstantExpr(1, op.getContext());
  }
  return IntConvOp::create(b, op.getLoc(), makeTensorType(dims, b.getI32Type()),
                           op.getInput(), createOnes(b, op.getLoc(), shape),
                           op.getInputZero(), /*weight_zero=*/Value(),
                           op.getStrides(), op.getPads(), op.getDilations(),
                           op.getGroups(), /*channels_last=*/false)
      .getResult();
}
Value sumInputs(OpBuilder &b, IntMatMulOp op) {
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  dims.back() = getAffineConstantExpr(1, op.getContext());
  Value ones =
      createOnes(b, op.getLoc(), {op.getRhs().getType().getDimSize(0), 1});
  return IntMatMulOp::create(b, op.getLoc(),
                             makeTensorType(dims, b.getI32Type()), op.getLhs(),
                             ones, op.getLhsZero(), /*rhs_zero=*/Value())
      .getResult();
}

/// How the offset of a result is found.
AffineMap getOffsetMap(IntConvOp op, Value offsets) {
  MLIRContext *context = op.getContext();
  auto rank = unsigned(op.getResult().getType().getRank());
  if (cast<RankedTensorType>(offsets.getType()).getRank() == 0)
    return AffineMap::get(rank, 0, context);
  return AffineMap::get(rank, 0, getAffineDimExpr(1, context), context);
}
AffineMap getOffsetMap(IntMatMulOp op, Value offsets) {
  return getBroadcastMap(offsets, op.getResult().getType());
}

/// How the zero point of a code is found.
AffineMap getZeroMap(IntConvOp op, Value zero) {
  MLIRContext *context = op.getContext();
  auto rank = unsigned(op.getWeight().getType().getRank());
  if (cast<RankedTensorType>(zero.getType()).getRank() == 0)
    return AffineMap::get(rank, 0, context);
  return AffineMap::get(rank, 0, getAffineDimExpr(0, context), context);
}
AffineMap getZeroMap(IntMatMulOp op, Value zero) {
  return getBroadcastMap(zero, op.getRhs().getType());
}

/// Takes the zero point of an integer operation's weight into its codes, and
/// what signed codes cannot hold of it out of the sum.
template <typename OpT> struct TakeZeroPoint : OpRewritePattern<OpT> {
  using OpRewritePattern<OpT>::OpRewritePattern;
  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    Value weight = op->getOperand(1), point;
    if (MutableOperandRange zero = getZero(op); !zero.empty())
      point = zero[0].get();
    auto type = cast<RankedTensorType>(weight.getType());
    if ((!point && !isUnsigned(weight)) || type.getElementTypeBitWidth() != 8 ||
        !isConstantExpression(weight) ||
        (point && !isConstantExpression(point)))
      return failure();
    Location loc = op.getLoc();
    if (isCentered(weight, point))
      return replaceWeight(op, centerCodes(rewriter, loc, weight), rewriter);
    if (!mayHaveKernel(op) || !type.hasStaticShape() ||
        type.getNumElements() == 0 ||
        cast<RankedTensorType>(op->getOperand(0).getType())
                .getElementTypeBitWidth() != 8)
      return failure();
    AffineMap zeroMap = point ? getZeroMap(op, point) : AffineMap();
    bool hasFit = point && op->hasAttr(kZerosFitAttr);
    if (hasFit || takesWords(op))
      return replaceWeight(
          op,
          subtractZeros(rewriter, loc, weight, point, zeroMap,
                        rewriter.getIntegerType(hasFit ? 8 : 16)),
          rewriter);
    Value offsets = getOffsets(rewriter, loc, weight, point),
          inputSums = sumInputs(rewriter, op);
    noteOutcome(inputSums.getDefiningOp(), "int8", "int8",
                "sums codes: the weight has a zero point");
    (void)replaceWeight(op, centerCodes(rewriter, loc, weight), rewriter);
    rewriter.setInsertionPointAfter(op);
    Value sums = addCorrection(rewriter, loc, op.getResult(), inputSums,
                               offsets, getOffsetMap(op, offsets));
    rewriter.replaceAllUsesExcept(op.getResult(), sums, sums.getDefiningOp());
    return success();
  }

  /// With codes that have no zero point.
  static LogicalResult replaceWeight(OpT op, Value codes,
                                     PatternRewriter &rewriter) {
    rewriter.modifyOpInPlace(op, [&] {
      op->setOperand(1, codes);
      getZero(op).clear();
      op->removeAttr(kZerosFitAttr);
    });
    return success();
  }
};

} // namespace

void qcc::populateZeroPointPatterns(RewritePatternSet &patterns) {
  patterns.add<TakeZeroPoint<IntConvOp>, TakeZeroPoint<IntMatMulOp>>(
      patterns.getContext());
}
