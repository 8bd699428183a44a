//===- EntryPlanner.cpp - one function as an entry --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "EntryPlanner.h"
#include "StatesInPlace.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace qcc;

static AffineMap getSizeMap(AffineExpr expr) {
  return makeSizeMap({expr}, expr.getContext());
}
static AffineMapAttr getSizeAttr(AffineExpr expr) {
  return AffineMapAttr::get(getSizeMap(expr));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

bool EntryPlanner::isRuntime(AffineExpr expr) const {
  return usesSymbolsFrom(expr, firstRuntime);
}

void EntryPlanner::touch(host::SlotAttr place) {
  if (place.getSpace() != host::Space::Arena)
    return;
  unsigned index = place.getIndex();
  buffers[index].last = step;
  // The next iteration reads it again.
  for (Loop &loop : loops)
    if (index < loop.firstBuffer)
      loop.readInside.insert(index);
}

host::SlotAttr EntryPlanner::read(Value value) {
  // A constant may be viewed as a shape that is known only at run time.
  for (Value constant : {value, getBase(value)})
    if (isConstantExpression(constant))
      return slot(host::Space::Weight, 0, weights.add(constant));
  host::SlotAttr found = slots.lookup(getBase(value));
  assert(found && "a value is read before it is computed");
  touch(found);
  return found;
}

host::SlotAttr EntryPlanner::allocate(Location loc, AffineExpr bytes) {
  if (isRuntime(bytes)) {
    host::SlotAttr place = slot(host::Space::Host, numBlocks++);
    host::ReserveOp::create(builder, loc, place, getSizeMap(bytes), false);
    return place;
  }
  buffers.push_back({getSizeAttr(bytes), step, step});
  return slot(host::Space::Arena, buffers.size() - 1);
}

void EntryPlanner::prepare(Location loc, unsigned output) {
  auto ret = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  if (llvm::any_of(getDims(ret.getOperand(output).getType()),
                   [&](AffineExpr dim) { return isRuntime(dim); }))
    host::PrepareOp::create(builder, loc, slot(host::Space::Output, output));
}

host::SlotAttr EntryPlanner::write(Value value) {
  host::SlotAttr place;
  if (auto output = outputs.find(value); output != outputs.end()) {
    prepare(value.getLoc(), output->second);
    place = slot(host::Space::Output, output->second);
  } else if (auto state = inPlace.find(value); state != inPlace.end()) {
    place = slot(host::Space::State, states.lookup(state->second));
  } else {
    place = allocate(value.getLoc(), getBytes(value.getType()));
  }
  slots[value] = place;
  return place;
}

void EntryPlanner::copy(Location loc, host::SlotAttr to, Value from,
                        AffineMapAttr at) {
  host::SlotAttr source = read(from);
  touch(to);
  host::CopyOp::create(builder, loc, to, source,
                       getSizeAttr(getBytes(from.getType())), at);
  ++step;
}

/// Places in a step's attributes.
static void forEachSlot(Operation *op,
                        llvm::function_ref<void(host::SlotAttr)> fn) {
  for (NamedAttribute attr : op->getAttrs()) {
    if (auto one = dyn_cast<host::SlotAttr>(attr.getValue()))
      fn(one);
    else if (auto places = dyn_cast<ArrayAttr>(attr.getValue()))
      for (Attribute element : places)
        if (auto place = dyn_cast<host::SlotAttr>(element))
          fn(place);
  }
}

void EntryPlanner::releaseBlocks(Block &block, unsigned first) {
  llvm::DenseMap<unsigned, Operation *> lastUse;
  for (Operation &op : block)
    op.walk([&](Operation *inner) {
      forEachSlot(inner, [&](host::SlotAttr place) {
        if (place.getSpace() == host::Space::Host &&
            place.getIndex() >= first && !released.contains(place.getIndex()))
          lastUse[place.getIndex()] = &op;
      });
    });
  for (unsigned number = first; number < numBlocks; ++number)
    if (Operation *last = lastUse.lookup(number)) {
      released.insert(number);
      builder.setInsertionPointAfter(last);
      host::ReleaseOp::create(builder, last->getLoc(),
                              slot(host::Space::Host, number));
    }
  builder.setInsertionPointToEnd(&block);
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

void EntryPlanner::plan(LaunchOp launch) {
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
}

void EntryPlanner::plan(BindOp bind) {
  if (Value value = bind.getValue())
    host::BindOp::create(builder, bind.getLoc(), bind.getSymbol(), read(value),
                         bind.getElement(), value.getType());
  else
    host::LetOp::create(
        builder, bind.getLoc(),
        ArrayRef<int64_t>{static_cast<int64_t>(bind.getSymbol())},
        *bind.getExpr());
  ++step;
}

LogicalResult EntryPlanner::planBranch(IfOp op, unsigned number,
                                       Region &region) {
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&region);
  Block &source = op->getRegion(number).front();
  unsigned firstBlock = numBlocks;
  if (failed(planBlock(source)))
    return failure();
  for (auto [result, value] :
       llvm::zip_equal(op.getResults(), op.getYield(number).getValues())) {
    host::SlotAttr place = slots.lookup(result);
    if (place.getSpace() == host::Space::Host)
      host::ReserveOp::create(builder, op.getLoc(), place,
                              getSizeMap(getBytes(value.getType())), false);
    copy(op.getLoc(), place, value);
  }
  if (loops.empty())
    releaseBlocks(*block, firstBlock);
  return success();
}

LogicalResult EntryPlanner::plan(IfOp op) {
  host::SlotAttr condition = read(op.getCondition());
  ++step;
  for (Value result : op.getResults()) {
    AffineExpr bytes = getBytes(result.getType());
    if (isRuntime(bytes)) {
      slots[result] = slot(host::Space::Host, numBlocks++);
      continue;
    }
    buffers.push_back({getSizeAttr(bytes), step, step});
    slots[result] = slot(host::Space::Arena, buffers.size() - 1);
  }
  auto branch = host::IfOp::create(builder, op.getLoc(), condition);
  if (failed(planBranch(op, 0, branch.getThenRegion())) ||
      failed(planBranch(op, 1, branch.getElseRegion())))
    return failure();
  return success();
}

/// Copies the next carried values over the current ones. A value that another
/// copy replaces before it is read is set aside first.
void EntryPlanner::yieldCarried(LoopOp op) {
  Block &body = op.getBody().front();
  unsigned count = op.getNumCarried();
  SmallVector<Value> next;
  SmallVector<host::SlotAttr> aside(count);
  for (unsigned i = 0; i < count; ++i) {
    next.push_back(op.getYielded(i));
    auto arg = dyn_cast<BlockArgument>(getBase(next[i]));
    if (!arg || arg.getOwner() != &body || arg.getArgNumber() >= i)
      continue;
    aside[i] = allocate(op.getLoc(), getBytes(next[i].getType()));
    copy(op.getLoc(), aside[i], next[i]);
  }
  for (unsigned i = 0; i < count; ++i) {
    if (getBase(next[i]) == body.getArgument(i))
      continue;
    host::SlotAttr to = slots.lookup(body.getArgument(i));
    AffineExpr bytes = getBytes(next[i].getType());
    if (to.getSpace() == host::Space::Host)
      host::ReserveOp::create(builder, op.getLoc(), to, getSizeMap(bytes),
                              false);
    if (!aside[i]) {
      copy(op.getLoc(), to, next[i]);
      continue;
    }
    touch(aside[i]);
    host::CopyOp::create(builder, op.getLoc(), to, aside[i], getSizeAttr(bytes),
                         AffineMapAttr());
    ++step;
  }
}

/// Stores what this iteration adds to the stacks.
void EntryPlanner::stackResults(LoopOp op) {
  MLIRContext *context = op.getContext();
  AffineExpr iteration = getAffineSymbolExpr(op.getIteration(), context);
  for (unsigned i = op.getNumCarried(); i < op.getNumResults(); ++i) {
    Value element = op.getYielded(i);
    AffineExpr bytes = getBytes(element.getType());
    host::SlotAttr place = slots.lookup(op.getResult(i));
    if (place.getSpace() == host::Space::Host)
      host::ReserveOp::create(builder, op.getLoc(), place,
                              getSizeMap((iteration + 1) * bytes), true);
    copy(op.getLoc(), place, element, getSizeAttr(iteration * bytes));
  }
}

LogicalResult EntryPlanner::planBody(LoopOp op, host::LoopOp loop) {
  OpBuilder::InsertionGuard guard(builder);
  builder.createBlock(&loop.getBody());
  if (failed(planBlock(op.getBody().front())))
    return failure();
  stackResults(op);
  // Before the carried values change: it may be one of them.
  if (loop.getCondition())
    copy(op.getLoc(), *loop.getCondition(), op.getYield().getValues()[0]);
  yieldCarried(op);
  // Behind the copies, whose sizes are those of before.
  if (!op.getSizes().empty())
    host::LetOp::create(builder, op.getLoc(), op.getSizes(), *op.getNext());
  return success();
}

LogicalResult EntryPlanner::plan(LoopOp op) {
  Block &body = op.getBody().front();
  Location loc = op.getLoc();
  MLIRContext *context = op.getContext();
  // Memory of the carried values, which the results are after the loop.
  for (unsigned i = 0; i < op.getNumCarried(); ++i) {
    Value init = op.getInit()[i];
    AffineExpr bytes = getBytes(init.getType());
    host::SlotAttr place;
    if (isRuntime(getBytes(op.getResult(i).getType()))) {
      place = slot(host::Space::Host, numBlocks++);
      host::ReserveOp::create(builder, loc, place, getSizeMap(bytes), false);
    } else {
      place = allocate(loc, bytes);
    }
    copy(loc, place, init);
    // Apart: a new entry may move the one that an expression refers to.
    slots[op.getResult(i)] = place;
    slots[body.getArgument(i)] = place;
  }
  for (unsigned i = op.getNumCarried(); i < op.getNumResults(); ++i) {
    // As many slices as iterations, or a block that grows with them and is
    // empty without any.
    AffineExpr bytes = getBytes(op.getResult(i).getType());
    if (!isRuntime(bytes)) {
      slots[op.getResult(i)] = allocate(loc, bytes);
      continue;
    }
    host::SlotAttr place = slot(host::Space::Host, numBlocks++);
    host::ReserveOp::create(builder, loc, place,
                            getSizeMap(getAffineConstantExpr(0, context)),
                            false);
    slots[op.getResult(i)] = place;
  }
  host::SlotAttr condition;
  if (op.getCondition()) {
    condition = allocate(loc, getAffineConstantExpr(1, context));
    copy(loc, condition, op.getCondition());
  }
  unsigned begin = buffers.size();
  auto loop =
      host::LoopOp::create(builder, loc, op.getIterationAttr(),
                           op.getCountAttr(), op.getTripAttr(), condition);
  loops.push_back({begin, {}});
  if (failed(planBody(op, loop)))
    return failure();
  Loop done = loops.pop_back_val();
  for (unsigned index : done.readInside)
    buffers[index].last = std::max(buffers[index].last, step);
  ++step;
  return success();
}

LogicalResult EntryPlanner::planOp(Operation &op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(&op)
      .Case([&](LaunchOp launch) {
        plan(launch);
        return success();
      })
      .Case([&](BindOp bind) {
        plan(bind);
        return success();
      })
      .Case([&](CheckOp check) {
        host::CheckOp::create(builder, op.getLoc(), check.getSizesAttr());
        return success();
      })
      .Case<IfOp, LoopOp>([&](auto nested) { return plan(nested); })
      .Case([&](StateReadOp state) {
        slots[state.getResult()] =
            slot(host::Space::State, states.lookup(state.getState()));
        return success();
      })
      .Case([&](ObserveOp observe) {
        host::ObserveOp::create(builder, op.getLoc(), observe.getNameAttr(),
                                read(observe.getValue()),
                                TypeAttr::get(observe.getValue().getType()));
        ++step;
        return success();
      })
      .Case<ReshapeOp, StateWriteOp>([](auto) { return success(); })
      .Default([&](Operation *other) -> LogicalResult {
        if (isConstantExpression(other->getResult(0)))
          return success();
        return emitCoded(op.getLoc(), Diag::Internal)
               << "'" << op.getName() << "' was not scheduled";
      });
}

LogicalResult EntryPlanner::planBlock(Block &block) {
  for (Operation &op : block.without_terminator())
    if (failed(planOp(op)))
      return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// The entry
//===----------------------------------------------------------------------===//

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

bool EntryPlanner::hasSizesOf(Value base, Value view) const {
  llvm::SmallDenseSet<AffineExpr> bound;
  for (AffineExpr dim : getDims(base.getType()))
    dim.walk([&](AffineExpr expr) { bound.insert(expr); });
  return llvm::all_of(getDims(view.getType()), [&](AffineExpr dim) {
    return !dim.walk([&](AffineExpr expr) {
                 return isa<AffineSymbolExpr>(expr) && isRuntime(expr) &&
                                !bound.contains(expr)
                            ? WalkResult::interrupt()
                            : WalkResult::advance();
               })
                .wasInterrupted();
  });
}

/// Copies the next values of states over the current ones. A current value that
/// another copy replaces before it is read is set aside first.
void EntryPlanner::writeStates(Block &body) {
  llvm::SmallVector<std::pair<StateWriteOp, host::SlotAttr>> copies;
  llvm::SmallDenseSet<StringRef> written;
  for (auto write : body.getOps<StateWriteOp>()) {
    Value next = getBase(write.getValue());
    auto current = next.getDefiningOp<StateReadOp>();
    auto found = inPlace.find(next);
    if ((current && current.getState() == write.getState()) ||
        (found != inPlace.end() && found->second == write.getState()))
      continue;
    host::SlotAttr aside;
    if (current && written.contains(current.getState())) {
      aside = allocate(write.getLoc(), getBytes(next.getType()));
      copy(write.getLoc(), aside, next);
    }
    written.insert(write.getState());
    copies.emplace_back(write, aside);
  }
  for (auto [write, aside] : copies) {
    host::SlotAttr to =
        slot(host::Space::State, states.lookup(write.getState()));
    if (!aside) {
      copy(write.getLoc(), to, write.getValue());
      continue;
    }
    touch(aside);
    host::CopyOp::create(builder, write.getLoc(), to, aside,
                         getSizeAttr(getBytes(write.getValue().getType())),
                         AffineMapAttr());
    ++step;
  }
}

LogicalResult EntryPlanner::run(OpBuilder &moduleBuilder) {
  Block &body = func.getBody().front();
  auto ret = cast<func::ReturnOp>(body.getTerminator());
  auto entry = host::EntryOp::create(
      moduleBuilder, func.getLoc(), func.getSymName(),
      getTensors(body.getArgumentTypes(), /*results=*/false),
      getTensors(ret.getOperandTypes(), /*results=*/true),
      builder.getArrayAttr({}));
  for (StringRef name : {kChecksAttr, kCheckNodesAttr})
    if (Attribute value = func->getAttr(name))
      entry->setAttr(name, value);
  Block *steps = builder.createBlock(&entry.getBody());

  for (BlockArgument arg : body.getArguments())
    slots[arg] = slot(host::Space::Input, arg.getArgNumber());
  for (auto [i, value] : llvm::enumerate(ret.getOperands()))
    if (Value base = getBase(value);
        base.getDefiningOp<LaunchOp>() && hasSizesOf(base, value))
      outputs.try_emplace(base, i);
  inPlace = chooseStatesInPlace(
      func, [&](Value value) { return !outputs.contains(value); });
  if (failed(planBlock(body)))
    return failure();

  for (auto [i, value] : llvm::enumerate(ret.getOperands())) {
    auto place = outputs.find(getBase(value));
    if (place != outputs.end() && place->second == i)
      continue;
    prepare(func.getLoc(), i);
    copy(func.getLoc(), slot(host::Space::Output, i), value);
  }
  // After the outputs: an output may be the state's value of before.
  writeStates(body);
  releaseBlocks(*steps, 0);

  SmallVector<Attribute> attrs;
  for (const Buffer &buffer : buffers)
    attrs.push_back(host::BufferAttr::get(func.getContext(), buffer.bytes,
                                          buffer.first, buffer.last));
  entry.setBuffersAttr(builder.getArrayAttr(attrs));
  return success();
}
