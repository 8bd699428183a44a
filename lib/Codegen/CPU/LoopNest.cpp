//===- LoopNest.cpp - the iteration space of a generic kernel ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "LoopNest.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace qcc;

//===----------------------------------------------------------------------===//
// Recognition
//===----------------------------------------------------------------------===//

bool qcc::isInMemory(Value tensor) {
  while (auto reshape = tensor.getDefiningOp<ReshapeOp>())
    tensor = reshape.getInput();
  return isa<BlockArgument>(tensor) || tensor.getDefiningOp<ConstantOp>();
}

/// True if `readTensor` can read it: in memory, or elementwise of such.
static bool isReadable(Value tensor, Value rootResult, unsigned depth = 0) {
  if (isInMemory(tensor) || tensor == rootResult)
    return true;
  auto generic = tensor.getDefiningOp<GenericOp>();
  constexpr unsigned maxDepth = 64; // producers are inlined as a tree
  return generic && !generic.isReduction() && depth < maxDepth &&
         llvm::all_of(generic.getWhole(), isInMemory) &&
         llvm::all_of(
             generic.getInputs(),
             [&](Value input) {
               return isReadable(input, rootResult, depth + 1);
             });
}

FailureOr<LoopNest> qcc::getLoopNest(Block &block) {
  Operation *yield = block.getTerminator();
  if (yield->getNumOperands() != 1)
    return failure();
  LoopNest nest;
  for (Operation &op : block.without_terminator()) {
    auto generic = dyn_cast<GenericOp>(op);
    if (!generic && !isa<ReshapeOp, ConstantOp>(op))
      return failure();
    if (!generic || !generic.isReduction())
      continue;
    if (nest.root)
      return failure(); // two reductions
    nest.root = generic;
  }
  if (!nest.root) {
    Value yielded = yield->getOperand(0);
    while (auto reshape = yielded.getDefiningOp<ReshapeOp>())
      yielded = reshape.getInput();
    nest.root = yielded.getDefiningOp<GenericOp>();
    if (!nest.root)
      return failure();
    nest.epilogue.rootResult = nest.root.getResult();
  } else {
    FailureOr<Epilogue> epilogue = getEpilogue(nest.root);
    if (failed(epilogue))
      return failure();
    nest.epilogue = *epilogue;
  }
  Value result = nest.root.getResult();
  for (GenericOp generic : nest.generics()) {
    if (!llvm::all_of(generic.getWhole(), isInMemory))
      return failure();
    for (Value input : generic.getInputs())
      if (!llvm::is_contained(nest.epilogue.chain, input.getDefiningOp()) &&
          !isReadable(input, result))
        return failure();
  }
  return nest;
}

//===----------------------------------------------------------------------===//
// Collapsing
//===----------------------------------------------------------------------===//

/// True if `map` reads dimensions d and d + 1 of the iteration as neighbours in
/// memory, or neither of them. `extent` is that of d + 1.
static bool readsTogether(AffineMap map, ArrayRef<AffineExpr> operandDims,
                          unsigned d, AffineExpr extent) {
  AffineExpr first = mlir::getAffineDimExpr(d, map.getContext()),
             second = mlir::getAffineDimExpr(d + 1, map.getContext());
  bool found = false;
  for (unsigned i = 0, e = map.getNumResults(); i < e; ++i) {
    AffineExpr expr = map.getResult(i);
    if (!expr.isFunctionOfDim(d) && !expr.isFunctionOfDim(d + 1))
      continue;
    if (found || expr != first || i + 1 == e ||
        map.getResult(i + 1) != second || operandDims[i + 1] != extent)
      return false;
    found = true;
    ++i;
  }
  return true;
}

