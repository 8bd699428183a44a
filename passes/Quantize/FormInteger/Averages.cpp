//===- Averages.cpp - averages of codes from exact sums ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The average of a window of codes is a depthwise convolution with a weight of
// ones, so that its kernels, its layout and its epilogue serve both. What of
// the window lies in the padding counts as the zero point, which is nothing.
//
//===----------------------------------------------------------------------===//
#include "Codes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {

/// A window over one spatial dimension.
struct Axis {
  int64_t kernel, stride, dilation, begin, end; ///< end: the padding behind
  AffineExpr in, out;

  int64_t reach() const { return (kernel - 1) * dilation; }
  /// Output positions if only the declared padding is there.
  AffineExpr getPositions() const {
    return simplifySize((in + (begin + end - reach() - 1)).floorDiv(stride) +
                        1);
  }
};

/// How many positions of a window count; none where a size
/// is needed that is not known, or where a window has none.
std::optional<SmallVector<float>> countPositions(const Axis &axis,
                                                 bool countsPadding) {
  std::optional<int64_t> in = getConstantSize(axis.in),
                         out = getConstantSize(axis.out);
  if (!in || !out || *out > kMaxPooledSize)
    return std::nullopt;
  SmallVector<float> counts;
  for (int64_t i = 0; i < *out; ++i) {
    int64_t start = i * axis.stride - axis.begin, count = 0;
    for (int64_t k = 0; k < axis.kernel; ++k) {
      int64_t at = start + k * axis.dilation;
      count += countsPadding ? at < *in + axis.end : at >= 0 && at < *in;
    }
    if (count == 0)
      return std::nullopt;
    counts.push_back(float(count));
  }
  return counts;
}

/// `value` divided by the product of the counts of each spatial dimension, or
/// by one number where there are none.
Value divideByCounts(PatternRewriter &rewriter, Location loc, Value value,
                     int64_t taps, ArrayRef<SmallVector<float>> counts) {
  auto type = cast<RankedTensorType>(value.getType());
  auto rank = unsigned(type.getRank());
  SmallVector<Value> inputs{value};
  SmallVector<AffineMap> maps{rewriter.getMultiDimIdentityMap(rank)};
  for (auto [i, vector] : llvm::enumerate(counts)) {
    auto counted =
        RankedTensorType::get({int64_t(vector.size())}, rewriter.getF32Type());
    inputs.push_back(
        ConstantOp::create(rewriter, loc, counted,
                           DenseElementsAttr::get(counted, ArrayRef(vector))));
    maps.push_back(AffineMap::get(rank, 0, rewriter.getAffineDimExpr(2 + i)));
  }
  return createGeneric(rewriter, loc, type, Combiner::None, inputs, maps, {},
                       {},
                       [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                         if (counts.empty())
                           return arith::DivFOp::create(
                               b, args[0],
                               arith::ConstantOp::create(
                                   b, b.getF32FloatAttr(float(taps))));
                         // Numbers of positions have exact products.
                         Value count = args[1];
                         for (Value other : args.drop_front(2))
                           count = arith::MulFOp::create(b, count, other);
                         return arith::DivFOp::create(b, args[0], count);
                       })
      .getResult();
}

