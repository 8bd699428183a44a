//===- StaticInt8.cpp - int8 with scales from calibration -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/Range.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"

namespace qcc {
#define GEN_PASS_DECL_STATICINT8
#define GEN_PASS_DEF_STATICINT8
#include "qcc/passes/StaticInt8.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// Fewer rows of a weight than this are not worth the codes of its input.
static constexpr int64_t kMinRows = 16;
/// Products of two bytes, one of them up to 255 away from its zero point, of
/// more rows may not fit 32 bits.
static constexpr int64_t kMaxRows = 33025;
/// Largest code of a weight.
static constexpr double kMaxCode = 127;

/// The range that calibration found for a value; none if it saw none.
static std::optional<qcc::Range> getRange(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  ArrayAttr range;
  if (auto arg = dyn_cast<BlockArgument>(value)) {
    auto func = dyn_cast<func::FuncOp>(arg.getOwner()->getParentOp());
    if (func)
      range = func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), "qcc.range");
  } else if (value.getDefiningOp()->getNumResults() == 1) {
    range = value.getDefiningOp()->getAttrOfType<ArrayAttr>("qcc.range");
  }
  if (!range || range.size() != 2)
    return std::nullopt;
  auto low = dyn_cast<FloatAttr>(range[0]),
       high = dyn_cast<FloatAttr>(range[1]);
  if (!low || !high)
    return std::nullopt;
  return qcc::Range{float(low.getValueAsDouble()),
                    float(high.getValueAsDouble())};
}

static bool isF32(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getElementType().isF32();
}

/// Why an operation with a weight stays float whatever is known of its input;
/// empty if nothing speaks against it.
static std::string getObstacle(Operation *op) {
  Value weight = op->getOperand(1);
  auto type = cast<RankedTensorType>(weight.getType());
  auto matmul = dyn_cast<MatMulOp>(op);
  if (!isConstantExpression(weight))
    return "kept: both operands are activations";
  if (!isF32(weight) || !isF32(op->getOperand(0)))
    return "not supported: operands are not f32";
  if (!type.hasStaticShape() || type.getNumElements() == 0)
    return "not supported: the weight has no elements";
  if (matmul && (type.getRank() != 2 || matmul.getTransA()))
    return "not supported: the weight is not a matrix";
  if (isa<ConvTransposeOp>(op))
    return "not supported: transposed convolutions have no kernel for int8";
  if (!matmul && type.getRank() > 4)
    return "not supported: three spatial dimensions";
  int64_t channels = type.getDimSize(matmul && !matmul.getTransB() ? 1 : 0),
          rows = type.getNumElements() / channels;
  if (rows > kMaxRows)
    return "not supported: a sum may not fit 32 bits";
  bool isDepthwise = isa<ConvOp>(op) && type.getDimSize(1) == 1 &&
                     cast<ConvOp>(op).getGroups() > 1;
  if (isDepthwise &&
      type.getDimSize(0) != int64_t(cast<ConvOp>(op).getGroups()))
    return "not supported: several outputs per channel have no kernel for int8";
  return rows < kMinRows && !isDepthwise ? "kept: not faster" : "";
}

/// A scalar constant.
static Value createScalar(OpBuilder &b, Location loc, Attribute value,
                          Type element) {
  auto type = RankedTensorType::get({}, element);
  return ConstantOp::create(b, loc, type, DenseElementsAttr::get(type, value));
}

/// The value as codes of a grid for the range, and the floats that these stand
/// for.
static std::pair<Operation *, Value>
quantizeActivation(OpBuilder &b, Value value, qcc::Range range) {
  Location loc = value.getLoc();
  Grid grid = getGrid(range, 8, /*isSymmetric=*/false, /*isSigned=*/false);
  Type code = b.getIntegerType(8, /*isSigned=*/false);
  Value scale =
            createScalar(b, loc, b.getF32FloatAttr(grid.scale), b.getF32Type()),
        zero;
  if (grid.zeroPoint != 0)
    zero = createScalar(b, loc, b.getIntegerAttr(code, grid.zeroPoint), code);
  auto codes = QuantizeOp::create(
      b, loc, makeTensorType(getDims(value.getType()), code), value, scale,
      zero, /*axis=*/0, /*block=*/0, /*precision=*/TypeAttr(),
      /*overflow=*/false);
  auto back = DequantizeOp::create(b, loc, value.getType(), codes.getResult(),
                                   scale, zero, /*axis=*/0, /*block=*/0);
  return {codes, back.getResult()};
}