/// True if dimensions d and d + 1 can be one.
static bool mayMerge(LoopNest &nest, ArrayRef<AffineExpr> extents, unsigned d) {
  for (GenericOp generic : nest.generics()) {
    if (d + 1 >= generic.getNumDims())
      continue; // a reduction dimension of the root only
    for (auto [i, input] : llvm::enumerate(generic.getInputs())) {
      bool chained =
          input == nest.root.getResult() ||
          llvm::is_contained(nest.epilogue.chain, input.getDefiningOp());
      if (!chained && !isInMemory(input))
        return false;
      if (!readsTogether(generic.getMap(i), getDims(input.getType()), d,
                         extents[d + 1]))
        return false;
    }
    WalkResult used = generic.getBody().walk([&](IndexOp index) {
      return index.getDim() == d || index.getDim() == d + 1
                 ? WalkResult::interrupt()
                 : WalkResult::advance();
    });
    if (used.wasInterrupted())
      return false;
  }
  return true;
}

SmallVector<std::pair<unsigned, unsigned>> qcc::getDimGroups(LoopNest &nest) {
  SmallVector<AffineExpr> extents = nest.root.getExtents();
  unsigned numParallel = nest.root.getNumParallel();
  SmallVector<std::pair<unsigned, unsigned>> groups;
  for (unsigned d = 0; d < extents.size(); ++d) {
    if (d > 0 && d != numParallel && mayMerge(nest, extents, d - 1))
      ++groups.back().second;
    else
      groups.push_back({d, 1});
  }
  return groups;
}

/// Products of the extents of each group.
static SmallVector<AffineExpr>
mergeExtents(ArrayRef<AffineExpr> extents,
             ArrayRef<std::pair<unsigned, unsigned>> groups) {
  SmallVector<AffineExpr> merged;
  for (auto [first, count] : groups)
    merged.push_back(
        product(extents.slice(first, count), extents[first].getContext()));
  return merged;
}

namespace {
/// Rewrites generics onto merged dimensions.
struct Collapser {
  ArrayRef<std::pair<unsigned, unsigned>> groups;
  SmallVector<AffineExpr> replacement; // of each old dimension, or null

  Collapser(ArrayRef<std::pair<unsigned, unsigned>> groups,
            MLIRContext *context)
      : groups(groups) {
    for (auto [g, group] : llvm::enumerate(groups))
      for (unsigned i = 0; i < group.second; ++i)
        replacement.push_back(i + 1 == group.second
                                  ? mlir::getAffineDimExpr(g, context)
                                  : AffineExpr());
  }

  /// Number of dimensions of the group that starts with `expr`, a plain
  /// dimension at the head of a group; else 1.
  unsigned span(AffineExpr expr) const {
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      for (auto [first, count] : groups)
        if (first == dim.getPosition())
          return count;
    return 1;
  }

  /// The operand under its merged shape, and its map.
  std::pair<Value, AffineMap> operand(OpBuilder &b, Value value, AffineMap map,
                                      unsigned numGroups) const {
    SmallVector<AffineExpr> dims = getDims(value.getType()), newDims, exprs;
    for (unsigned i = 0; i < dims.size();) {
      unsigned count = span(map.getResult(i));
      newDims.push_back(
          product(ArrayRef(dims).slice(i, count), map.getContext()));
      // Dimensions inside a group only occur in its run.
      SmallVector<AffineExpr> dimReplacement;
      for (AffineExpr expr : replacement)
        dimReplacement.push_back(
            expr ? expr : mlir::getAffineConstantExpr(0, map.getContext()));
      exprs.push_back(map.getResult(i + count - 1).replaceDims(dimReplacement));
      i += count;
    }
    auto type = cast<RankedTensorType>(value.getType());
    RankedTensorType merged = makeTensorType(newDims, type.getElementType());
    if (merged != type)
      value = ReshapeOp::create(b, value.getLoc(), merged, value);
    return {value, AffineMap::get(numGroups, map.getNumSymbols(), exprs,
                                  map.getContext())};
  }