/// Averages windows of codes.
struct FormIntAverage : OpRewritePattern<PoolOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(PoolOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<Codes> codes = getCodes(op.getInput());
    if (!codes || codes->axis != -1 || !hasExactAverage(op) ||
        coversPadding(op))
      return failure();
    SmallVector<Axis> axes = getAxes(op);
    // Windows that ceil mode adds may reach beyond the declared padding.
    SmallVector<int64_t> pads(op.getPads());
    bool isWhole = true;
    for (auto [i, axis] : llvm::enumerate(axes)) {
      isWhole &= op.getCountIncludePad() || (axis.begin == 0 && axis.end == 0);
      if (axis.getPositions() == axis.out)
        continue;
      std::optional<int64_t> in = getConstantSize(axis.in),
                             out = getConstantSize(axis.out);
      if (!in || !out)
        return failure();
      int64_t missing =
          (*out - 1) * axis.stride + axis.reach() + 1 - *in - axis.begin;
      if (missing < axis.end)
        return failure();
      pads[axes.size() + i] = missing;
      isWhole = false;
    }
    SmallVector<SmallVector<float>> counts;
    int64_t taps = 1;
    for (const Axis &axis : axes) {
      taps *= axis.kernel;
      if (isWhole)
        continue;
      auto found = countPositions(axis, op.getCountIncludePad());
      if (!found)
        return failure();
      counts.push_back(std::move(*found));
    }
    Location loc = op.getLoc();
    Value scale = toScalar(rewriter, loc, codes->scale);
    RankedTensorType result = op.getResult().getType();
    Value sums = sumWindows(rewriter, op, *codes, pads);
    Value value = DequantizeOp::create(rewriter, loc, result, sums, scale,
                                       /*zero=*/Value(), 0, /*block=*/0)
                      .getResult();
    value = divideByCounts(rewriter, loc, value, taps, counts);
    noteOutcome(sums.getDefiningOp(), "int8", "int8", "averages codes");
    rewriter.replaceOp(op, value);
    return success();
  }

  static SmallVector<Axis> getAxes(PoolOp op) {
    SmallVector<AffineExpr> in = getDims(op.getInput().getType()),
                            out = getDims(op.getResult().getType());
    SmallVector<Axis> axes;
    size_t spatial = op.getKernel().size();
    for (size_t i = 0; i < spatial; ++i)
      axes.push_back({op.getKernel()[i], op.getStrides()[i],
                      op.getDilations()[i], op.getPads()[i],
                      op.getPads()[spatial + i], in[2 + i], out[2 + i]});
    return axes;
  }

  static Value sumWindows(PatternRewriter &rewriter, PoolOp op,
                          const Codes &codes, ArrayRef<int64_t> pads) {
    Location loc = op.getLoc();
    RankedTensorType result = op.getResult().getType();
    int64_t channels = *getConstantSize(getDims(result)[1]);
    SmallVector<int64_t> sizes{channels, 1};
    llvm::append_range(sizes, op.getKernel());
    auto type = RankedTensorType::get(sizes, rewriter.getI8Type());
    Value ones = ConstantOp::create(rewriter, loc, type,
                                    DenseElementsAttr::get(type, int8_t(1)));
    Value zero = codes.zero ? toScalar(rewriter, loc, codes.zero) : Value();
    return IntConvOp::create(
               rewriter, loc,
               makeTensorType(getDims(result), rewriter.getI32Type()),
               codes.codes, ones, zero, /*weight_zero=*/Value(),
               op.getStrides(), pads, op.getDilations(), uint64_t(channels),
               /*channels_last=*/false)
        .getResult();
  }
};

/// Sums of so many codes, each at most 255 from its zero point, fit 32 bits.
constexpr int64_t kMaxSummed = 1 << 23;

/// Sums codes over whole dimensions: in 64 bits where there may be more than
/// fit 32.
struct FormIntSum : OpRewritePattern<GenericOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (!hasExactAverage(op))
      return failure();
    std::optional<Codes> codes = getCodes(op.getInputs()[0]);
    if (!codes || codes->axis != -1)
      return failure();
    Location loc = op.getLoc();
    AffineMap map = op.getMap(0);
    SmallVector<Value> inputs{codes->codes};
    SmallVector<AffineMap> maps{map};
    if (codes->zero) {
      inputs.push_back(toScalar(rewriter, loc, codes->zero));
      maps.push_back(AffineMap::get(map.getNumDims(), 0, getContext()));
    }
    bool isUnsigned =
        codes->codes.getType().getElementType().isUnsignedInteger();
    std::optional<int64_t> count =
        getConstantSize(product(op.getOver()->getResults(), getContext()));
    bool isLong = !count || *count > kMaxSummed;
    Type number = rewriter.getIntegerType(isLong ? 64 : 32);
    RankedTensorType result = op.getResult().getType();
    auto sums = createGeneric(
        rewriter, loc, makeTensorType(getDims(result), number), Combiner::Sum,
        inputs, maps, {}, op.getOver()->getResults(),
        [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
          SmallVector<Value> wide;
          for (Value arg : args)
            wide.push_back(
                isUnsigned
                    ? arith::ExtUIOp::create(b, number, arg).getResult()
                    : arith::ExtSIOp::create(b, number, arg).getResult());
          return wide.size() == 1
                     ? wide[0]
                     : arith::SubIOp::create(b, wide[0], wide[1]).getResult();
        });
    noteOutcome(sums, "int8", "int8", "sums codes");
    Value scale = toScalar(rewriter, loc, codes->scale);
    if (isLong)
      rewriter.replaceOp(op, scaleLong(rewriter, loc, sums.getResult(), scale));
    else
      rewriter.replaceOpWithNewOp<DequantizeOp>(op, result, sums.getResult(),
                                                scale, /*zero=*/Value(),
                                                /*axis=*/0, /*block=*/0);
    return success();
  }

  /// What qcc.dequantize would make of integers of 64 bits.
  static Value scaleLong(OpBuilder &builder, Location loc, Value sums,
                         Value scale) {
    auto rank = unsigned(cast<RankedTensorType>(sums.getType()).getRank());
    return createGeneric(
               builder, loc,
               makeTensorType(getDims(sums.getType()), builder.getF32Type()),
               Combiner::None, {sums, scale},
               {builder.getMultiDimIdentityMap(rank),
                AffineMap::get(rank, 0, builder.getContext())},
               {}, {},
               [](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                 return arith::MulFOp::create(
                     b, arith::SIToFPOp::create(b, b.getF32Type(), args[0]),
                     args[1]);
               })
        .getResult();
  }
};