/// The weight as signed codes with a scale per output channel along `axis`, a
/// constant expression, and the floats that these stand for.
static Value quantizeWeight(OpBuilder &b, Location loc, Value weight,
                            int64_t axis) {
  MLIRContext *context = b.getContext();
  auto type = cast<RankedTensorType>(weight.getType());
  unsigned rank = type.getRank();
  // Dimension 0 is the channel; the others are reduced.
  SmallVector<AffineExpr> reads(rank), over;
  unsigned next = 1;
  for (unsigned i = 0; i < rank; ++i) {
    reads[i] = getAffineDimExpr(i == axis ? 0 : next++, context);
    if (i != axis)
      over.push_back(getAffineConstantExpr(type.getDimSize(i), context));
  }
  auto channels =
      RankedTensorType::get({type.getDimSize(axis)}, b.getF32Type());
  Value largest =
      createGeneric(b, loc, channels, Combiner::Max, weight,
                    AffineMap::get(rank, 0, reads, context), {}, over,
                    [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
                      return math::AbsFOp::create(body, args[0]);
                    })
          .getResult();
  // A channel of zeros: any scale will do.
  Value scale =
      createGeneric(
          b, loc, channels, Combiner::None, largest,
          b.getMultiDimIdentityMap(1), {}, {},
          [](ImplicitLocOpBuilder &body, ValueRange args) -> Value {
            auto number = [&](double value) -> Value {
              return arith::ConstantOp::create(
                  body, body.getF32FloatAttr(float(value)));
            };
            Value least = number(kMaxCode * 0x1p-126);
            Value bounded = arith::MaximumFOp::create(body, args[0], least);
            return arith::DivFOp::create(body, bounded, number(kMaxCode));
          })
          .getResult();
  auto codes = QuantizeOp::create(b, loc, type.clone(b.getI8Type()), weight,
                                  scale, /*zero=*/Value(), axis, /*block=*/0,
                                  /*precision=*/TypeAttr(), /*overflow=*/false);
  return DequantizeOp::create(b, loc, type, codes.getResult(), scale,
                              /*zero=*/Value(), axis, /*block=*/0)
      .getResult();
}

namespace {

struct StaticInt8Pass : qcc::impl::StaticInt8Base<StaticInt8Pass> {
  using StaticInt8Base::StaticInt8Base;

  void runOnOperation() override {
    KeepRules rules;
    if (failed(rules.parse(getOperation().getLoc(), keep)))
      return signalPassFailure();
    SmallVector<Operation *> chosen;
    llvm::MapVector<Value, qcc::Range> activations;
    getOperation().walk([&](Operation *op) {
      if (isa<MatMulOp, ConvOp, ConvTransposeOp>(op) &&
          !isConstantExpression(op->getResult(0)) && choose(op, rules)) {
        chosen.push_back(op);
        activations.insert({op->getOperand(0), *getRange(op->getOperand(0))});
      }
    });
    addSummands(activations);
    addPooled(activations);
    for (auto &[value, range] : activations)
      replaceActivation(value, range);
    for (Operation *op : chosen) {
      OpBuilder b(op);
      auto matmul = dyn_cast<MatMulOp>(op);
      op->setOperand(1, quantizeWeight(b, op->getLoc(), op->getOperand(1),
                                       matmul && !matmul.getTransB() ? 1 : 0));
      noteOutcome(op, "int8", "int8", "as asked");
    }
    dropRanges();
  }

