//===- LinearGroup.cpp - products of the same activation --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/LinearGroup.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

SmallVector<LinearGroup>
qcc::collectLinearGroups(func::FuncOp func,
                         llvm::function_ref<bool(MatMulOp)> take) {
  llvm::MapVector<Value, LinearGroup> groups;
  func.walk([&](MatMulOp op) {
    if (isConstantExpression(op.getResult()) || !take(op))
      return;
    LinearGroup &group = groups[op.getLhs()];
    group.input = op.getLhs();
    group.layers.push_back(op);
  });
  return llvm::map_to_vector(groups.takeVector(),
                             [](auto &entry) { return entry.second; });
}

bool LinearGroup::reads(OpOperand &use) const {
  if (movers.contains(use.getOwner()))
    return true;
  auto product = dyn_cast<MatMulOp>(use.getOwner());
  return product && use.getOperandNumber() == 0 &&
         (llvm::is_contained(layers, product) ||
          llvm::is_contained(kept, product));
}

/// The operand of which a body reads whole rows, picked by numbers: an element
/// of it at the result's own place in the last dimension.
static OpOperand *getPickedRows(GenericOp op) {
  auto read = op.getYielded().getDefiningOp<ReadOp>();
  auto source = read ? dyn_cast<BlockArgument>(read.getTensor()) : nullptr;
  if (!source || source.getOwner() != &op.getBody().front())
    return nullptr;
  auto column = read.getIndices().empty()
                    ? IndexOp()
                    : read.getIndices().back().getDefiningOp<IndexOp>();
  unsigned last = op.getNumParallel() - 1;
  if (!column || column.getDim() != last || !column->hasOneUse())
    return nullptr;
  // Which row it is does not depend on the place in the row.
  WalkResult others = op.getBody().walk([&](IndexOp index) {
    return index != column && index.getDim() == last ? WalkResult::interrupt()
                                                     : WalkResult::advance();
  });
  if (others.wasInterrupted())
    return nullptr;
  for (unsigned i = 0; i < op.getInputs().size(); ++i)
    if (op.getMap(i).isFunctionOfDim(last))
      return nullptr;
  return &op->getOpOperand(source.getArgNumber());
}

/// The operand whose rows a copy repeats or takes some of.
static OpOperand *getCopiedRows(GenericOp op) {
  auto source = dyn_cast<BlockArgument>(op.getYielded());
  if (!source || source.getArgNumber() >= op.getInputs().size())
    return nullptr;
  AffineMap map = op.getMap(source.getArgNumber());
  unsigned last = op.getNumParallel() - 1;
  if (map.getNumResults() == 0 ||
      map.getResults().back() != getAffineDimExpr(last, op.getContext()))
    return nullptr;
  for (AffineExpr expr : map.getResults().drop_back())
    if (expr.isFunctionOfDim(last))
      return nullptr;
  return &op->getOpOperand(source.getArgNumber());
}

OpOperand *qcc::getMovedRows(Operation *op) {
  OpOperand *operand = nullptr;
  if (auto reshape = dyn_cast<ReshapeOp>(op)) {
    operand = &reshape.getInputMutable();
  } else if (auto generic = dyn_cast<GenericOp>(op);
             generic && !generic.isReduction() && generic.getNumParallel()) {
    operand = generic.getWhole().empty() ? getCopiedRows(generic)
                                         : getPickedRows(generic);
  }
  if (!operand)
    return nullptr;
  auto from = cast<RankedTensorType>(operand->get().getType()),
       to = cast<RankedTensorType>(op->getResult(0).getType());
  bool isSame = from.getRank() > 0 && to.getRank() > 0 &&
                !ShapedType::isDynamic(to.getShape().back()) &&
                from.getShape().back() == to.getShape().back();
  return isSame ? operand : nullptr;
}

namespace {
/// A product, and where the rows of its input come from.
struct Reader {
  MatMulOp product;
  bool isTaken;
  Value source;
  SmallVector<Operation *> movers = {};
  bool picks = false; ///< rows, by numbers found at run time

  Reader(MatMulOp product, bool isTaken)
      : product(product), isTaken(isTaken), source(product.getLhs()) {
    // Of a mixture, not of a model: longer chains are none.
    constexpr size_t maxMovers = 16;
    while (Operation *op = source.getDefiningOp()) {
      OpOperand *rows = getMovedRows(op);
      if (!rows || movers.size() == maxMovers)
        break;
      movers.push_back(op);
      picks |= isa<GenericOp>(op) && !cast<GenericOp>(op).getWhole().empty();
      source = rows->get();
    }
  }
};
} // namespace

/// Groups of the products, by their sources where these are in `sources`.
static SmallVector<LinearGroup>
groupReaders(ArrayRef<Reader> readers, const llvm::DenseSet<Value> &sources) {
  llvm::MapVector<Value, LinearGroup> groups;
  for (const Reader &reader : readers) {
    bool bySource = sources.contains(reader.source);
    Value input =
        bySource ? reader.source : Value(MatMulOp(reader.product).getLhs());
    LinearGroup &group = groups[input];
    group.input = input;
    (reader.isTaken ? group.layers : group.kept).push_back(reader.product);
    if (bySource)
      group.movers.insert(reader.movers.begin(), reader.movers.end());
  }
  SmallVector<LinearGroup> result = llvm::map_to_vector(
      groups.takeVector(), [](auto &entry) { return entry.second; });
  llvm::erase_if(result,
                 [](const LinearGroup &group) { return group.layers.empty(); });
  return result;
}

