//===- Plan.cpp - buffers and the host program ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

namespace qcc {
#define GEN_PASS_DEF_PLAN
#include "qcc/passes/Plan.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// Every weight starts at a multiple of this: a cache line, and what aligned
/// vector loads may rely on.
static constexpr int64_t kWeightAlignment = 64;

/// Bytes of a tensor as an expression of symbols.
static AffineExpr getBytes(Type type) {
  int64_t element =
      getElementBytes(cast<RankedTensorType>(type).getElementType());
  return getNumElements(type) * element;
}

static AffineMapAttr getSizeAttr(AffineExpr expr) {
  return AffineMapAttr::get(makeSizeMap({expr}, expr.getContext()));
}

/// The value whose memory `value` views.
static Value getBase(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return value;
}

namespace {

/// The weights of all entries: constant expressions by first use.
class Weights {
public:
  /// Offset of the constant `value` among the weights.
  uint64_t add(Value value) {
    auto [entry, isNew] = offsets.try_emplace(value, bytes);
    if (isNew)
      bytes += llvm::alignTo(*getConstantSize(getBytes(value.getType())),
                             kWeightAlignment);
    return entry->second;
  }

  /// Writes the op, cloning the expressions.
  void build(OpBuilder &b, Location loc) {
    SmallVector<int64_t> places;
    for (auto &[value, offset] : offsets)
      places.push_back(offset);
    auto op = host::WeightsOp::create(b, loc, places, bytes);
    OpBuilder::InsertionGuard guard(b);
    b.createBlock(&op.getBody());
    IRMapping mapping;
    SmallVector<Value> values;
    for (auto &[value, offset] : offsets)
      values.push_back(clone(b, value, mapping));
    host::EndOp::create(b, loc, values);
  }

private:
  /// Clones what `root` is computed from, operands first, without recursion.
  static Value clone(OpBuilder &b, Value root, IRMapping &mapping) {
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

  llvm::MapVector<Value, uint64_t> offsets;
  uint64_t bytes = 0;
};

/// Turns one function into an entry.
class EntryPlanner {
public:
  EntryPlanner(func::FuncOp func, Weights &weights,
               const llvm::StringMap<unsigned> &states)
      : func(func), weights(weights), states(states),
        builder(func.getContext()) {}

  LogicalResult run(OpBuilder &moduleBuilder);

private:
  LogicalResult plan(LaunchOp launch);
  void copy(Location loc, host::SlotAttr to, Value from);
  host::SlotAttr slot(host::Space space, unsigned index, uint64_t offset = 0) {
    return host::SlotAttr::get(func.getContext(), space, index, offset);
  }
  /// Slot of a value that is read at the current step.
  host::SlotAttr read(Value value);
  /// Slot for a launch's result, which the current step writes.
  host::SlotAttr write(Value value);
  ArrayAttr getTensors(TypeRange types, bool results);

  struct Buffer {
    AffineMapAttr bytes;
    unsigned first, last;
  };

