//===- ExactFloats.cpp - integer convolutions in floats ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Codes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

/// Up to this all whole numbers are f32, and so are all partial sums of
/// products that add up to no more, in any order.
static constexpr int64_t kExact = int64_t(1) << 24;

/// The largest magnitude of codes of `type`, at most 8 bits, less their zero
/// point.
static int64_t getBound(Type type, Value zero) {
  int64_t codes = int64_t(1) << type.getIntOrFloatBitWidth(),
          least = type.isUnsignedInteger() ? 0 : -codes / 2;
  if (!zero)
    return std::max(-least, least + codes - 1);
  std::optional<int64_t> known = getSplatInteger(zero);
  if (!known || *known < least || *known >= least + codes)
    return codes - 1;
  return std::max(*known - least, least + codes - 1 - *known);
}

static bool isOfBytes(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getElementType().isInteger() &&
         type.getElementTypeBitWidth() <= 8;
}

/// Codes less their zero point, one for all or one per index of the first
/// dimension, as f32.
static Value convertCodes(PatternRewriter &b,
                          TypedValue<RankedTensorType> codes, Value zero) {
  Location loc = codes.getLoc();
  MLIRContext *context = b.getContext();
  SmallVector<AffineExpr> dims = getDims(codes.getType());
  auto rank = unsigned(dims.size());
  SmallVector<Value> inputs{codes};
  SmallVector<AffineMap> maps{b.getMultiDimIdentityMap(rank)};
  if (zero && hasOneElement(zero)) {
    inputs.push_back(toScalar(b, loc, zero));
    maps.push_back(AffineMap::get(rank, 0, context));
  } else if (zero) {
    inputs.push_back(zero);
    maps.push_back(AffineMap::get(rank, 0, getAffineDimExpr(0, context)));
  }
  bool hasSign = !codes.getType().getElementType().isUnsignedInteger();
  return createGeneric(
             b, loc, makeTensorType(dims, b.getF32Type()), Combiner::None,
             inputs, maps, {}, {},
             [&](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
               Type i32 = inner.getI32Type();
               Value code = extendCode(inner, i32, args[0], hasSign);
               if (args.size() > 1)
                 code = arith::SubIOp::create(
                     inner, code, extendCode(inner, i32, args[1], hasSign));
               return arith::SIToFPOp::create(inner, inner.getF32Type(), code);
             })
      .getResult();
}

/// Whole numbers of f32 as i32.
static Value toIntegers(PatternRewriter &b, Location loc, Value values) {
  auto type = cast<RankedTensorType>(values.getType());
  return createGeneric(
             b, loc, makeTensorType(getDims(type), b.getI32Type()),
             Combiner::None, values,
             b.getMultiDimIdentityMap(unsigned(type.getRank())), {}, {},
             [](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
               return arith::FPToSIOp::create(inner, inner.getI32Type(),
                                              args[0]);
             })
      .getResult();
}

namespace {
/// Convolves codes in groups of one channel with several outputs each, which no
/// kernel for bytes takes, as floats.
struct ConvolveAsFloats : OpRewritePattern<IntConvOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(IntConvOp op,
                                PatternRewriter &rewriter) const override {
    RankedTensorType weight = op.getWeight().getType();
    if (!isDepthwise(op) || weight.getDimSize(0) == int64_t(op.getGroups()) ||
        !weight.hasStaticShape() || weight.getNumElements() == 0 ||
        op.getChannelsLast() || !isOfBytes(op.getInput()) ||
        !isOfBytes(op.getWeight()))
      return failure();
    int64_t taps = weight.getNumElements() / weight.getDimSize(0),
            most = getBound(op.getInput().getType().getElementType(),
                            op.getInputZero()) *
                   getBound(weight.getElementType(), op.getWeightZero());
    if (taps > kExact / most)
      return failure();
    Value input = convertCodes(rewriter, op.getInput(), op.getInputZero()),
          kernel = convertCodes(rewriter, op.getWeight(), op.getWeightZero());
    RankedTensorType result = op.getResult().getType();
    auto sums = ConvOp::create(
        rewriter, op.getLoc(),
        makeTensorType(getDims(result), rewriter.getF32Type()), input, kernel,
        op.getStrides(), op.getPads(), op.getDilations(), op.getGroups());
    noteOutcome(sums, "int8", "f32",
                "exact in f32: depthwise with several outputs per channel");
    rewriter.replaceOp(op, toIntegers(rewriter, op.getLoc(), sums));
    return success();
  }
};
} // namespace

void qcc::populateExactFloatPatterns(RewritePatternSet &patterns) {
  patterns.add<ConvolveAsFloats>(patterns.getContext(),
                                 /*benefit=*/2);
}
