//===- FormInteger.cpp - integer products from dequantized ones -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Codes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

namespace qcc {
#define GEN_PASS_DEF_FORMINTEGER
#include "qcc/passes/FormInteger.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// Rows over which products of two bytes, each up to 255 away from its zero
/// point, still fit 32 bits.
static constexpr int64_t kMaxRows = 33025;

/// The smallest scale of a softmax's codes for which sums over all keys fit 32
/// bits, whatever their number: a row's codes add up to the inverse and a half
/// per key at most, which times 255 stays below 2^31 up to 14 million keys.
static constexpr double kLeastScale = 0x1p-20;

/// Elementwise operations between a sum and where it is quantized again.
static constexpr unsigned kMaxEpilogue = 32;

/// The zero point of a weight's codes as an integer operation has it: a scalar,
/// or one per output in a tensor of `rank` dimensions, the last of them.
static Value shapeZero(OpBuilder &b, Location loc, const Codes &weight,
                       int64_t rank) {
  Value zero = weight.zero;
  if (!zero || hasOneElement(zero))
    return zero ? toScalar(b, loc, zero) : Value();
  auto type = cast<RankedTensorType>(zero.getType());
  if (type.getRank() == rank)
    return zero;
  return ReshapeOp::create(
      b, loc,
      RankedTensorType::get({1, type.getNumElements()}, type.getElementType()),
      zero);
}

/// The scale of products: one factor for all, the other for all or per channel.
static Value multiplyScales(OpBuilder &b, Location loc, const Codes &input,
                            const Codes &weight) {
  MLIRContext *context = b.getContext();
  Value first = toScalar(b, loc, input.scale), second = weight.scale;
  if (hasOneElement(second))
    second = toScalar(b, loc, second);
  auto type = cast<RankedTensorType>(second.getType());
  unsigned rank = type.getRank();
  auto product = createGeneric(
      b, loc, type, Combiner::None, {first, second},
      {AffineMap::get(rank, 0, context), b.getMultiDimIdentityMap(rank)}, {},
      {}, [](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
        return arith::MulFOp::create(inner, args[0], args[1]);
      });
  return product.getResult();
}

static LogicalResult refuse(PatternRewriter &rewriter, Operation *op,
                            StringRef why) {
  std::string reason = ("not supported: " + why).str();
  auto noted = op->getAttrOfType<StringAttr>("qcc.reason");
  if (!noted || noted.getValue() != reason)
    rewriter.modifyOpInPlace(op,
                             [&] { noteOutcome(op, "int8", "f32", reason); });
  return failure();
}

/// Notes why an operation on two dequantized operands, the second constant, is
/// computed in floats, if that is what their codes are.
static LogicalResult refuseCodes(PatternRewriter &rewriter, Operation *op) {
  for (Value operand : op->getOperands().take_front(2)) {
    auto source = operand.getDefiningOp<DequantizeOp>();
    if (!source ||
        !isa<IntegerType>(source.getInput().getType().getElementType()))
      return failure();
  }
  if (!isConstantExpression(op->getOperand(1)) || op->hasAttr("qcc.reason"))
    return failure();
  for (Value operand : op->getOperands().take_front(2)) {
    auto source = operand.getDefiningOp<DequantizeOp>();
    unsigned width =
        source.getInput().getType().getElementType().getIntOrFloatBitWidth();
    if (width > 8)
      return refuse(rewriter, op, "codes of more than 8 bits");
    if (width < 8)
      return refuse(rewriter, op,
                    "codes of " + std::to_string(width) +
                        " bits between conversions");
    if (source.getBlock() != 0)
      return refuse(rewriter, op, "codes have a scale per block");
  }
  return failure();
}

/// `sums` as floats with the scale of `axis`, in place of `op`, whose second
/// operand is the dequantized weight.
static void replaceWithSums(PatternRewriter &rewriter, Operation *op,
                            Value sums, Value scale, int64_t axis) {
  Operation *weightSource = op->getOperand(1).getDefiningOp();
  // Another pass may have asked for it, or for fewer bits.
  auto getNote = [&](StringRef name, StringRef otherwise) {
    auto note = op->getAttrOfType<StringAttr>(name);
    return note ? note.getValue() : otherwise;
  };
  bool isNarrow =
      cast<RankedTensorType>(sums.getDefiningOp()->getOperand(1).getType())
          .getElementTypeBitWidth() == 4;
  StringRef executed = isNarrow ? "w4a8" : "int8",
            requested = getNote("qcc.requested", executed);
  noteOutcome(sums.getDefiningOp(), requested == "w4a8" ? requested : executed,
              executed, getNote("qcc.reason", "as in the model"));
  Operation *weight = sums.getDefiningOp()->getOperand(1).getDefiningOp();
  // That of a product may be transposed, which leaves its pairs as they are.
  if (auto copy = dyn_cast_or_null<GenericOp>(weight);
      copy && copy.isCopy() && isa<IntMatMulOp>(sums.getDefiningOp()))
    weight = copy.getInputs().front().getDefiningOp();
  if (weight && weight->hasAttr(kPairsFitAttr))
    sums.getDefiningOp()->setAttr(kPairsFitAttr, rewriter.getUnitAttr());
  if (weightSource->hasAttr(kZerosFitAttr))
    sums.getDefiningOp()->setAttr(kZerosFitAttr, rewriter.getUnitAttr());
  for (StringRef name : {kLayerErrorAttr, kTransformAttr})
    if (Attribute note = op->getAttr(name))
      sums.getDefiningOp()->setAttr(name, note);
  auto isScalar = cast<RankedTensorType>(scale.getType()).getRank() == 0;
  rewriter.replaceOpWithNewOp<DequantizeOp>(op, op->getResult(0).getType(),
                                            sums, scale, /*zero=*/Value(),
                                            isScalar ? 0 : axis, /*block=*/0);
}

namespace {

struct FormIntConv : OpRewritePattern<ConvOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ConvOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<Codes> input = getCodes(op.getInput()),
                         weight = getWeightCodes(op);
    if (!input || !weight)
      return refuseCodes(rewriter, op);
    auto type = weight->codes.getType();
    if (!isConstantExpression(op.getWeight()) || !type.hasStaticShape())
      return refuse(rewriter, op, "the weight is not constant");
    if (type.getRank() > 4)
      return refuse(rewriter, op, "three spatial dimensions");
    if (input->axis != -1)
      return refuse(rewriter, op, "the input has a scale per channel");
    if (weight->axis > 0)
      return refuse(rewriter, op, "the weight has a scale along its rows");
    if (type.getNumElements() / std::max<int64_t>(type.getDimSize(0), 1) >
        kMaxRows)
      return refuse(rewriter, op, "a sum may not fit 32 bits");
    Location loc = op.getLoc();
    Value zero = input->zero ? toScalar(rewriter, loc, input->zero) : Value();
    auto sums = IntConvOp::create(
        rewriter, loc,
        makeTensorType(getDims(op.getResult().getType()),
                       rewriter.getI32Type()),
        input->codes, weight->codes, zero, shapeZero(rewriter, loc, *weight, 1),
        op.getStrides(), op.getPads(), op.getDilations(), op.getGroups(),
        /*channels_last=*/false);
    Value scale = multiplyScales(rewriter, loc, *input, *weight);
    replaceWithSums(rewriter, op, sums.getResult(), scale, 1);
    return success();
  }
};

