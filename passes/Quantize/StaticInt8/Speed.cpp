//===- Speed.cpp - products that integers would not make faster -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Speed.h"
#include "DynamicConv.h"
#include "RegionCut.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

/// What a size that is not known counts as, and one of an input's first
/// dimension.
static constexpr int64_t kUnknownSize = 64, kUnknownBatch = 1;
/// Integers must be faster by this factor, for the figures are not exact.
static constexpr double kMargin = 1.03;
/// The same of attentions, whose codes change the outputs for the sake of speed
/// alone: no weights get smaller.
static constexpr double kAttentionMargin = 1.1;
/// No estimate is longer (picoseconds): sums stay far from overflow.
static constexpr double kLongest = 1e12;

namespace {
class Chooser {
public:
  Chooser(ModuleOp module, ArrayRef<Operation *> candidates,
          const Target &target, const Capabilities &level, bool isDynamic)
      : module(module), candidates(candidates.begin(), candidates.end()),
        target(target), level(level), isDynamic(isDynamic),
        symbols(getSymbolNames(module).size(), kUnknownSize) {}

  /// Takes sizes that are not known from the first sample's inputs, if there is
  /// one; first dimensions of inputs count as one.
  void setSizes(ArrayRef<Sample> samples);
  /// False if the target cannot tell.
  bool run(SmallVectorImpl<Operation *> &chosen);
  /// None if the target cannot tell.
  std::optional<LayerTimes> estimate(Operation *layer);
  std::optional<LayerTimes> estimate(AttentionOp op);

private:
  void setSizes(const Sample &sample);
  void setBatches();
  bool addOperation(Operation *op);
  void addValue(Value value);
  bool isFlexible(Operation *op);
  RegionCut::Node getNode(Value value);
  int64_t getSize(AffineExpr expr);
  int64_t getElements(Value value);
  ProductShape getShape(Operation *op);
  /// Codes and floats of the value lie in different orders.
  bool isPermuted(Value value);

  static RegionCut::Time toTime(double nanoseconds) {
    return RegionCut::Time(std::clamp(nanoseconds * 1000, 0.0, kLongest));
  }

  ModuleOp module;
  llvm::SetVector<Operation *> candidates;
  const Target &target;
  const Capabilities &level;
  bool isDynamic;
  SmallVector<int64_t> symbols; ///< what each counts as
  RegionCut cut;
  RegionCut::Node outside = 0; ///< inputs, outputs
  llvm::DenseMap<Operation *, RegionCut::Node> nodes;
};
} // namespace

static bool isConstant(Operation *op) {
  return op->getNumResults() == 1 && isConstantExpression(op->getResult(0));
}

static bool isConvolution(Operation *op) {
  return isa_and_nonnull<ConvOp, ConvTransposeOp>(op);
}

/// True for what computes codes and floats alike, in any order of dimensions.
bool Chooser::isFlexible(Operation *op) {
  if (auto generic = dyn_cast<GenericOp>(op)) {
    if (hasExactAverage(generic))
      return !isDynamic;
    if (generic.isReduction() || generic.isCopy() ||
        !generic.getWhole().empty())
      return false;
    for (auto [i, input] : llvm::enumerate(generic.getInputs()))
      if (!isConstantExpression(input) &&
          (!generic.getMap(i).isIdentity() ||
           getDims(input.getType()) != getDims(generic.getResult().getType())))
        return false;
    return true;
  }
  if (auto pool = dyn_cast<PoolOp>(op))
    return !isDynamic &&
           (pool.getKind() == PoolKind::Max || hasExactAverage(pool));
  if (auto reshape = dyn_cast<ReshapeOp>(op))
    return reshape.getInput().getType().getRank() < 4 &&
           reshape.getResult().getType().getRank() < 4;
  return isa<ConcatOp>(op);
}

int64_t Chooser::getSize(AffineExpr expr) {
  return std::max<int64_t>(evaluateSize(expr, symbols).value_or(1), 0);
}

int64_t Chooser::getElements(Value value) {
  return getSize(getNumElements(value.getType()));
}

