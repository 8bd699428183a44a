//===- Collect.cpp - which activations become codes -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Collect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"

using namespace mlir;
using namespace qcc;

/// Copies, concatenations and poolings between integers and an average.
static constexpr unsigned kMaxMoves = 4;

bool qcc::isF32(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getElementType().isF32();
}

/// True if a value is that of one of the operations, after elementwise ones:
/// others are float whatever is stored of them.
static bool feedsFrom(const llvm::SmallPtrSetImpl<Operation *> &operations,
                      Value value) {
  for (unsigned depth = 0; depth < 8; ++depth) {
    Operation *op = value.getDefiningOp();
    if (operations.contains(op))
      return true;
    auto generic = dyn_cast_or_null<GenericOp>(op);
    if (!generic || generic.isReduction() || generic.getInputs().empty())
      return false;
    value = generic.getInputs()[0];
  }
  return false;
}

/// As feedsFrom, also after what moves elements or joins tensors.
static bool movesFrom(const llvm::SmallPtrSetImpl<Operation *> &operations,
                      Value value, unsigned depth = 0) {
  if (feedsFrom(operations, value))
    return true;
  if (depth == kMaxMoves || !value.getDefiningOp())
    return false;
  Operation *op = value.getDefiningOp();
  if (auto generic = dyn_cast<GenericOp>(op))
    if (generic.isReduction() || generic.getInputs().size() != 1 ||
        !generic.getWhole().empty())
      return false;
  return isa<ConcatOp, GenericOp, PoolOp, ReshapeOp>(op) &&
         llvm::all_of(op->getOperands(), [&](Value operand) {
           return movesFrom(operations, operand, depth + 1);
         });
}

/// True if an elementwise operation does nothing with an input but add it.
static bool isAdded(GenericOp op, unsigned input) {
  BlockArgument argument = op.getBlock()->getArgument(input);
  return !argument.use_empty() &&
         llvm::all_of(argument.getUsers(),
                      [](Operation *user) { return isa<arith::AddFOp>(user); });
}

void qcc::addSummands(ModuleOp module, ArrayRef<Operation *> layers,
                      const llvm::DenseSet<Value> &keptFloat, Adder add) {
  llvm::SmallPtrSet<Operation *, 16> integers;
  for (Operation *layer : layers)
    if (!isa<MatMulOp>(layer))
      integers.insert(layer);
  SmallVector<Value> found;
  module.walk([&](GenericOp op) {
    if (op.isReduction() || isConstantExpression(op.getResult()))
      return;
    SmallVector<Value> summands;
    for (auto [i, input] : llvm::enumerate(op.getInputs()))
      if (isF32(input) && !isConstantExpression(input) &&
          isAdded(op, unsigned(i)) && op.getMap(i).isIdentity() &&
          input.getDefiningOp() &&
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
      if (feedsFrom(integers, value) && !keptFloat.contains(value))
        add(value, *range);
}

void qcc::addPooled(const llvm::MapVector<Value, Activation> &activations,
                    const llvm::DenseSet<Value> &keptFloat, Adder add) {
  SmallVector<std::pair<Value, qcc::Range>> found;
  for (const auto &[value, activation] : activations) {
    auto pool = value.getDefiningOp<PoolOp>();
    if (pool && pool.getKind() == PoolKind::Max && isF32(pool.getInput()) &&
        !isa<BlockArgument>(pool.getInput()) &&
        !keptFloat.contains(pool.getInput()))
      found.push_back({pool.getInput(), activation.range});
  }
  for (auto &[value, range] : found)
    add(value, range);
}

void qcc::addAveraged(ModuleOp module, ArrayRef<Operation *> layers,
                      const llvm::DenseSet<Value> &keptFloat, Adder add) {
  llvm::SmallPtrSet<Operation *, 16> integers(layers.begin(), layers.end());
  SmallVector<Value> found;
  module.walk([&](Operation *op) {
    if (!isa<PoolOp, GenericOp>(op) || !hasExactAverage(op))
      return;
    Value input = op->getOperand(0);
    if (isF32(input) && !isConstantExpression(input) &&
        movesFrom(integers, input))
      found.push_back(input);
  });
  for (Value value : found)
    if (std::optional<qcc::Range> range = getRange(value))
      if (!keptFloat.contains(value))
        add(value, *range);
}
