//===- OwnCodes.cpp - weights that a model has in codes ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MatMulNBits and DequantizeLinear with blocks have weights `scale * (code -
// zero)` with a scale and a zero point per block of rows and column, as the
// integer schemes do; MatMulBnb4 has the numbers of NF4 in place of the
// difference. Encoded with the model's own scales and zero points each weight
// finds its code again, as it lies on the grid.
//
//===----------------------------------------------------------------------===//
#include "OwnCodes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

namespace {
/// What a weight is made from, and whether its rows are the second dimension of
/// the codes.
struct Source {
  Operation *op = nullptr; ///< qcc.dequantize, or qcc.generic with a table
  Value codes, scale, zero;
  int64_t axis = 0, block = 0;
  bool transposed = false;

  bool isNormal() const { return isa<GenericOp>(op); }
  RankedTensorType getCodes() const {
    return cast<RankedTensorType>(codes.getType());
  }
  Type getScaleType() const {
    return cast<RankedTensorType>(scale.getType()).getElementType();
  }
  int64_t getRowAxis() const { return transposed ? 1 : 0; }
  unsigned getBits() const {
    return getCodes().getElementType().getIntOrFloatBitWidth();
  }
  bool hasSign() const {
    return getCodes().getElementType().isSignlessInteger();
  }
  /// What is added to codes with a sign so that they have none.
  int32_t getBias() const { return hasSign() ? 1 << (getBits() - 1) : 0; }
};
} // namespace