/// Takes the scale of sums and that of the codes which their averages become
/// together: with equal scales, averages in the middle of two codes are exactly
/// that.
struct MergeScales : OpRewritePattern<QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(QuantizeOp op,
                                PatternRewriter &rewriter) const override {
    auto type =
        dyn_cast<IntegerType>(op.getResult().getType().getElementType());
    auto division = op.getInput().getDefiningOp<GenericOp>();
    if (!type || type.getWidth() != 8 || op.getBlock() != 0 ||
        op.getPrecision() || !division || !division->hasOneUse() ||
        !isDivision(division))
      return failure();
    auto source = division.getInputs()[0].getDefiningOp<DequantizeOp>();
    if (!source || source.getZero() ||
        !source.getInput().getType().getElementType().isInteger(32))
      return failure();
    std::optional<float> from = getScale(source.getScale()),
                         to = getScale(op.getScale());
    if (!from || !to || std::abs(std::ilogb(*from) - std::ilogb(*to)) > 100 ||
        *to == 1)
      return failure();
    auto scalar = RankedTensorType::get({}, rewriter.getF32Type());
    auto constant = [&](float value) -> Value {
      return ConstantOp::create(rewriter, op.getLoc(), scalar,
                                DenseElementsAttr::get(scalar, value));
    };
    rewriter.setInsertionPoint(division);
    Value steps =
        DequantizeOp::create(rewriter, source.getLoc(), source.getType(),
                             source.getInput(), constant(*from / *to),
                             /*zero=*/Value(), /*axis=*/0, /*block=*/0)
            .getResult();
    Value one = constant(1);
    rewriter.modifyOpInPlace(division, [&] { division->setOperand(0, steps); });
    rewriter.modifyOpInPlace(op, [&] { op.getScaleMutable().assign(one); });
    return success();
  }

  /// True for the first input divided by what does not depend on it.
  static bool isDivision(GenericOp op) {
    if (op.isReduction() || op.getInputs().empty() ||
        !op.getMap(0).isIdentity())
      return false;
    Value first = op.getBlock()->getArgument(0);
    auto quotient = op.getYielded().getDefiningOp<arith::DivFOp>();
    return quotient && quotient.getLhs() == first && first.hasOneUse();
  }

  static std::optional<float> getScale(Value scale) {
    if (!hasOneElement(scale) || !isPositive(scale) ||
        !cast<RankedTensorType>(scale.getType()).getElementType().isF32())
      return std::nullopt;
    auto constant = scale.getDefiningOp<ConstantOp>();
    return cast<DenseElementsAttr>(constant.getValue())
        .getSplatValue<APFloat>()
        .convertToFloat();
  }
};

} // namespace

void qcc::populateAveragePatterns(RewritePatternSet &patterns) {
  patterns.add<FormIntAverage, FormIntSum>(patterns.getContext());
  // Before a product with the reciprocal stands between.
  patterns.add<MergeScales>(patterns.getContext(), /*benefit=*/3);
}
