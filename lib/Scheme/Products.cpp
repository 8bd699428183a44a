//===- Products.cpp - which products a scheme can take ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/Products.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/NormalFloat.h"

using namespace mlir;
using namespace qcc;

/// Weights with fewer rows stay float: quantizing the activations costs as much
/// as the product saves.
static constexpr int64_t kMinRows = 16;
/// Products of bytes over more rows may not fit 32 bits.
static constexpr int64_t kMaxGroup = 1 << 16;

void qcc::noteOutcome(Operation *op, StringRef requested, StringRef executed,
                      const Twine &reason) {
  Builder b(op->getContext());
  op->setAttr("qcc.requested", b.getStringAttr(requested));
  op->setAttr("qcc.executed", b.getStringAttr(executed));
  op->setAttr("qcc.reason", b.getStringAttr(reason));
}

void qcc::addWarning(ModuleOp module, const Twine &text) {
  Builder b(module.getContext());
  SmallVector<Attribute> all;
  if (auto before = module->getAttrOfType<ArrayAttr>(kWarningsAttr))
    llvm::append_range(all, before);
  all.push_back(b.getStringAttr(text));
  module->setAttr(kWarningsAttr, b.getArrayAttr(all));
}

/// Elements of a window that depthwise kernels add.
static constexpr int64_t kMaxTaps = 49;

static bool hasExactWindows(PoolOp op) {
  if (op.getKind() != PoolKind::Average || op.getChannelsLast() ||
      op.getInput().getType().getRank() > 4)
    return false;
  int64_t taps = 1;
  for (int64_t size : op.getKernel()) {
    if (size < 1 || size > kMaxTaps)
      return false;
    taps *= size;
  }
  return taps <= kMaxTaps &&
         llvm::all_of(op.getPads(), [](int64_t pad) { return pad >= 0; }) &&
         getConstantSize(getDims(op.getResult().getType())[1]).value_or(0) > 0;
}

bool qcc::hasExactAverage(Operation *op) {
  if (op->getNumResults() != 1 ||
      !cast<RankedTensorType>(op->getResult(0).getType())
           .getElementType()
           .isF32())
    return false;
  if (auto pool = dyn_cast<PoolOp>(op))
    return hasExactWindows(pool);
  auto sum = dyn_cast<GenericOp>(op);
  return sum && sum.getCombiner() == Combiner::Sum &&
         sum.getInputs().size() == 1 && sum.getWhole().empty() &&
         sum.getYielded() == sum.getBlock()->getArgument(0);
}

const Scheme *qcc::findScheme(Location loc, StringRef precision) {
  llvm::Expected<const Scheme *> found =
      getSchemes(loc.getContext()).find(precision);
  if (found)
    return *found;
  llvm::handleAllErrors(found.takeError(), [&](const CodedError &error) {
    emitCoded(loc, error.getDiag()) << error.getText();
  });
  return nullptr;
}

llvm::Expected<SmallVector<const Scheme *>>
qcc::findFormats(MLIRContext *context, StringRef precision) {
  if (precision == "mixed")
    precision = kMixedFormats;
  SmallVector<StringRef> words;
  precision.split(words, ',');
  SmallVector<const Scheme *> formats;
  for (StringRef word : words) {
    const Scheme *scheme = nullptr;
    if (word != "f32") {
      llvm::Expected<const Scheme *> found = getSchemes(context).find(word);
      if (!found)
        return found.takeError();
      scheme = *found;
    }
    if (llvm::is_contained(formats, scheme))
      return makeError(Diag::Usage, "",
                       "expected each precision once, but got '" + word +
                           "' twice");
    formats.push_back(scheme);
  }
  return std::move(formats);
}

FloatType qcc::getTokenType(const Scheme &scheme, MLIRContext *context) {
  if (scheme.getTokenFormat() == TokenFormat::E4M3)
    return Float8E4M3FNType::get(context);
  return Float8E5M2Type::get(context);
}

const Scheme *qcc::getAssignedScheme(MatMulOp op, const Scheme *otherwise) {
  auto key = op->getAttrOfType<StringAttr>(kAssignedAttr);
  return key ? getSchemes(op.getContext()).lookup(key.getValue()) : otherwise;
}

LogicalResult KeepRules::parse(Location loc, ArrayRef<std::string> patterns) {
  for (const std::string &pattern : patterns) {
    std::string problem;
    llvm::Regex rule(pattern);
    if (!rule.isValid(problem)) {
      emitCoded(loc, Diag::Usage) << "expected a regular expression, but got '"
                                  << pattern << "': " << problem;
      return failure();
    }
    rules.emplace_back(std::move(rule), pattern);
  }
  return success();
}

std::string KeepRules::getReason(Operation *op) const {
  std::string name = getNodeName(op->getLoc()).str();
  for (const auto &[rule, text] : rules)
    if (rule.match(name))
      return "kept: matches --keep=" + text;
  auto product = dyn_cast<MatMulOp>(op);
  return product && isRouter(product) ? "kept: routes between experts" : "";
}

/// Integers of 8 bits with a scale for all, or one for each index of `axis`;
/// null if a value is none.
static DequantizeOp getBytes(Value value, int64_t axis) {
  auto source = value.getDefiningOp<DequantizeOp>();
  if (!source || source.getBlock() != 0 ||
      !source.getInput().getType().getElementType().isInteger(8) ||
      !source.getResult().getType().getElementType().isF32())
    return {};
  RankedTensorType scale = source.getScale().getType();
  bool hasOne = scale.hasStaticShape() && scale.getNumElements() == 1;
  return hasOne || (axis >= 0 && int64_t(source.getAxis()) == axis)
             ? source
             : DequantizeOp();
}