  /// Kernels of equal work are shared whatever their ranges were.
  void dropRanges() {
    getOperation().walk([](Operation *op) {
      op->removeAttr("qcc.range");
      if (auto func = dyn_cast<func::FuncOp>(op))
        for (unsigned i = 0; i < func.getNumArguments(); ++i)
          func.removeArgAttr(i, "qcc.range");
    });
  }

  /// True if an operation with a weight is to be quantized; else notes why not,
  /// or nothing where only its range is missing.
  bool choose(Operation *op, const KeepRules &rules) {
    StringRef rule = rules.match(getNodeName(op->getLoc()));
    if (!rule.empty()) {
      noteOutcome(op, "int8", "f32", "kept: matches --keep=" + rule);
      return false;
    }
    std::string obstacle = getObstacle(op);
    if (!obstacle.empty()) {
      noteOutcome(op, "int8", "f32", obstacle);
      return false;
    }
    return getRange(op->getOperand(0)).has_value();
  }

  /// The earlier operands of sums of several activations: they are stored until
  /// the last one is there. That one is in registers and stays as it is.
  void addSummands(llvm::MapVector<Value, qcc::Range> &activations) {
    SmallVector<Value> found;
    getOperation().walk([&](GenericOp op) {
      if (op.isReduction() || isConstantExpression(op.getResult()))
        return;
      SmallVector<Value> summands;
      for (auto [i, input] : llvm::enumerate(op.getInputs()))
        if (isF32(input) && !isConstantExpression(input) &&
            op.getMap(i).isIdentity() && input.getDefiningOp() &&
            input.getDefiningOp()->getBlock() == op->getBlock() &&
            getDims(input.getType()) == getDims(op.getResult().getType()))
          summands.push_back(input);
      if (summands.size() < 2)
        return;
      llvm::sort(summands, [](Value a, Value b) {
        return a.getDefiningOp()->isBeforeInBlock(b.getDefiningOp());
      });
      summands.pop_back();
      llvm::append_range(found, summands);
    });
    for (Value value : found)
      if (std::optional<qcc::Range> range = getRange(value))
        if (feedsFromWeight(value))
          activations.insert({value, *range});
  }

  /// What the maximum of a window is taken of gets the same codes as the
  /// maximum: its codes are found among them.
  void addPooled(llvm::MapVector<Value, qcc::Range> &activations) {
    SmallVector<std::pair<Value, qcc::Range>> found;
    for (auto &[value, range] : activations) {
      auto pool = value.getDefiningOp<PoolOp>();
      if (pool && pool.getKind() == PoolKind::Max && isF32(pool.getInput()) &&
          !isa<BlockArgument>(pool.getInput()))
        found.push_back({pool.getInput(), range});
    }
    for (auto &[value, range] : found)
      activations.insert({value, range});
  }

  /// True if a value is a product's or convolution's, after elementwise
  /// operations: others are float whatever is stored of them.
  static bool feedsFromWeight(Value value) {
    for (unsigned depth = 0; depth < 8; ++depth) {
      Operation *op = value.getDefiningOp();
      if (isa_and_nonnull<ConvOp, MatMulOp>(op))
        return true;
      auto generic = dyn_cast_or_null<GenericOp>(op);
      if (!generic || generic.isReduction() || generic.getInputs().empty())
        return false;
      value = generic.getInputs()[0];
    }
    return false;
  }

  void replaceActivation(Value value, qcc::Range range) {
    OpBuilder b(&getContext());
    b.setInsertionPointAfterValue(value);
    auto [codes, back] = quantizeActivation(b, value, range);
    Value replacement = back;
    value.replaceUsesWithIf(replacement, [&, first = codes](OpOperand &use) {
      Operation *user = use.getOwner();
      if (user == first)
        return false;
      if (isa<ConvOp, MatMulOp>(user))
        return use.getOperandNumber() == 0;
      return isa<GenericOp, PoolOp, ConcatOp>(user);
    });
  }
};

} // namespace