  func::FuncOp func;
  Weights &weights;
  const llvm::StringMap<unsigned> &states;
  OpBuilder builder;
  llvm::DenseMap<Value, host::SlotAttr> slots; // of bases
  llvm::DenseMap<Value, unsigned> outputs;     // base -> output it is
  SmallVector<Buffer> buffers;
  unsigned step = 0;
};

} // namespace

host::SlotAttr EntryPlanner::read(Value value) {
  if (isConstantExpression(value))
    return slot(host::Space::Weight, 0, weights.add(value));
  host::SlotAttr found = slots.lookup(getBase(value));
  assert(found && "a value is read before it is computed");
  if (found.getSpace() == host::Space::Arena)
    buffers[found.getIndex()].last = step;
  return found;
}

host::SlotAttr EntryPlanner::write(Value value) {
  host::SlotAttr place;
  if (auto output = outputs.find(value); output != outputs.end()) {
    place = slot(host::Space::Output, output->second);
  } else {
    place = slot(host::Space::Arena, buffers.size());
    buffers.push_back({getSizeAttr(getBytes(value.getType())), step, step});
  }
  slots[value] = place;
  return place;
}

LogicalResult EntryPlanner::plan(LaunchOp launch) {
  SmallVector<Attribute> bindings;
  for (Value input : launch.getInputs())
    bindings.push_back(read(input));
  for (Value result : launch.getResults())
    bindings.push_back(write(result));
  SmallVector<Type> types(launch.getResultTypes());
  auto dispatch = host::DispatchOp::create(
      builder, launch.getLoc(), launch.getKernelAttr(),
      builder.getArrayAttr(bindings), builder.getTypeArrayAttr(types),
      launch.getDimsAttr(), launch.getTasksAttr());
  dispatch->setDiscardableAttrs(launch->getDiscardableAttrDictionary());
  ++step;
  return success();
}

void EntryPlanner::copy(Location loc, host::SlotAttr to, Value from) {
  host::SlotAttr source = read(from);
  host::CopyOp::create(builder, loc, to, source,
                       getSizeAttr(getBytes(from.getType())));
  ++step;
}

ArrayAttr EntryPlanner::getTensors(TypeRange types, bool results) {
  SmallVector<Attribute> tensors;
  for (auto [i, type] : llvm::enumerate(types)) {
    auto name = results ? func.getResultAttrOfType<StringAttr>(i, "qcc.name")
                        : func.getArgAttrOfType<StringAttr>(i, "qcc.name");
    std::string fallback = (results ? "output" : "input") + std::to_string(i);
    tensors.push_back(host::TensorAttr::get(
        func.getContext(), name ? name.getValue() : StringRef(fallback), type));
  }
  return builder.getArrayAttr(tensors);
}

LogicalResult EntryPlanner::run(OpBuilder &moduleBuilder) {
  Block &body = func.getBody().front();
  auto ret = cast<func::ReturnOp>(body.getTerminator());
  auto entry = host::EntryOp::create(
      moduleBuilder, func.getLoc(), func.getSymName(),
      getTensors(body.getArgumentTypes(), /*results=*/false),
      getTensors(ret.getOperandTypes(), /*results=*/true),
      builder.getArrayAttr({}));
  builder.createBlock(&entry.getBody());

  for (BlockArgument arg : body.getArguments())
    slots[arg] = slot(host::Space::Input, arg.getArgNumber());
  for (auto [i, value] : llvm::enumerate(ret.getOperands()))
    if (getBase(value).getDefiningOp<LaunchOp>())
      outputs.try_emplace(getBase(value), i);

  SmallVector<StateWriteOp> writes;
  for (Operation &op : body.without_terminator()) {
    if (auto launch = dyn_cast<LaunchOp>(op)) {
      if (failed(plan(launch)))
        return failure();
    } else if (auto state = dyn_cast<StateReadOp>(op)) {
      slots[state.getResult()] =
          slot(host::Space::State, states.lookup(state.getState()));
    } else if (auto write = dyn_cast<StateWriteOp>(op)) {
      writes.push_back(write);
    } else if (auto observe = dyn_cast<ObserveOp>(op)) {
      host::ObserveOp::create(builder, op.getLoc(), observe.getNameAttr(),
                              read(observe.getValue()),
                              TypeAttr::get(observe.getValue().getType()));
      ++step;
    } else if (!isa<ReshapeOp>(op) && !isConstantExpression(op.getResult(0))) {
      return emitCoded(op.getLoc(), Diag::Internal)
             << "'" << op.getName() << "' was not scheduled";
    }
  }
  for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
    auto place = outputs.find(getBase(value));
    if (place == outputs.end() || place->second != i)
      copy(func.getLoc(), slot(host::Space::Output, i), value);
  }
  // After the outputs: an output may be the state's value of before.
  for (StateWriteOp write : writes)
    copy(write.getLoc(),
         slot(host::Space::State, states.lookup(write.getState())),
         write.getValue());

  SmallVector<Attribute> attrs;
  for (const Buffer &buffer : buffers)
    attrs.push_back(host::BufferAttr::get(func.getContext(), buffer.bytes,
                                          buffer.first, buffer.last));
  entry.setBuffersAttr(builder.getArrayAttr(attrs));
  return success();
}

namespace {
struct PlanPass : qcc::impl::PlanBase<PlanPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    llvm::StringMap<unsigned> states;
    for (auto state : module.getOps<StateOp>())
      states.try_emplace(state.getSymName(), states.size());
    Weights weights;
    SmallVector<func::FuncOp> funcs(module.getOps<func::FuncOp>());
    OpBuilder builder(&getContext());
    for (func::FuncOp func : funcs) {
      builder.setInsertionPoint(func);
      // The entry takes the function's name over.
      if (failed(EntryPlanner(func, weights, states).run(builder)))
        return signalPassFailure();
    }
    builder.setInsertionPointToStart(module.getBody());
    weights.build(builder, module.getLoc());
    for (func::FuncOp func : funcs)
      func.erase();
  }
};
} // namespace
