//===- RowEmitter.cpp - softmax and norms -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A row is read two or three times while it is in cache: for its statistics and
// for the result. Four accumulators per statistic, joined in a fixed order.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "Reduction.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

namespace {
/// The work on the rows of one kernel.
class RowKernel {
public:
  RowKernel(KernelBuilder &b, Operation *root, Epilogue epilogue)
      : b(b), root(root), epilogue(std::move(epilogue)), f32(b.getF32Type()),
        lanes(b.caps().f32Lanes()), sum(Combiner::Sum, f32, b.caps()) {}

  LogicalResult run();

private:
  using VectorFn =
      llvm::function_ref<Value(Value column, unsigned width, Value mask)>;
  using CombineFn = llvm::function_ref<Value(Value, Value)>;

  Value reduceRow(Value neutral, VectorFn value, CombineFn combine);
  Value sumRow(VectorFn value);
  void forColumns(llvm::function_ref<void(Value column, Value mask)> body);
  Value loadInput(Value column, unsigned width, Value mask);
  void finish(Value value, Value column, Value mask);
  void emitSoftmax(SoftmaxOp op);
  void emitNorm(NormOp op);
  Value splat(Value scalar) { return b.splat(scalar, lanes); }
  Value sub(Value a, Value c) { return arith::SubFOp::create(b, a, c); }
  Value mul(Value a, Value c) { return arith::MulFOp::create(b, a, c); }

  KernelBuilder &b;
  Operation *root;
  Epilogue epilogue;
  Type f32;
  unsigned lanes;
  Reduction sum;
  Value input, size, rowOffset;
  SmallVector<Value> rowIndices;
  bool broken = false;
};
} // namespace

Value RowKernel::loadInput(Value column, unsigned width, Value mask) {
  return b.load(input, f32, b.add(rowOffset, column), width, mask);
}

/// All columns in vectors, the last one under a mask.
void RowKernel::forColumns(
    llvm::function_ref<void(Value column, Value mask)> body) {
  using Hint = KernelBuilder::LoopHint;
  Value step = b.idx(lanes);
  Value vectors = b.mul(b.divFloor(size, step), step);
  b.forLoop(
      b.idx(0), vectors, step, [&](Value column) { body(column, {}); },
      Hint::NoVectorize);
  b.forLoop(
      vectors, size, step,
      [&](Value column) {
        body(column, b.firstLanes(b.sub(size, column), lanes));
      },
      Hint::NoUnroll);
}

Value RowKernel::reduceRow(Value neutral, VectorFn value, CombineFn combine) {
  using Hint = KernelBuilder::LoopHint;
  constexpr unsigned accumulators = 4;
  Value start = splat(neutral), step = b.idx(lanes),
        wide = b.idx(lanes * accumulators);
  Value blocks = b.mul(b.divFloor(size, wide), wide);
  Value vectors = b.mul(b.divFloor(size, step), step);
  SmallVector<Value> all(accumulators, start);
  all = b.forLoop(
      b.idx(0), blocks, wide, all,
      [&](Value column, ArrayRef<Value> carried) {
        SmallVector<Value> next;
        for (unsigned i = 0; i < accumulators; ++i)
          next.push_back(
              combine(carried[i],
                      value(b.add(column, b.idx(i * lanes)), lanes, Value())));
        return next;
      },
      Hint::NoVectorize);
  auto tail = [&](Value from, Value to, Value carriedIn, bool masked) {
    return b.forLoop(
        from, to, step, {carriedIn},
        [&](Value column, ArrayRef<Value> carried) {
          Value mask =
              masked ? b.firstLanes(b.sub(size, column), lanes) : Value();
          Value element = value(column, lanes, mask);
          if (masked)
            element = arith::SelectOp::create(b, mask, element, start);
          return SmallVector<Value>{combine(carried[0], element)};
        },
        Hint::NoUnroll)[0];
  };
  all[0] = tail(blocks, vectors, all[0], false);
  all[1] = tail(vectors, size, all[1], true);
  return combine(combine(all[0], all[1]), combine(all[2], all[3]));
}

Value RowKernel::sumRow(VectorFn value) {
  Value vector = reduceRow(b.constant(0, f32), value, [&](Value a, Value c) {
    return sum.combine(b, a, c);
  });
  return sum.horizontal(b, vector);
}

void RowKernel::finish(Value value, Value column, Value mask) {
  SmallVector<Value> indices(rowIndices);
  indices.push_back(column);
  FailureOr<Value> result = epilogue.apply(b, value, indices, lanes, mask);
  if (failed(result)) {
    broken = true;
    return;
  }
  Value last = epilogue.chain.empty() ? epilogue.rootResult
                                      : epilogue.chain.back().getResult();
  b.store(*result, b.resultPointer(0),
          cast<RankedTensorType>(last.getType()).getElementType(),
          b.add(rowOffset, column), mask);
}

