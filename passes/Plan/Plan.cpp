//===- Plan.cpp - buffers and the host program ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "EntryPlanner.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/Support/MathExtras.h"

namespace qcc {
#define GEN_PASS_DEF_PLAN
#include "qcc/passes/Plan.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

AffineExpr qcc::getBytes(Type type) {
  int64_t element =
      getElementBytes(cast<RankedTensorType>(type).getElementType());
  return getNumElements(type) * element;
}

/// The operations of a region as text that does not depend on what is around
/// it.
static void printRegion(raw_ostream &os, Region &region,
                        llvm::DenseMap<Value, unsigned> &locals) {
  for (Block &block : region) {
    for (BlockArgument argument : block.getArguments())
      locals.try_emplace(argument, locals.size());
    for (Operation &op : block) {
      os << op.getName() << op.getAttrDictionary();
      for (Value operand : op.getOperands())
        os << ' ' << locals.lookup(operand);
      for (Value result : op.getResults()) {
        os << ':' << result.getType();
        locals.try_emplace(result, locals.size());
      }
      for (Region &inner : op.getRegions())
        printRegion(os, inner, locals);
      os << ';';
    }
  }
}

unsigned Weights::getNumber(Value root) {
  SmallVector<Value> stack{root};
  while (!stack.empty()) {
    Value value = stack.back();
    Operation *op = value.getDefiningOp();
    size_t before = stack.size();
    for (Value operand : op->getOperands())
      if (!numbers.contains(operand))
        stack.push_back(operand);
    if (stack.size() != before)
      continue;
    stack.pop_back();
    if (numbers.contains(value))
      continue;
    std::string text;
    llvm::raw_string_ostream os(text);
    os << op->getName() << op->getAttrDictionary() << value.getType();
    for (Value operand : op->getOperands())
      os << ' ' << numbers.lookup(operand);
    for (Region &region : op->getRegions()) {
      llvm::DenseMap<Value, unsigned> locals;
      printRegion(os, region, locals);
    }
    numbers[value] =
        expressions.try_emplace(text, expressions.size()).first->second;
  }
  return numbers.lookup(root);
}

uint64_t Weights::add(Value value) {
  auto [entry, isNew] =
      places.try_emplace(getNumber(value), Place{value, bytes});
  if (isNew)
    bytes += llvm::alignTo(*getConstantSize(getBytes(value.getType())),
                           kWeightAlignment);
  return entry->second.offset;
}

/// Clones what `root` is computed from, operands first, without recursion.
static Value cloneExpression(OpBuilder &b, Value root, IRMapping &mapping) {
  SmallVector<Value> stack{root};
  while (!stack.empty()) {
    Operation *op = stack.back().getDefiningOp();
    if (mapping.contains(op->getResult(0))) {
      stack.pop_back();
      continue;
    }
    size_t before = stack.size();
    for (Value operand : op->getOperands())
      if (!mapping.contains(operand))
        stack.push_back(operand);
    if (stack.size() == before)
      b.clone(*op, mapping);
  }
  return mapping.lookup(root);
}

void Weights::build(OpBuilder &b, Location loc) {
  SmallVector<int64_t> offsets;
  for (auto &[number, place] : places)
    offsets.push_back(place.offset);
  auto op = host::WeightsOp::create(b, loc, offsets, bytes);
  OpBuilder::InsertionGuard guard(b);
  b.createBlock(&op.getBody());
  IRMapping mapping;
  SmallVector<Value> values;
  for (auto &[number, place] : places)
    values.push_back(cloneExpression(b, place.value, mapping));
  host::EndOp::create(b, loc, values);
}

namespace {
struct PlanPass : qcc::impl::PlanBase<PlanPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    llvm::StringMap<unsigned> states;
    for (auto state : module.getOps<StateOp>())
      states.try_emplace(state.getSymName(), states.size());
    unsigned firstRuntime = UINT_MAX;
    if (auto from = module->getAttrOfType<IntegerAttr>(kRuntimeFromAttr))
      firstRuntime = from.getInt();
    Weights weights;
    SmallVector<func::FuncOp> funcs(module.getOps<func::FuncOp>());
    OpBuilder builder(&getContext());
    for (func::FuncOp func : funcs) {
      builder.setInsertionPoint(func);
      // The entry takes the function's name over.
      if (failed(
              EntryPlanner(func, weights, states, firstRuntime).run(builder)))
        return signalPassFailure();
    }
    builder.setInsertionPointToStart(module.getBody());
    weights.build(builder, module.getLoc());
    for (func::FuncOp func : funcs)
      func.erase();
  }
};
} // namespace