ProductShape Chooser::getShape(Operation *op) {
  auto weight = cast<RankedTensorType>(op->getOperand(1).getType());
  SmallVector<AffineExpr> dims = getDims(op->getResult(0).getType());
  ProductShape shape;
  if (auto matmul = dyn_cast<MatMulOp>(op)) {
    shape.outputs = weight.getDimSize(matmul.getTransB() ? 0 : 1);
    shape.inputs = weight.getDimSize(matmul.getTransB() ? 1 : 0);
    dims.pop_back();
  } else {
    auto conv = cast<ConvOp>(op);
    shape.isConv = true;
    shape.groups = int64_t(conv.getGroups());
    shape.outputs = weight.getDimSize(0);
    shape.inputs = weight.getDimSize(1);
    for (int64_t size : weight.getShape().drop_front(2))
      shape.taps *= size;
    for (int64_t stride : conv.getStrides())
      shape.stride = std::max(shape.stride, stride);
    if (dims.size() > 2)
      shape.rowLength = getSize(dims.back());
    if (dims.size() == 4)
      shape.imagePixels = getConstantSize(dims[2] * dims[3]).value_or(0);
    dims.erase(dims.begin() + 1);
  }
  shape.rows = getSize(product(dims, op->getContext()));
  return shape;
}

bool Chooser::isPermuted(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getRank() < 3)
    return false;
  // One that a product makes, or that products read, keeps its order.
  return isConvolution(value.getDefiningOp()) || type.getRank() > 3 ||
         llvm::any_of(value.getUsers(), isConvolution);
}

RegionCut::Node Chooser::getNode(Value value) {
  Operation *op = value.getDefiningOp();
  auto found = op ? nodes.find(op) : nodes.end();
  return found == nodes.end() ? outside : found->second;
}

std::optional<LayerTimes> Chooser::estimate(Operation *layer) {
  ProductShape shape = getShape(layer);
  std::optional<double> integers = target.estimateProduct(shape, true, level),
                        floats = target.estimateProduct(shape, false, level);
  if (!integers || !floats)
    return std::nullopt;
  return LayerTimes{*integers, *floats};
}

std::optional<LayerTimes> Chooser::estimate(AttentionOp op) {
  SmallVector<AffineExpr> q = getDims(op.getQuery().getType()),
                          v = getDims(op.getValue().getType());
  AttentionShape shape{getSize(q[0] * q[1]), getSize(q[2]), getSize(v[2]),
                       getSize(q[3]), getSize(v[3])};
  std::optional<double> integers = target.estimateAttention(shape, true, level),
                        floats = target.estimateAttention(shape, false, level);
  if (!integers || !floats)
    return std::nullopt;
  return LayerTimes{*integers, *floats};
}

bool Chooser::addOperation(Operation *op) {
  RegionCut::Node node = cut.addNode();
  nodes[op] = node;
  if (candidates.contains(op)) {
    std::optional<LayerTimes> times = estimate(op);
    if (times)
      cut.addTime(node, toTime(times->inIntegers * kMargin),
                  toTime(times->inFloats));
    return times.has_value();
  }
  if (!isFlexible(op)) {
    cut.forceFloat(node);
    return true;
  }
  if (auto pool = dyn_cast<PoolOp>(op)) {
    int64_t reads = getElements(pool.getResult());
    for (int64_t size : pool.getKernel())
      reads *= size;
    cut.addTime(node, toTime(target.estimatePool(reads, true, level)),
                toTime(target.estimatePool(reads, false, level)));
  }
  return true;
}

void Chooser::addValue(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || !type.getElementType().isF32() || isConstantExpression(value))
    return;
  llvm::SmallSetVector<RegionCut::Node, 8> readers, rounding;
  for (OpOperand &use : value.getUses()) {
    auto found = nodes.find(use.getOwner());
    readers.insert(found == nodes.end() ? outside : found->second);
    if (candidates.contains(use.getOwner()))
      rounding.insert(found->second);
  }
  int64_t elements = getElements(value);
  bool permuted = isPermuted(value);
  if (isDynamic) {
    // Once for all that read the codes.
    if (!rounding.empty())
      cut.addValue(outside, rounding.getArrayRef(),
                   toTime(target.estimateSampleCodes(
                       elements, !isNeverNegative(value), level)),
                   0);
    if (!permuted)
      return;
  }
  cut.addValue(getNode(value), readers.getArrayRef(),
               toTime(target.estimateBorder(elements, true, permuted, level)),
               toTime(target.estimateBorder(elements, false, permuted, level)));
}