SmallVector<LinearGroup>
qcc::collectScaledGroups(func::FuncOp func,
                         llvm::function_ref<bool(MatMulOp)> take) {
  SmallVector<Reader> readers;
  llvm::DenseSet<Value> sources;
  func.walk([&](MatMulOp op) {
    auto weight = cast<RankedTensorType>(op.getRhs().getType());
    if (isConstantExpression(op.getResult()))
      return;
    bool isTaken = take(op);
    bool canScale = isConstantExpression(op.getRhs()) && !op.getTransA() &&
                    weight.getRank() == 2 && weight.getElementType().isF32();
    if (!isTaken && !canScale)
      return;
    const Reader &reader = readers.emplace_back(op, isTaken);
    if (isTaken && reader.picks)
      sources.insert(reader.source);
  });
  // Where something else reads rows that are handed on, products are on their
  // own.
  for (;;) {
    SmallVector<LinearGroup> groups = groupReaders(readers, sources);
    size_t before = sources.size();
    for (const LinearGroup &group : groups)
      for (Operation *mover : group.movers)
        if (!llvm::all_of(mover->getUses(),
                          [&](OpOperand &use) { return group.reads(use); }))
          sources.erase(group.input);
    if (sources.size() == before)
      return groups;
  }
}

SmallVector<MatMulOp> qcc::getJudgedLayers(const LinearGroup &group) {
  constexpr int64_t maxWeights = int64_t(1) << 25, minLayers = 4;
  if (group.movers.empty())
    return group.layers;
  int64_t largest = 1, size = int64_t(group.layers.size());
  for (MatMulOp layer : group.layers)
    largest = std::max(largest, getWeightRows(layer) * getWeightColumns(layer));
  int64_t count = std::min(size, std::max(maxWeights / largest, minLayers));
  SmallVector<MatMulOp> judged;
  for (int64_t i = 0; i < count; ++i)
    judged.push_back(group.layers[size_t(i * size / count)]);
  return judged;
}

int64_t qcc::getWeightRows(MatMulOp layer) {
  return cast<RankedTensorType>(layer.getRhs().getType())
      .getDimSize(layer.getTransB() ? 1 : 0);
}

int64_t qcc::getWeightColumns(MatMulOp layer) {
  return cast<RankedTensorType>(layer.getRhs().getType())
      .getDimSize(layer.getTransB() ? 0 : 1);
}

llvm::Expected<std::vector<float>> qcc::readWeight(Workspace &workspace,
                                                   MatMulOp layer) {
  auto values = workspace.evaluate(layer.getRhs());
  if (!values)
    return values;
  // Algorithms take what is not finite as 0, which would hide a broken model.
  for (float value : *values)
    if (!std::isfinite(value))
      return makeError(Diag::BadTensor, describeNode(layer.getLoc()),
                       "expected finite weights, but got " +
                           llvm::Twine(std::isnan(value) ? "NaN" : "infinity"));
  if (!layer.getTransB())
    return values;
  int64_t k = getWeightRows(layer), n = getWeightColumns(layer);
  std::vector<float> turned(values->size());
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      turned[size_t(i * n + j)] = (*values)[size_t(j * k + i)];
  return std::move(turned);
}

Value qcc::scaleChannels(OpBuilder &b, Value value, ArrayRef<int64_t> dims,
                         ArrayRef<int64_t> sizes, ArrayRef<float> factors,
                         bool divide) {
  MLIRContext *context = b.getContext();
  auto type = cast<RankedTensorType>(value.getType());
  auto factorType = RankedTensorType::get(sizes, b.getF32Type());
  Location loc = value.getLoc();
  Value factor = ConstantOp::create(
      b, loc, factorType, DenseElementsAttr::get(factorType, factors));
  unsigned rank = unsigned(type.getRank());
  SmallVector<AffineExpr> read;
  for (int64_t dim : dims)
    read.push_back(getAffineDimExpr(unsigned(dim), context));
  auto generic = GenericOp::create(
      b, loc, type, Combiner::None, ValueRange{value, factor},
      b.getAffineMapArrayAttr({AffineMap::getMultiDimIdentityMap(rank, context),
                               AffineMap::get(rank, 0, read, context)}),
      ValueRange{}, AffineMapAttr());
  OpBuilder::InsertionGuard guard(b);
  Block *block = b.createBlock(&generic.getBody());
  Value x = block->addArgument(b.getF32Type(), loc),
        y = block->addArgument(b.getF32Type(), loc);
  Value result = divide ? Value(arith::DivFOp::create(b, loc, x, y))
                        : Value(arith::MulFOp::create(b, loc, x, y));
  YieldOp::create(b, loc, result);
  return generic.getResult();
}

void qcc::scaleWeightRows(const LinearGroup &group, ArrayRef<float> scales) {
  for (MatMulOp layer :
       llvm::concat<const MatMulOp>(group.layers, group.kept)) {
    OpBuilder b(layer);
    layer.getRhsMutable().set(scaleChannels(b, layer.getRhs(),
                                            {layer.getTransB() ? 1 : 0},
                                            {int64_t(scales.size())}, scales,
                                            /*divide=*/false));
  }
}

void qcc::divideInput(const LinearGroup &group, ArrayRef<float> scales) {
  OpBuilder b(group.input.getContext());
  b.setInsertionPointAfterValue(group.input);
  auto type = cast<RankedTensorType>(group.input.getType());
  Value divided = scaleChannels(b, group.input, {type.getRank() - 1},
                                {int64_t(scales.size())}, scales,
                                /*divide=*/true);
  Value(group.input).replaceUsesWithIf(divided, [&](OpOperand &use) {
    return group.reads(use);
  });
}