struct FormIntMatMul : OpRewritePattern<MatMulOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(MatMulOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<Codes> input = getCodes(op.getLhs()),
                         weight = getWeightCodes(op);
    if (!input || !weight)
      return refuseCodes(rewriter, op);
    auto type = weight->codes.getType();
    int64_t columns = type.getRank() - (op.getTransB() ? 2 : 1);
    if (input->axis != -1)
      return refuse(rewriter, op, "the input has a scale per column");
    if (weight->axis != -1 && weight->axis != columns)
      return refuse(rewriter, op, "the weight has a scale along its rows");
    bool isWeight = isConstantExpression(op.getRhs()) &&
                    type.hasStaticShape() && type.getRank() == 2 &&
                    !op.getTransA();
    if (!isWeight && weight->zero && !hasOneElement(weight->zero))
      return refuse(rewriter, op,
                    "the second operand has a zero point per column");
    SmallVector<AffineExpr> dims = getDims(type);
    std::optional<int64_t> rows =
        getConstantSize(dims[dims.size() - (op.getTransB() ? 1 : 2)]);
    if (rows ? *rows > kMaxRows : op.getTransA() || !isSoftmax(*input))
      return refuse(rewriter, op, "a sum may not fit 32 bits");
    Location loc = op.getLoc();
    Value zero = input->zero ? toScalar(rewriter, loc, input->zero) : Value();
    auto result = op.getResult().getType();
    auto sums = IntMatMulOp::create(
        rewriter, loc, makeTensorType(getDims(result), rewriter.getI32Type()),
        swapLast(rewriter, loc, input->codes, op.getTransA()),
        swapLast(rewriter, loc, weight->codes, op.getTransB()), zero,
        shapeZero(rewriter, loc, *weight, 2));
    Value scale = multiplyScales(rewriter, loc, *input, *weight);
    replaceWithSums(rewriter, op, sums.getResult(), scale,
                    result.getRank() - 1);
    return success();
  }