void Chooser::setSizes(ArrayRef<Sample> samples) {
  if (!samples.empty())
    setSizes(samples.front());
  setBatches();
}

void Chooser::setSizes(const Sample &sample) {
  auto setSize = [&](AffineExpr dim, int64_t size) {
    auto symbol = dyn_cast<AffineSymbolExpr>(dim);
    if (symbol && symbol.getPosition() < symbols.size() && size > 0)
      symbols[symbol.getPosition()] = size;
  };
  module.walk([&](func::FuncOp func) {
    for (BlockArgument arg : func.getArguments()) {
      auto name =
          func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), "qcc.name");
      auto array = llvm::find_if(sample.arrays, [&](const SampleArray &other) {
        return name && other.name == name.getValue();
      });
      SmallVector<AffineExpr> dims = getDims(arg.getType());
      if (array == sample.arrays.end() || array->shape.size() != dims.size())
        continue;
      for (auto [dim, size] : llvm::zip_equal(dims, array->shape))
        setSize(dim, size);
    }
  });
}

void Chooser::setBatches() {
  module.walk([&](func::FuncOp func) {
    for (BlockArgument arg : func.getArguments()) {
      SmallVector<AffineExpr> dims = getDims(arg.getType());
      if (dims.empty())
        continue;
      auto symbol = dyn_cast<AffineSymbolExpr>(dims.front());
      if (symbol && symbol.getPosition() < symbols.size())
        symbols[symbol.getPosition()] = kUnknownBatch;
    }
  });
}

bool Chooser::run(SmallVectorImpl<Operation *> &chosen) {
  outside = cut.addNode();
  cut.forceFloat(outside);
  SmallVector<Value> values;
  bool isKnown = true;
  module.walk([&](Operation *op) {
    if (auto func = dyn_cast<func::FuncOp>(op))
      llvm::append_range(values, func.getArguments());
    // What bodies of generics compute are elements, not tensors.
    if (!isa_and_nonnull<QCCDialect>(op->getDialect()) ||
        isa<YieldOp, IndexOp>(op) || op->getNumResults() == 0 ||
        !isa<RankedTensorType>(op->getResult(0).getType()) || isConstant(op))
      return;
    isKnown &= addOperation(op);
    llvm::append_range(values, op->getResults());
  });
  if (!isKnown)
    return false;
  for (Value value : values)
    addValue(value);
  std::vector<bool> inIntegers = cut.solve();
  for (Operation *op : candidates)
    if (inIntegers[nodes[op]])
      chosen.push_back(op);
  return true;
}

SmallVector<Operation *>
qcc::chooseFaster(ModuleOp module, ArrayRef<Operation *> candidates,
                  const Target &target, const Capabilities &level,
                  ArrayRef<Sample> samples, bool isDynamic) {
  SmallVector<Operation *> chosen;
  Chooser chooser(module, candidates, target, level, isDynamic);
  chooser.setSizes(samples);
  if (!chooser.run(chosen))
    return SmallVector<Operation *>(candidates);
  return chosen;
}

SmallVector<AttentionOp> qcc::chooseFaster(ModuleOp module,
                                           ArrayRef<AttentionOp> attentions,
                                           const Target &target,
                                           const Capabilities &level,
                                           ArrayRef<Sample> samples) {
  Chooser chooser(module, {}, target, level, /*isDynamic=*/false);
  chooser.setSizes(samples);
  SmallVector<AttentionOp> chosen;
  for (AttentionOp op : attentions) {
    std::optional<LayerTimes> times = chooser.estimate(op);
    if (!times || times->inIntegers * kAttentionMargin < times->inFloats)
      chosen.push_back(op);
  }
  return chosen;
}

std::optional<std::vector<LayerTimes>>
qcc::estimateTimes(ModuleOp module, ArrayRef<Operation *> layers,
                   const Target &target, const Capabilities &level,
                   ArrayRef<Sample> samples) {
  Chooser chooser(module, layers, target, level, /*isDynamic=*/false);
  chooser.setSizes(samples);
  std::vector<LayerTimes> times;
  for (Operation *layer : layers) {
    std::optional<LayerTimes> one = chooser.estimate(layer);
    if (!one)
      return std::nullopt;
    times.push_back(*one);
  }
  return times;
}