  GenericOp rewrite(GenericOp op) const {
    OpBuilder b(op);
    SmallVector<AffineExpr> extents = op.getExtents();
    unsigned numGroups = 0, numParallel = 0;
    for (auto [first, count] : groups) {
      numGroups += first < extents.size();
      numParallel += first < op.getNumParallel();
    }
    SmallVector<AffineExpr> merged =
        mergeExtents(extents, groups.take_front(numGroups));
    SmallVector<Value> inputs;
    SmallVector<Attribute> maps;
    for (auto [i, input] : llvm::enumerate(op.getInputs())) {
      auto [value, map] = operand(b, input, op.getMap(i), numGroups);
      inputs.push_back(value);
      maps.push_back(AffineMapAttr::get(map));
    }
    RankedTensorType type =
        makeTensorType(ArrayRef(merged).take_front(numParallel),
                       op.getResult().getType().getElementType());
    AffineMapAttr over;
    if (op.getOver())
      over = AffineMapAttr::get(makeSizeMap(
          ArrayRef(merged).drop_front(numParallel), op.getContext()));
    auto fresh =
        GenericOp::create(b, op.getLoc(), type, op.getCombiner(), inputs,
                          b.getArrayAttr(maps), op.getWhole(), over);
    fresh.getBody().takeBody(op.getBody());
    // Dimensions that keep their identity may have another number now.
    fresh.getBody().walk([&](IndexOp index) {
      for (auto [g, group] : llvm::enumerate(groups))
        if (group.first == index.getDim())
          return index.setDim(g);
    });
    Value result = fresh.getResult();
    if (type != op.getResult().getType())
      result =
          ReshapeOp::create(b, op.getLoc(), op.getResult().getType(), result);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
    return fresh;
  }
};
} // namespace

/// Removes a reshape back to the producer's own type.
static void cancelReshapes(GenericOp generic) {
  for (OpOperand &operand : generic->getOpOperands()) {
    Value source = operand.get();
    while (auto reshape = source.getDefiningOp<ReshapeOp>())
      source = reshape.getInput();
    if (source.getType() == operand.get().getType())
      operand.set(source);
  }
}

void qcc::collapseDims(LoopNest &nest) {
  SmallVector<std::pair<unsigned, unsigned>> groups = getDimGroups(nest);
  if (llvm::all_of(groups, [](auto group) { return group.second == 1; }))
    return;
  Collapser collapser(groups, nest.root.getContext());
  // The root's reshaped result is read by the chain: rewrite in order, and let
  // each see through the reshapes of the one before.
  nest.root = collapser.rewrite(nest.root);
  nest.epilogue.rootResult = nest.root.getResult();
  for (GenericOp &generic : nest.epilogue.chain) {
    generic = collapser.rewrite(generic);
    cancelReshapes(generic);
  }
}

//===----------------------------------------------------------------------===//
// Tasks
//===----------------------------------------------------------------------===//

FailureOr<CollapsedNest> qcc::collapseCopy(Operation *op) {
  CollapsedNest collapsed{op->clone(), {}};
  FailureOr<LoopNest> nest =
      getLoopNest((*collapsed.copy)->getRegion(0).front());
  if (failed(nest))
    return failure();
  collapsed.nest = *nest;
  collapseDims(collapsed.nest);
  return std::move(collapsed);
}

Grain qcc::getGrain(ArrayRef<AffineExpr> parallel, AffineExpr depth) {
  constexpr int64_t work = 32768, columns = 64;
  MLIRContext *context = depth.getContext();
  AffineExpr one = mlir::getAffineConstantExpr(1, context);
  AffineExpr budget = mlir::getAffineConstantExpr(work, context);
  auto simplify = [](AffineExpr e) { return simplifySize(e); };
  Grain grain;
  grain.inner = parallel.empty() ? one : parallel.back();
  grain.outer = parallel.empty() ? one : product(parallel.drop_back(), context);
  // Sizes may be zero: the divisors are one larger.
  grain.cols = simplify(budget.ceilDiv(depth + 1).ceilDiv(columns) * columns);
  grain.colTasks = simplify(grain.inner.ceilDiv(grain.cols));
  grain.rows = simplify(budget.ceilDiv(grain.inner * depth + 1));
  grain.rowTasks = simplify(grain.outer.ceilDiv(grain.rows));
  return grain;
}

