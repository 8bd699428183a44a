//===- ExactFloats.cpp - integer products in floats -------------*- C++ -*-===//
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

/// Most parts of the inner dimension: each is a product of its own.
static constexpr int64_t kMaxParts = 16;

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

/// `count` codes from `first` on along `axis` less their zero point, one for
/// all or one per index of the first dimension, as f32.
static Value convertCodes(PatternRewriter &b,
                          TypedValue<RankedTensorType> codes, Value zero,
                          unsigned axis, int64_t first, int64_t count) {
  Location loc = codes.getLoc();
  MLIRContext *context = b.getContext();
  SmallVector<AffineExpr> dims = getDims(codes.getType()), reads;
  unsigned rank = dims.size();
  for (unsigned i = 0; i < rank; ++i)
    reads.push_back(getAffineDimExpr(i, context));
  reads[axis] = reads[axis] + first;
  dims[axis] = getAffineConstantExpr(count, context);
  SmallVector<Value> inputs{codes};
  SmallVector<AffineMap> maps{AffineMap::get(rank, 0, reads, context)};
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

/// The whole numbers of `values`, f32, and of `sums` of i32 (may be null)
/// together.
static Value addWhole(PatternRewriter &b, Location loc, Value values,
                      Value sums) {
  auto type = cast<RankedTensorType>(values.getType());
  AffineMap same = b.getMultiDimIdentityMap(type.getRank());
  SmallVector<Value> inputs{values};
  if (sums)
    inputs.push_back(sums);
  return createGeneric(
             b, loc, makeTensorType(getDims(type), b.getI32Type()),
             Combiner::None, inputs,
             SmallVector<AffineMap>(inputs.size(), same), {}, {},
             [](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
               Value sum =
                   arith::FPToSIOp::create(inner, inner.getI32Type(), args[0]);
               if (args.size() == 1)
                 return sum;
               return arith::AddIOp::create(inner, sum, args[1]);
             })
      .getResult();
}

namespace {
/// Multiplies codes that kernels for bytes do not take, two activations or a
/// weight of several matrices, as floats: in so short parts of the inner
/// dimension that every partial sum is exact.
struct MultiplyAsFloats : OpRewritePattern<IntMatMulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(IntMatMulOp op,
                                PatternRewriter &rewriter) const override {
    auto lhs = op.getLhs().getType(), rhs = op.getRhs().getType();
    if (isConstantExpression(op.getRhs()) && rhs.getRank() <= 2)
      return failure();
    if (!isOfBytes(op.getLhs()) || !isOfBytes(op.getRhs()))
      return failure();
    for (Value zero : {op.getLhsZero(), op.getRhsZero()})
      if (zero && !hasOneElement(zero))
        return failure();
    std::optional<int64_t> rows = getConstantSize(getDims(lhs).back());
    if (!rows || *rows == 0)
      return failure();
    int64_t part = kExact / (getBound(lhs.getElementType(), op.getLhsZero()) *
                             getBound(rhs.getElementType(), op.getRhsZero()));
    if (llvm::divideCeil(*rows, part) > kMaxParts)
      return failure();
    Value sums;
    for (int64_t first = 0; first < *rows; first += part)
      sums = addPart(rewriter, op, first, std::min(part, *rows - first), sums);
    rewriter.replaceOp(op, sums);
    return success();
  }

private:
  /// `sums`, which may be null, plus the products of `count` rows.
  static Value addPart(PatternRewriter &b, IntMatMulOp op, int64_t first,
                       int64_t count, Value sums) {
    unsigned lhsRank = op.getLhs().getType().getRank(),
             rhsRank = op.getRhs().getType().getRank();
    Value lhs = convertCodes(b, op.getLhs(), op.getLhsZero(), lhsRank - 1,
                             first, count),
          rhs = convertCodes(b, op.getRhs(), op.getRhsZero(), rhsRank - 2,
                             first, count);
    RankedTensorType type = op.getResult().getType();
    auto product = MatMulOp::create(
        b, op.getLoc(), makeTensorType(getDims(type), b.getF32Type()), lhs, rhs,
        /*trans_a=*/false, /*trans_b=*/false);
    noteOutcome(product, "int8", "f32",
                "exact in f32: the weight is not a constant matrix");
    return addWhole(b, op.getLoc(), product, sums);
  }
};

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
    Value input = convertCodes(rewriter, op.getInput(), op.getInputZero(),
                               /*axis=*/1, 0, int64_t(op.getGroups())),
          kernel = convertCodes(rewriter, op.getWeight(), op.getWeightZero(),
                                /*axis=*/1, 0, 1);
    RankedTensorType result = op.getResult().getType();
    auto sums = ConvOp::create(
        rewriter, op.getLoc(),
        makeTensorType(getDims(result), rewriter.getF32Type()), input, kernel,
        op.getStrides(), op.getPads(), op.getDilations(), op.getGroups());
    noteOutcome(sums, "int8", "f32",
                "exact in f32: depthwise with several outputs per channel");
    rewriter.replaceOp(op, addWhole(rewriter, op.getLoc(), sums, {}));
    return success();
  }
};
} // namespace

void qcc::populateExactFloatPatterns(RewritePatternSet &patterns) {
  patterns.add<MultiplyAsFloats, ConvolveAsFloats>(patterns.getContext(),
                                                   /*benefit=*/2);
}