private:
  /// A matrix, or each of several, transposed if that is asked for.
  static Value swapLast(PatternRewriter &rewriter, Location loc, Value codes,
                        bool isAsked) {
    if (!isAsked)
      return codes;
    int64_t rank = cast<RankedTensorType>(codes.getType()).getRank();
    SmallVector<int64_t> order = llvm::to_vector(llvm::seq(rank));
    std::swap(order[size_t(rank) - 1], order[size_t(rank) - 2]);
    return permute(rewriter, loc, codes, order).getResult();
  }

  /// True for codes of weights that add up to 1 along the last dimension: less
  /// their zero point none is negative.
  static bool isSoftmax(const Codes &input) {
    auto codes = input.codes.getDefiningOp<QuantizeOp>();
    auto softmax =
        codes ? codes.getInput().getDefiningOp<SoftmaxOp>() : SoftmaxOp();
    if (!softmax || softmax.getLog())
      return false;
    std::optional<double> scale = getSplatFloat(codes.getScale());
    auto getZero = [](Value zero) {
      return zero ? getSplatInteger(zero) : std::optional<int64_t>(0);
    };
    std::optional<int64_t> zero = getZero(input.zero);
    return scale && *scale >= kLeastScale && zero &&
           zero == getZero(codes.getZero());
  }
};

/// Says of an integer operation of a model that it is one, and if no target has
/// a kernel for it why.
template <typename OpT> struct NoteLoops : OpRewritePattern<OpT> {
  using OpRewritePattern<OpT>::OpRewritePattern;
  LogicalResult matchAndRewrite(OpT op,
                                PatternRewriter &rewriter) const override {
    if (op->hasAttr("qcc.reason"))
      return failure();
    StringRef why = getObstacle(op);
    std::string reason =
        why.empty() ? "as in the model" : ("no kernel: " + why).str();
    rewriter.modifyOpInPlace(op,
                             [&] { noteOutcome(op, "int8", "int8", reason); });
    return success();
  }

  static StringRef getObstacle(OpT op) {
    for (Value operand : op->getOperands().take_front(2))
      if (cast<RankedTensorType>(operand.getType()).getElementTypeBitWidth() >
          8)
        return "codes of more than 8 bits";
    if constexpr (std::is_same_v<OpT, IntMatMulOp>) {
      auto hasMany = [](Value zero) { return zero && !hasOneElement(zero); };
      // Those of a constant matrix are taken out of the sum.
      bool isWeight = isConstantExpression(op.getRhs()) &&
                      op.getRhs().getType().getRank() == 2;
      if (hasMany(op.getLhsZero()) || (!isWeight && hasMany(op.getRhsZero())))
        return "a zero point per row or column";
    } else {
      if (!isConstantExpression(op->getOperand(1)))
        return "the weight is not constant";
      if (op.getWeight().getType().getRank() > 4)
        return "three spatial dimensions";
    }
    return "";
  }
};