KernelSchedule qcc::makeSchedule(const Grain &grain) {
  KernelSchedule schedule;
  schedule.params = DictionaryAttr::get(grain.rowTasks.getContext());
  schedule.tasks = simplifySize(grain.rowTasks * grain.colTasks);
  return schedule;
}

bool qcc::haveVectors(ArrayRef<Capabilities> levels) {
  return llvm::all_of(levels,
                      [](const Capabilities &c) { return c.vectorBits > 0; });
}

void qcc::forEachTask(
    KernelBuilder &b, const Grain &grain,
    llvm::function_ref<void(Value, Value, Value, Value)> body) {
  Value outer = b.size(grain.outer), inner = b.size(grain.inner),
        rows = b.size(grain.rows), cols = b.size(grain.cols),
        colTasks = b.size(grain.colTasks);
  b.forLoop(b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) {
    Value rowBegin = b.mul(b.divFloor(task, colTasks), rows);
    Value colBegin = b.mul(b.mod(task, colTasks), cols);
    Value rowEnd = b.minIdx(b.add(rowBegin, rows), outer);
    Value colEnd = b.minIdx(b.add(colBegin, cols), inner);
    body(rowBegin, rowEnd, colBegin, colEnd);
  });
}

void qcc::forEachRow(
    KernelBuilder &b, const Grain &grain,
    llvm::function_ref<void(Value row, Value colBegin, Value colEnd)> body) {
  forEachTask(b, grain, [&](Value begin, Value end, Value c0, Value c1) {
    b.forLoop(begin, end, b.idx(1), [&](Value row) { body(row, c0, c1); });
  });
}

/// The indices of the next row: the last one grows, and carries.
static SmallVector<Value> increment(KernelBuilder &b, ArrayRef<Value> indices,
                                    ArrayRef<AffineExpr> extents) {
  SmallVector<Value> next(indices);
  Value carry = b.idx(1);
  for (size_t i = indices.size(); i-- > 0;) {
    next[i] = b.add(indices[i], carry);
    if (i == 0)
      break;
    Value full = b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::eq,
                                               next[i], b.size(extents[i]));
    next[i] = b.createOrFold<arith::SelectOp>(full, b.idx(0), next[i]);
    carry = b.createOrFold<arith::SelectOp>(full, b.idx(1), b.idx(0));
  }
  return next;
}

void qcc::forEachRow(
    KernelBuilder &b, const Grain &grain, ArrayRef<AffineExpr> extents,
    llvm::function_ref<void(ArrayRef<Value>, Value, Value)> body) {
  // One index needs no division and no carry.
  if (extents.size() < 2) {
    forEachRow(b, grain, [&](Value row, Value c0, Value c1) {
      body(delinearize(b, row, extents), c0, c1);
    });
    return;
  }
  forEachTask(b, grain, [&](Value begin, Value end, Value c0, Value c1) {
    b.forLoop(begin, end, b.idx(1), delinearize(b, begin, extents),
              [&](Value, ArrayRef<Value> indices) {
                body(indices, c0, c1);
                return increment(b, indices, extents);
              });
  });
}

SmallVector<Value> qcc::delinearize(KernelBuilder &b, Value linear,
                                    ArrayRef<AffineExpr> extents) {
  SmallVector<Value> indices(extents.size());
  for (size_t i = extents.size(); i-- > 0;) {
    if (i == 0) {
      indices[i] = linear;
      break;
    }
    Value extent = b.size(extents[i]);
    indices[i] = b.mod(linear, extent);
    linear = b.divFloor(linear, extent);
  }
  return indices;
}