static bool hasOneElement(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

/// What `value` is a transposed copy or a wider float of; null if neither.
static Value skipCopy(Value value, bool &transposed) {
  auto generic = value.getDefiningOp<GenericOp>();
  if (!generic || generic.isReduction() || generic.getInputs().size() != 1 ||
      !generic.getWhole().empty())
    return {};
  AffineMap map = generic.getMap(0);
  Value input = generic.getInputs()[0];
  auto type = cast<RankedTensorType>(input.getType());
  if (type.getRank() != 2 || !map.isPermutation())
    return {};
  auto widening = generic.getYielded().getDefiningOp<arith::ExtFOp>();
  bool isWidened =
      widening && widening.getIn() == generic.getBlock()->getArgument(0);
  if (!generic.isCopy() && !isWidened)
    return {};
  transposed ^= !map.isIdentity();
  return input;
}

/// Fills in what a value is made from, if it is made from codes.
static bool readSource(Value value, Source &source) {
  if (auto op = value.getDefiningOp<DequantizeOp>()) {
    source.op = op;
    source.codes = op.getInput();
    source.scale = op.getScale();
    source.zero = op.getZero();
    source.axis = static_cast<int64_t>(op.getAxis());
    source.block = static_cast<int64_t>(op.getBlock());
    return true;
  }
  std::optional<NormalFloats> table = findNormalFloats(value);
  if (!table)
    return false;
  source.op = table->op;
  source.codes = table->codes;
  source.scale = table->scales;
  source.axis = 1;
  source.block = table->block;
  return true;
}

/// Rounding to 16 bits on the way is left out: floats of a model in half
/// precision are computed in f32 between where they are stored.
static std::optional<Source> findSource(MatMulOp op) {
  Source source;
  source.transposed = op.getTransB();
  Value value = op.getRhs();
  constexpr unsigned kMostCopies = 4;
  for (unsigned i = 0; i < kMostCopies && value; ++i) {
    if (readSource(value, source))
      break;
    value = skipCopy(value, source.transposed);
  }
  if (!source.op || !isConstantExpression(source.op->getResult(0)))
    return std::nullopt;
  auto codes = source.getCodes();
  auto type = dyn_cast<IntegerType>(codes.getElementType());
  if (!type || type.getWidth() >= 16 || codes.getRank() != 2 ||
      !codes.hasStaticShape())
    return std::nullopt;
  return source;
}

/// Why no scheme has the groups of a weight, or "".
static std::string checkGroups(Source source, const Scheme &base) {
  int64_t block = source.block;
  bool hasOne = hasOneElement(source.scale) &&
                (!source.zero || hasOneElement(source.zero));
  if (hasOne)
    return "";
  bool isAlongRows = source.axis == source.getRowAxis();
  if (!block)
    return isAlongRows ? "codes have a scale per row" : "";
  if (!isAlongRows)
    return "codes have a scale per block of columns";
  if (block % base.getUnit().k != 0)
    return "codes have a scale per " + std::to_string(block) +
           " rows, expected a multiple of " + std::to_string(base.getUnit().k);
  return "";
}

/// The parameters by which a scheme has a weight's groups, zero points and
/// scales.
static std::string getParameters(Source source, bool isSymmetric,
                                 const Scheme &base) {
  int64_t rows = source.getCodes().getDimSize(source.getRowAxis()),
          block = source.block;
  bool isGrouped = block && block < rows;
  std::string text = isGrouped ? ":g" + std::to_string(block) : ":channel";
  StringRef grid = isSymmetric ? "sym" : "asym";
  if (llvm::is_contained(base.getGrids(), grid))
    text += (":" + grid).str();
  bool areHalves =
      source.getScaleType().isF16() || source.op->hasAttr(kHalfScalesAttr);
  return text + (isGrouped && !areHalves ? ":f32-scales" : "");
}

/// True if the zero point of all codes is the middle of their range.
static bool isSymmetric(Source source) {
  Value zero = source.zero;
  if (!zero)
    return source.hasSign();
  if (source.op->hasAttr(kMiddleZerosAttr))
    return true;
  auto constant = zero.getDefiningOp<ConstantOp>();
  auto dense =
      constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : nullptr;
  if (!dense || !dense.isSplat())
    return false;
  APInt value = dense.getSplatValue<APInt>();
  int64_t number =
      source.hasSign() ? value.getSExtValue() : int64_t(value.getZExtValue());
  return number + source.getBias() == int64_t(1) << (source.getBits() - 1);
}

/// A table of scales or zero points as [groups, N] of `element`, by `convert`.
static Value
spread(OpBuilder &b, Source source, Value table, Type element,
       function_ref<Value(ImplicitLocOpBuilder &, Value)> convert) {
  MLIRContext *context = b.getContext();
  auto codes = source.getCodes();
  int64_t rows = codes.getDimSize(source.getRowAxis()),
          columns = codes.getDimSize(1 - source.getRowAxis()),
          block = source.block;
  auto type = RankedTensorType::get(
      {block ? llvm::divideCeilSigned(rows, block) : 1, columns}, element);
  auto from = cast<RankedTensorType>(table.getType());
  SmallVector<AffineExpr> reads;
  AffineExpr group = b.getAffineDimExpr(0), column = b.getAffineDimExpr(1);
  if (hasOneElement(table))
    reads.assign(size_t(from.getRank()), b.getAffineConstantExpr(0));
  else if (!block)
    reads.push_back(column);
  else
    reads = source.transposed ? SmallVector<AffineExpr>{column, group}
                              : SmallVector<AffineExpr>{group, column};
  auto generic =
      createGeneric(b, source.op->getLoc(), type, Combiner::None, table,
                    AffineMap::get(2, 0, reads, context), {}, {},
                    [&](ImplicitLocOpBuilder &inner, ValueRange args) -> Value {
                      return convert(inner, args[0]);
                    });
  return generic.getResult();
}

static Value getScales(OpBuilder &b, Source source) {
  Type f32 = b.getF32Type();
  return spread(b, source, source.scale, f32,
                [&](ImplicitLocOpBuilder &inner, Value scale) -> Value {
                  return scale.getType().isF32()
                             ? scale
                             : arith::ExtFOp::create(inner, f32, scale);
                });
}

static Value getZeros(OpBuilder &b, Source source) {
  Value table = source.zero;
  Type i32 = b.getI32Type();
  if (!table) {
    auto scalar = RankedTensorType::get({}, i32);
    table = ConstantOp::create(b, source.op->getLoc(), scalar,
                               DenseElementsAttr::get(scalar, int32_t(0)));
  }
  return spread(
      b, source, table, i32,
      [&](ImplicitLocOpBuilder &inner, Value zero) -> Value {
        if (zero.getType() != i32)
          zero = source.hasSign()
                     ? arith::ExtSIOp::create(inner, i32, zero).getResult()
                     : arith::ExtUIOp::create(inner, i32, zero).getResult();
        Value bias = arith::ConstantOp::create(
            inner, inner.getI32IntegerAttr(source.getBias()));
        return arith::AddIOp::create(inner, zero, bias);
      });
}

/// The key without parameters of the scheme whose products a weight's codes can
/// have for `target`; empty if it asks for something else.
static std::string findBase(Source source, const Scheme *target) {
  unsigned bits = source.getBits();
  bool isNormal = source.isNormal();
  std::string own = isNormal ? "nf4" : "w" + std::to_string(bits) + "a16";
  if (!target)
    return own;
  if (target->getCompute() == SchemeCompute::Float)
    return (target->isLinear() ||
            (isNormal && target->getWeightBits() == bits)) &&
                   !target->asStoredFloats() && !target->roundsTokens() &&
                   target->getWeightBits() >= bits
               ? own
               : "";
  bool isNarrow = target->getKey().split(':').first == "w4a8";
  return isNarrow && bits == 4 && !isNormal ? "w4a8" : "";
}

/// Why no scheme stores the codes of a weight, or "".
static std::string checkStored(Source source, const Scheme *base) {
  if (!base)
    return "codes of " + std::to_string(source.getBits()) + " bits";
  Value zero = source.zero;
  if (zero && !isa<IntegerType>(
                  cast<RankedTensorType>(zero.getType()).getElementType()))
    return "zero points are floats";
  Type scale = source.getScaleType();
  if (!scale.isF32() && !scale.isF16() && !scale.isBF16())
    return "scales are floats of 8 bits";
  return checkGroups(source, *base);
}

const Scheme *qcc::findOwnScheme(MatMulOp op, const Scheme *target,
                                 std::string &why) {
  std::optional<Source> source = findSource(op);
  if (!source)
    return nullptr;
  bool symmetric = isSymmetric(*source);
  std::string key = findBase(*source, target);
  if (key.empty())
    return nullptr;
  const SchemeRegistry &schemes = getSchemes(op.getContext());
  const Scheme *base = schemes.lookup(key);
  why = checkStored(*source, base);
  if (!why.empty()) {
    why = "not supported: " + why;
    return nullptr;
  }
  const Scheme *own =
      schemes.lookup(key + getParameters(*source, symmetric, *base));
  why = own ? getObstacle(op, *own)
            : "not supported: no format has groups of so many rows";
  return why.empty() ? own : nullptr;
}

OwnCodes qcc::buildOwnCodes(OpBuilder &b, MatMulOp op, const Scheme &scheme) {
  Source source = *findSource(op);
  OwnCodes own;
  auto real = source.getCodes().clone(b.getF32Type());
  own.weight = source.op->getResult(0);
  if (!source.isNormal())
    own.weight =
        DequantizeOp::create(b, op.getLoc(), real, source.codes, source.scale,
                             source.zero, source.axis, source.block);
  if (source.transposed)
    own.weight = permute(b, op.getLoc(), own.weight, {1, 0}).getResult();
  own.scales = getScales(b, source);
  if (!scheme.getZero())
    own.zeros = getZeros(b, source);
  return own;
}