bool qcc::isOfCodes(Operation *op) {
  auto matmul = dyn_cast<MatMulOp>(op);
  int64_t outputs = matmul && !matmul.getTransB() ? 1 : 0;
  return isa<MatMulOp, ConvOp>(op) &&
         getBytes(op->getOperand(0), /*axis=*/-1) &&
         getBytes(op->getOperand(1), outputs) &&
         isConstantExpression(op->getOperand(1));
}

bool qcc::isOfWideCodes(Operation *op) {
  if (!isa<MatMulOp, ConvOp>(op) || !isConstantExpression(op->getOperand(1)))
    return false;
  bool isWide = false;
  for (Value operand : op->getOperands().take_front(2)) {
    auto source = operand.getDefiningOp<DequantizeOp>();
    auto type = source ? dyn_cast<IntegerType>(
                             source.getInput().getType().getElementType())
                       : IntegerType();
    if (!type)
      return false;
    isWide |= type.getWidth() > 8;
  }
  return isWide;
}

/// True for a constant vector of the numbers of NF4.
static bool areNormalFloats(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto numbers =
      constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : nullptr;
  return numbers && numbers.getElementType().isF32() &&
         numbers.getType().getRank() == 1 &&
         llvm::equal(numbers.getValues<float>(), kNormalFloats);
}

std::optional<NormalFloats> qcc::findNormalFloats(Value value) {
  auto op = value.getDefiningOp<GenericOp>();
  if (!op || op.isReduction() || op.getInputs().size() != 2 ||
      op.getWhole().size() != 1 || !areNormalFloats(op.getWhole()[0]))
    return std::nullopt;
  // Whatever the index of the number is, the product is on the grid.
  Block *body = op.getBlock();
  auto product = op.getYielded().getDefiningOp<arith::MulFOp>();
  auto number = product ? product.getLhs().getDefiningOp<ReadOp>() : ReadOp();
  AffineMap codes = op.getMap(0), blocks = op.getMap(1);
  if (!number || number.getTensor() != body->getArgument(2) ||
      product.getRhs() != body->getArgument(1) || codes.getNumDims() != 2 ||
      !codes.isIdentity() || blocks.getNumResults() != 2 ||
      blocks.getResult(0) != codes.getResult(0))
    return std::nullopt;
  AffineExpr column = codes.getResult(1);
  auto block = dyn_cast<AffineBinaryOpExpr>(blocks.getResult(1));
  bool isBlock = block && block.getKind() == AffineExprKind::FloorDiv &&
                 block.getLHS() == column &&
                 isa<AffineConstantExpr>(block.getRHS());
  if (!isBlock)
    return std::nullopt;
  return NormalFloats{op, op.getInputs()[0], op.getInputs()[1],
                      cast<AffineConstantExpr>(block.getRHS()).getValue()};
}

bool qcc::isDepthwise(Operation *layer) {
  auto conv = dyn_cast<ConvOp>(layer);
  return conv && conv.getGroups() > 1 &&
         cast<RankedTensorType>(conv.getWeight().getType()).getDimSize(1) == 1;
}

/// True for what indices that data tells pick from a constant, as the weights
/// of experts that a router chooses, through reshapes and transposes.
static bool isPicked(Value value) {
  constexpr unsigned kMaxSteps = 8;
  for (unsigned i = 0; i < kMaxSteps; ++i) {
    if (auto reshape = value.getDefiningOp<ReshapeOp>()) {
      value = reshape.getInput();
      continue;
    }
    auto generic = value.getDefiningOp<GenericOp>();
    if (!generic)
      return false;
    if (llvm::any_of(generic.getWhole(), isConstantExpression))
      return true;
    if (!generic.isCopy() || generic.getInputs().size() != 1)
      return false;
    value = generic.getInputs()[0];
  }
  return false;
}

std::string qcc::getWeightObstacle(Operation *op) {
  Value left = op->getOperand(0), right = op->getOperand(1);
  if (isConstantExpression(right))
    return "";
  if (isConstantExpression(left))
    return "not supported: the weight is the left operand";
  return isPicked(left) || isPicked(right)
             ? "kept: its weights are picked at run time"
             : "kept: both operands are activations";
}

std::string qcc::getObstacle(MatMulOp op, const Scheme &scheme) {
  auto weight = cast<RankedTensorType>(op.getRhs().getType());
  auto lhs = cast<RankedTensorType>(op.getLhs().getType());
  if (std::string obstacle = getWeightObstacle(op); !obstacle.empty())
    return obstacle;
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return "not supported: the weight is not a matrix";
  if (!weight.getElementType().isF32() || !lhs.getElementType().isF32())
    return "not supported: operands are not f32";
  if (op.getTransA())
    return "not supported: the activation is transposed";
  int64_t k = weight.getDimSize(op.getTransB() ? 1 : 0),
          n = weight.getDimSize(op.getTransB() ? 0 : 1);
  bool integer = scheme.getCompute() == SchemeCompute::Integer;
  std::optional<EncodedLayout> layout = getEncodedLayout(scheme, k, n);
  if (!layout || (integer && layout->groupK > kMaxGroup))
    return "not supported: the weight is too large";
  return k < kMinRows ? "kept: not faster" : "";
}

Value qcc::getModelWeight(Value weight) {
  while (auto product = weight.getDefiningOp<GenericOp>()) {
    if (!product->hasAttr(kEqualisedAttr) && !product->hasAttr(kScaledAttr))
      break;
    weight = product.getInputs()[0];
  }
  return weight;
}

void qcc::addTransformNote(MatMulOp layer, const Twine &text) {
  Builder b(layer.getContext());
  auto before = layer->getAttrOfType<StringAttr>(kTransformAttr);
  layer->setAttr(
      kTransformAttr,
      b.getStringAttr(before ? before.getValue() + "; " + text : text));
}
