//===- InterleaveEmitter.cpp - results with a tiny last dimension -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the last dimension has two to four elements and the operands are
// contiguous along the one before it (depth to space, zero insertion), vectors
// run along that one: one per element of the last dimension, interleaved before
// the store.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Codegen/Emitters.h"
#include <numeric>

using namespace mlir;
using namespace qcc;

/// Elements of the last dimension if the nest has the form, else 0.
static int64_t getFactor(LoopNest &nest) {
  GenericOp root = nest.root;
  unsigned rank = root.getNumParallel();
  if (root.isReduction() || rank < 2 || !canVectorize(root) ||
      !llvm::all_of(root.getInputs(), isInMemory))
    return 0;
  SmallVector<AffineExpr> extents = root.getExtents();
  std::optional<int64_t> factor = getConstantSize(extents[rank - 1]),
                         length = getConstantSize(extents[rank - 2]);
  constexpr int64_t minLength = 16;
  if (!factor || *factor < 2 || *factor > 4 || (length && *length < minLength))
    return 0;
  // Lanes along the last but one dimension: equal or consecutive elements.
  for (unsigned i = 0, e = root.getInputs().size(); i < e; ++i) {
    AffineMap map = root.getMap(i);
    for (auto [r, expr] : llvm::enumerate(map.getResults())) {
      std::optional<int64_t> step = getDimStep(expr, rank - 2);
      bool last = r + 1 == map.getNumResults();
      if (step != 0 && !(last && step == 1))
        return 0;
    }
  }
  return *factor;
}

/// Rows of the last but one dimension.
static Grain getInterleaveGrain(GenericOp root, int64_t factor) {
  SmallVector<AffineExpr> extents = root.getExtents();
  return getGrain(ArrayRef(extents).drop_back(),
                  mlir::getAffineConstantExpr(factor, root.getContext()));
}

namespace {
class InterleaveKernel {
public:
  InterleaveKernel(KernelBuilder &b, GenericOp root, int64_t factor)
      : b(b), root(root), factor(factor), lanes(b.caps().f32Lanes()) {}
  LogicalResult run();

private:
  Value compute(ArrayRef<Value> row, Value column, int64_t k, unsigned width);
  Value interleave(ArrayRef<Value> vectors);
  void emit(ArrayRef<Value> row, Value column, unsigned width);

  KernelBuilder &b;
  GenericOp root;
  int64_t factor;
  unsigned lanes;
  bool broken = false;
};
} // namespace

/// Element k of the last dimension for `width` columns.
Value InterleaveKernel::compute(ArrayRef<Value> row, Value column, int64_t k,
                                unsigned width) {
  SmallVector<Value> indices(row);
  indices.push_back(column);
  indices.push_back(b.idx(k));
  FailureOr<Value> value = computeGeneric(b, root, indices, width, {}, {},
                                          root.getNumParallel() - 2);
  if (succeeded(value))
    return *value;
  broken = true;
  Type scalar = getScalarType(root.getResult().getType().getElementType());
  return b.splat(b.constant(0, scalar), width);
}

/// Lane 0 of each vector, then lane 1 of each, ...
Value InterleaveKernel::interleave(ArrayRef<Value> vectors) {
  // All in a row first; LLVM sees through both shuffles.
  Value joined = vectors[0];
  for (size_t i = 1; i < vectors.size(); ++i) {
    SmallVector<int64_t> widen(i * lanes), append((i + 1) * lanes);
    for (size_t k = 0; k < widen.size(); ++k)
      widen[k] = k < lanes ? static_cast<int64_t>(k) : 0;
    std::iota(append.begin(), append.end(), 0);
    Value next =
        i == 1 ? vectors[i]
               : vector::ShuffleOp::create(b, vectors[i], vectors[i], widen)
                     .getResult();
    joined = vector::ShuffleOp::create(b, joined, next, append);
  }
  SmallVector<int64_t> order;
  for (unsigned lane = 0; lane < lanes; ++lane)
    for (size_t i = 0; i < vectors.size(); ++i)
      order.push_back(static_cast<int64_t>(i * lanes + lane));
  return vector::ShuffleOp::create(b, joined, joined, order);
}

void InterleaveKernel::emit(ArrayRef<Value> row, Value column, unsigned width) {
  RankedTensorType type = root.getResult().getType();
  SmallVector<Value> values, indices(row);
  for (int64_t k = 0; k < factor; ++k)
    values.push_back(compute(row, column, k, width));
  indices.push_back(column);
  indices.push_back(b.idx(0));
  Value offset = b.offset(type, indices);
  if (width > 1) {
    b.store(interleave(values), b.resultPointer(0), type.getElementType(),
            offset);
    return;
  }
  for (int64_t k = 0; k < factor; ++k)
    b.store(values[k], b.resultPointer(0), type.getElementType(),
            b.add(offset, b.idx(k)));
}

LogicalResult InterleaveKernel::run() {
  using Hint = KernelBuilder::LoopHint;
  SmallVector<AffineExpr> extents = root.getExtents();
  Value step = b.idx(lanes);
  forEachRow(
      b, getInterleaveGrain(root, factor), ArrayRef(extents).drop_back(2),
      [&](ArrayRef<Value> row, Value begin, Value end) {
        Value length = b.maxIdx(b.sub(end, begin), b.idx(0));
        Value whole = b.add(begin, b.mul(b.divFloor(length, step), step));
        b.forLoop(
            begin, whole, step, [&](Value column) { emit(row, column, lanes); },
            Hint::NoVectorize);
        b.forLoop(
            whole, end, b.idx(1), [&](Value column) { emit(row, column, 1); },
            Hint::NoUnroll);
      });
  return failure(broken);
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

namespace {
class InterleaveEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "interleave"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned)>) const override {
    if (!haveVectors(levels))
      return std::nullopt;
    FailureOr<CollapsedNest> collapsed = collapseCopy(dispatch);
    if (failed(collapsed))
      return std::nullopt;
    LoopNest &nest = collapsed->nest;
    int64_t factor = getFactor(nest);
    if (!factor)
      return std::nullopt;
    Grain grain = getInterleaveGrain(nest.root, factor);
    return makeSchedule(grain);
  }

  LogicalResult emit(KernelBuilder &b) const override {
    FailureOr<CollapsedNest> collapsed = collapseCopy(b.kernel());
    if (failed(collapsed))
      return failure();
    LoopNest &nest = collapsed->nest;
    int64_t factor = getFactor(nest);
    return factor ? InterleaveKernel(b, nest.root, factor).run() : failure();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createInterleaveEmitter() {
  return std::make_unique<InterleaveEmitter>();
}