/// Multiplies by the reciprocal of a constant scale where sums of integers are
/// quantized again: a division costs as much as many steps of the sum, and a
/// value as close to the middle of two codes as one rounding may go either way.
struct MultiplyByReciprocal : OpRewritePattern<QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(QuantizeOp op,
                                PatternRewriter &rewriter) const override {
    TypedValue<RankedTensorType> scale = op.getScale();
    if (!hasOneElement(scale) || !scale.getType().getElementType().isF32() ||
        op.getPrecision() || !isConstantExpression(scale) || isOne(scale) ||
        op.getBlock() != 0 || !op.getInput().getType().getElementType().isF32())
      return failure();
    auto type =
        dyn_cast<IntegerType>(op.getResult().getType().getElementType());
    if (!type || type.getWidth() != 8 || !comesFromIntegers(op.getInput()))
      return failure();
    Location loc = op.getLoc();
    MLIRContext *context = getContext();
    Value reciprocal = createReciprocal(rewriter, loc, scale);
    RankedTensorType input = op.getInput().getType();
    unsigned rank = input.getRank();
    auto steps = createGeneric(
        rewriter, loc, input, Combiner::None, {op.getInput(), reciprocal},
        {rewriter.getMultiDimIdentityMap(rank),
         AffineMap::get(rank, 0, context)},
        {}, {}, [](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
          return arith::MulFOp::create(b, args[0], args[1]);
        });
    auto scalar = RankedTensorType::get({}, rewriter.getF32Type());
    Value one = ConstantOp::create(rewriter, loc, scalar,
                                   DenseElementsAttr::get(scalar, 1.0f));
    rewriter.modifyOpInPlace(op, [&] {
      op.getInputMutable().assign(steps.getResult());
      op.getScaleMutable().assign(one);
    });
    return success();
  }

  /// 1 over a scale of one element: a constant where the scale is one.
  static Value createReciprocal(PatternRewriter &rewriter, Location loc,
                                Value scale) {
    auto scalar = RankedTensorType::get({}, rewriter.getF32Type());
    if (std::optional<double> known = getSplatFloat(scale))
      return ConstantOp::create(
          rewriter, loc, scalar,
          DenseElementsAttr::get(scalar, 1.0f / float(*known)));
    AffineMap none = AffineMap::get(0, 0, rewriter.getContext());
    return createGeneric(rewriter, loc, scalar, Combiner::None,
                         toScalar(rewriter, loc, scale), none, {}, {},
                         [](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
                           Value one = arith::ConstantOp::create(
                               b, b.getF32FloatAttr(1));
                           return arith::DivFOp::create(b, one, args[0]);
                         })
        .getResult();
  }

  static bool isOne(Value scale) {
    auto constant = scale.getDefiningOp<ConstantOp>();
    auto dense =
        constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
    return dense && dense.isSplat() &&
           dense.getSplatValue<APFloat>().isExactlyValue(1.0);
  }

  /// True if `value` is computed element by element from sums of integers, by
  /// one of the operands of each operation.
  static bool comesFromIntegers(Value value) {
    SmallVector<Value> open = {value};
    for (unsigned steps = 0; steps < kMaxEpilogue && !open.empty(); ++steps) {
      Operation *op = open.pop_back_val().getDefiningOp();
      if (isa_and_nonnull<IntConvOp, IntMatMulOp>(op))
        return true;
      if (auto sums = dyn_cast_or_null<DequantizeOp>(op))
        open.push_back(sums.getInput());
      auto generic = dyn_cast_or_null<GenericOp>(op);
      if (generic && !generic.isReduction())
        llvm::append_range(open, llvm::reverse(generic.getInputs()));
    }
    return false;
  }
};

/// Drops an activation function before codes without a sign whose zero point is
/// 0: a maximum with zero, for they have nothing below it either, and a minimum
/// with what is their largest.
struct DropActivation : OpRewritePattern<QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(QuantizeOp op,
                                PatternRewriter &rewriter) const override {
    auto type =
        dyn_cast<IntegerType>(op.getResult().getType().getElementType());
    if (!type || !type.isUnsigned() || !isPositive(op.getScale()) ||
        (op.getZero() && getSplatInteger(op.getZero()) != 0))
      return failure();
    auto generic = op.getInput().getDefiningOp<GenericOp>();
    if (!generic || !generic->hasOneUse() || generic.isReduction() ||
        !generic.getWhole().empty())
      return failure();
    double largest = double((uint64_t(1) << type.getWidth()) - 1),
           scale = *getSplatFloat(op.getScale());
    Value value = generic.getYielded();
    while (Value inner = skipBound(generic, value, scale * (largest - kNear)))
      value = inner;
    auto arg = dyn_cast<BlockArgument>(value);
    if (!arg || value == generic.getYielded() ||
        arg.getOwner() != generic.getBlock())
      return failure();
    unsigned number = arg.getArgNumber();
    Value input = generic.getInputs()[number];
    if (!generic.getMap(number).isIdentity() ||
        getDims(input.getType()) != getDims(generic.getResult().getType()) ||
        !cast<RankedTensorType>(input.getType()).getElementType().isF32())
      return failure();
    rewriter.modifyOpInPlace(op, [&] { op.getInputMutable().assign(input); });
    return success();
  }