void RowKernel::emitSoftmax(SoftmaxOp op) {
  // A NaN loses every comparison here, and makes the sum NaN below.
  auto larger = [&](Value a, Value c) -> Value {
    Value more = arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, c, a);
    return arith::SelectOp::create(b, more, c, a);
  };
  auto load = [&](Value column, unsigned width, Value mask) {
    return loadInput(column, width, mask);
  };
  Value lowest = b.constant(-std::numeric_limits<double>::infinity(), f32);
  Value vector = reduceRow(lowest, load, larger);
  Value top =
      splat(Reduction(Combiner::Max, f32, b.caps()).horizontal(b, vector));
  auto exponential = [&](Value column, unsigned width, Value mask) -> Value {
    // What is next to 0 is 0.
    return math::ExpOp::create(b, sub(loadInput(column, width, mask), top),
                               arith::FastMathFlags::afn);
  };
  // The exponentials are kept in the result's memory if it is of their type.
  bool keeps = epilogue.chain.empty() && !op.getLog();
  Value total = sumRow([&](Value column, unsigned width, Value mask) {
    Value value = exponential(column, width, mask);
    if (keeps)
      b.store(value, b.resultPointer(0), f32, b.add(rowOffset, column), mask);
    return value;
  });
  if (op.getLog()) {
    Value shift = splat(math::LogOp::create(b, total));
    forColumns([&](Value column, Value mask) {
      finish(sub(sub(loadInput(column, lanes, mask), top), shift), column,
             mask);
    });
    return;
  }
  Value factor = splat(arith::DivFOp::create(b, b.constant(1, f32), total));
  forColumns([&](Value column, Value mask) {
    Value value = keeps ? b.load(b.resultPointer(0), f32,
                                 b.add(rowOffset, column), lanes, mask)
                        : exponential(column, lanes, mask);
    finish(mul(value, factor), column, mask);
  });
}

void RowKernel::emitNorm(NormOp op) {
  Value wide = arith::IndexCastOp::create(b, b.getI64Type(), size);
  Value length = arith::SIToFPOp::create(b, f32, wide);
  bool layer = op.getKind() == NormKind::Layer;
  Value mean;
  if (layer) {
    Value total = sumRow([&](Value column, unsigned width, Value mask) {
      return loadInput(column, width, mask);
    });
    mean = splat(arith::DivFOp::create(b, total, length));
  }
  auto centred = [&](Value column, Value mask) {
    Value x = loadInput(column, lanes, mask);
    return layer ? sub(x, mean) : x;
  };
  Value squares = sumRow([&](Value column, unsigned, Value mask) {
    Value x = centred(column, mask);
    return mul(x, x);
  });
  Value variance = arith::DivFOp::create(b, squares, length);
  Value epsilon = b.constant(op.getEpsilon().convertToFloat(), f32);
  Value deviation =
      math::SqrtOp::create(b, arith::AddFOp::create(b, variance, epsilon));
  Value factor = splat(arith::DivFOp::create(b, b.constant(1, f32), deviation));
  forColumns([&](Value column, Value mask) {
    finish(mul(centred(column, mask), factor), column, mask);
  });
}

/// Rows and their length as the grain sees them: exponentials weigh four times.
static Grain getRowGrain(Value rootInput) {
  SmallVector<AffineExpr> dims = getDims(rootInput.getType());
  MLIRContext *context = rootInput.getContext();
  AffineExpr rows = product(ArrayRef(dims).drop_back(), context);
  return getGrain({rows, mlir::getAffineConstantExpr(1, context)},
                  simplifySize(dims.back() * 4));
}

LogicalResult RowKernel::run() {
  Value operand = root->getOperand(0);
  SmallVector<AffineExpr> dims = getDims(operand.getType());
  input = getTensorPointer(b, operand);
  size = b.size(dims.back());
  forEachRow(b, getRowGrain(operand), [&](Value row, Value, Value) {
    rowIndices = delinearize(b, row, ArrayRef(dims).drop_back());
    rowOffset = b.mul(row, size);
    if (auto softmax = dyn_cast<SoftmaxOp>(root))
      emitSoftmax(softmax);
    else
      emitNorm(cast<NormOp>(root));
  });
  return failure(broken);
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

/// The root of a dispatch or kernel that this emitter takes, or null.
static Operation *findRoot(Block &block) {
  Operation *root = nullptr;
  for (Operation &op : block.without_terminator()) {
    if (isa<SoftmaxOp, NormOp>(op) && !root)
      root = &op;
    else if (!isa<GenericOp, ReshapeOp, ConstantOp>(op))
      return nullptr;
  }
  if (!root || block.getTerminator()->getNumOperands() != 1)
    return nullptr;
  auto type = cast<RankedTensorType>(root->getOperand(0).getType());
  return type.getRank() > 0 && type.getElementType().isF32() ? root : nullptr;
}

/// The root's epilogue, if vectors can do all of it.
static FailureOr<Epilogue> findEpilogue(Operation *root) {
  FailureOr<Epilogue> epilogue = getEpilogue(root);
  if (failed(epilogue) || !isInMemory(root->getOperand(0)))
    return failure();
  for (GenericOp generic : epilogue->chain) {
    bool readable = llvm::all_of(generic->getOperands(), [&](Value operand) {
      return isInMemory(operand) || operand == epilogue->rootResult ||
             llvm::is_contained(epilogue->chain, operand.getDefiningOp());
    });
    if (!readable || !canVectorize(generic))
      return failure();
  }
  return epilogue;
}

namespace {
class RowEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "row"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned)>) const override {
    Operation *root = findRoot(dispatch.getBody().front());
    if (!root || !haveVectors(levels) || failed(findEpilogue(root)))
      return std::nullopt;
    KernelSchedule schedule;
    schedule.params = DictionaryAttr::get(dispatch.getContext());
    schedule.tasks = getRowGrain(root->getOperand(0)).rowTasks;
    return schedule;
  }

  LogicalResult emit(KernelBuilder &b) const override {
    Operation *root = findRoot(b.kernel().getBody().front());
    if (!root)
      return failure();
    FailureOr<Epilogue> epilogue = findEpilogue(root);
    if (failed(epilogue))
      return failure();
    return RowKernel(b, root, *epilogue).run();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createRowEmitter() {
  return std::make_unique<RowEmitter>();
}