private:
  /// A quotient that is this much below the largest code is rounded to it,
  /// whatever the division's own rounding.
  static constexpr double kNear = 0.25;

  /// The number that a value of a body is.
  static std::optional<double> getNumber(GenericOp generic, Value value) {
    if (auto arg = dyn_cast<BlockArgument>(value))
      return arg.getOwner() == generic.getBlock()
                 ? getSplatFloat(generic.getInputs()[arg.getArgNumber()])
                 : std::nullopt;
    FloatAttr number;
    if (!matchPattern(value, m_Constant(&number)) || !number.getType().isF32())
      return std::nullopt;
    return number.getValueAsDouble();
  }

  /// What a maximum with 0, or a minimum with `least` or more, is of; null for
  /// anything else. Either gives NaN for NaN, as does its operand.
  static Value skipBound(GenericOp generic, Value value, double least) {
    Operation *op = value.getDefiningOp();
    if (!isa_and_nonnull<arith::MaximumFOp, arith::MinimumFOp>(op))
      return {};
    for (unsigned i : {0u, 1u})
      if (std::optional<double> bound =
              getNumber(generic, op->getOperand(1 - i)))
        if (isa<arith::MaximumFOp>(op) ? *bound == 0 : *bound >= least)
          return op->getOperand(i);
    return {};
  }
};

/// Takes the maximum of a window among codes: a positive scale keeps their
/// order.
struct PoolCodes : OpRewritePattern<PoolOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(PoolOp op,
                                PatternRewriter &rewriter) const override {
    auto source = op.getInput().getDefiningOp<DequantizeOp>();
    std::optional<Codes> codes = getCodes(op.getInput());
    if (op.getKind() != PoolKind::Max || !codes || codes->axis != -1 ||
        !isPositive(codes->scale) || coversPadding(op))
      return failure();
    auto type = makeTensorType(getDims(op.getResult().getType()),
                               codes->codes.getType().getElementType());
    Operation *pooled = rewriter.clone(*op);
    rewriter.modifyOpInPlace(pooled, [&] {
      pooled->setOperand(0, codes->codes);
      pooled->getResult(0).setType(type);
    });
    rewriter.replaceOpWithNewOp<DequantizeOp>(
        op, op.getResult().getType(), pooled->getResult(0), source.getScale(),
        source.getZero(), /*axis=*/0, /*block=*/0);
    return success();
  }
};

/// Codes that are taken for floats and found again are the codes.
struct FoldRequantize : OpRewritePattern<QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(QuantizeOp op,
                                PatternRewriter &rewriter) const override {
    auto source = op.getInput().getDefiningOp<DequantizeOp>();
    if (!source || source.getInput().getType() != op.getResult().getType() ||
        source.getScale() != op.getScale() ||
        source.getZero() != op.getZero() || source.getBlock() != 0 ||
        op.getBlock() != 0 || source.getAxis() != op.getAxis() ||
        op.getPrecision() || !hasOneElement(op.getScale()) ||
        !isPositive(op.getScale()) ||
        !op.getInput().getType().getElementType().isF32() ||
        !isa<IntegerType>(op.getResult().getType().getElementType()))
      return failure();
    rewriter.replaceOp(op, source.getInput());
    return success();
  }
};

struct FormIntegerPass : qcc::impl::FormIntegerBase<FormIntegerPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FormIntConv, FormIntMatMul, NoteLoops<IntConvOp>,
                 NoteLoops<IntMatMulOp>, MultiplyByReciprocal>(&getContext());
    populateZeroPointPatterns(patterns);
    populateExactFloatPatterns(patterns);
    populateFewBitsPatterns(patterns);
    populateAveragePatterns(patterns);
    populateMovePatterns(patterns);
    // Before a product with the reciprocal stands between.
    patterns.add<DropActivation, FoldRequantize, PoolCodes>(&getContext(),
                                                            /*benefit=*/2);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
