//===- TableEmitter.cpp - functions of one byte -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Between the layers of a quantized model a function such as GELU maps codes to
// codes, one by one: it has 256 results. Where its body is long, a call of the
// kernel computes them all once, as vectors, and looks those of the elements
// up. The results are those of the body to the last bit.
//
//===----------------------------------------------------------------------===//
#include "LoopNest.h"
#include "MathPasses.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "qcc/Codegen/Emitters.h"

using namespace mlir;
using namespace qcc;

/// Results of a function of a byte.
static constexpr int64_t kCodes = 256;
/// Elements of a task: the table of a call costs a few hundred.
static constexpr int64_t kTaskElements = 1 << 15;
/// Elements that are looked up without a loop.
static constexpr int64_t kUnroll = 8;
/// Operations of a vector that take the time of looking up one element.
static constexpr double kLookupOps = 3;

static bool isByte(Type element) {
  return isa<IntegerType>(element) && element.getIntOrFloatBitWidth() == 8;
}

/// Operations that a body costs per vector.
static unsigned countOps(GenericOp generic) {
  // A function's polynomial, and the latency of a quotient.
  constexpr unsigned function = 20, quotient = 5;
  unsigned ops = 0;
  for (Operation &op : generic.getBlock()->without_terminator()) {
    if (isTranscendental(&op))
      ops += function;
    else if (isa<arith::DivFOp, math::SqrtOp>(op))
      ops += quotient;
    else if (!isa<arith::ConstantOp>(op))
      ++ops;
  }
  return ops;
}

/// The input whose byte alone decides each element, if the nest is such a
/// function.
static std::optional<unsigned> findByte(LoopNest &nest) {
  GenericOp root = nest.root;
  RankedTensorType type = root.getResult().getType();
  if (root.isReduction() || !nest.epilogue.chain.empty() ||
      !isByte(type.getElementType()) || !root.getWhole().empty() ||
      !canVectorize(root) ||
      root.getBody()
          .walk([](Operation *op) {
            return isa<IndexOp, ExtentOp>(op) ? WalkResult::interrupt()
                                              : WalkResult::advance();
          })
          .wasInterrupted())
    return std::nullopt;
  std::optional<unsigned> found;
  for (auto [i, input] : llvm::enumerate(root.getInputs())) {
    auto inputType = cast<RankedTensorType>(input.getType());
    if (!isInMemory(input))
      return std::nullopt;
    // One number for all elements is as good as a constant.
    if (llvm::all_of(root.getMap(i).getResults(),
                     [](AffineExpr e) { return isa<AffineConstantExpr>(e); }))
      continue;
    if (found || !isByte(inputType.getElementType()) ||
        !root.getMap(i).isIdentity() || getDims(inputType) != getDims(type))
      return std::nullopt;
    found = i;
  }
  return found;
}

/// True if looking up is faster than computing vectors at each level.
static bool pays(GenericOp root, ArrayRef<Capabilities> levels) {
  unsigned ops = countOps(root);
  return llvm::all_of(levels, [&](const Capabilities &c) {
    return c.vectorBits > 0 && ops > kLookupOps * c.f32Lanes();
  });
}

namespace {
class TableKernel {
public:
  TableKernel(KernelBuilder &b, GenericOp root, unsigned input)
      : b(b), root(root), input(input) {}
  LogicalResult run();

private:
  LogicalResult emitTable();
  void lookUp(Value from, Value index, int64_t count);

  KernelBuilder &b;
  GenericOp root;
  unsigned input;
  Value table;
};
} // namespace

/// Computes the results of all bytes, vector by vector.
LogicalResult TableKernel::emitTable() {
  unsigned lanes = b.caps().f32Lanes();
  Type i8 = b.getI8Type();
  table = b.stackBuffer(kCodes);
  SmallVector<Value> args;
  for (auto [i, operand] : llvm::enumerate(root.getInputs())) {
    auto type = cast<RankedTensorType>(operand.getType());
    args.push_back(i == input ? Value()
                              : b.load(getTensorPointer(b, operand),
                                       type.getElementType(), b.idx(0)));
  }
  SmallVector<Value> indices(root.getExtents().size(), b.idx(0));
  bool broken = false;
  b.forLoop(
      b.idx(0), b.idx(kCodes), b.idx(lanes),
      [&](Value first) {
        args[input] = arith::IndexCastOp::create(b, VectorType::get(lanes, i8),
                                                 b.indicesFrom(first, lanes));
        FailureOr<Value> results =
            b.inlineBody(root, args, indices, lanes, /*wholePointer=*/{});
        if (failed(results)) {
          broken = true;
          return;
        }
        Value vector = *results;
        if (!isa<VectorType>(vector.getType()))
          vector = b.splat(vector, lanes);
        b.store(vector, table, i8, first);
      },
      KernelBuilder::LoopHint::NoUnroll);
  return failure(broken);
}

/// Maps `count` elements from `index` on.
void TableKernel::lookUp(Value from, Value index, int64_t count) {
  Type i8 = b.getI8Type();
  SmallVector<Value> found;
  for (int64_t i = 0; i < count; ++i) {
    Value code = b.load(from, i8, b.add(index, b.idx(i)));
    found.push_back(b.load(
        table, i8, arith::IndexCastUIOp::create(b, b.getIndexType(), code)));
  }
  for (auto [i, value] : llvm::enumerate(found))
    b.store(value, b.resultPointer(0), i8, b.add(index, b.idx(int64_t(i))));
}

LogicalResult TableKernel::run() {
  constexpr auto noVector = KernelBuilder::LoopHint::NoVectorize;
  if (failed(emitTable()))
    return failure();
  SmallVector<AffineExpr> extents = root.getExtents();
  Value total = b.size(product(extents, b.getContext())),
        from = getTensorPointer(b, root.getInputs()[input]);
  Value begin = b.mul(b.taskBegin(), b.idx(kTaskElements)),
        end = b.minIdx(b.mul(b.taskEnd(), b.idx(kTaskElements)), total);
  Value count = b.maxIdx(b.sub(end, begin), b.idx(0)),
        whole = b.add(begin,
                      b.mul(b.divFloor(count, b.idx(kUnroll)), b.idx(kUnroll)));
  b.forLoop(
      begin, whole, b.idx(kUnroll),
      [&](Value index) { lookUp(from, index, kUnroll); }, noVector);
  b.forLoop(
      whole, end, b.idx(1), [&](Value index) { lookUp(from, index, 1); },
      KernelBuilder::LoopHint::NoUnroll);
  return success();
}

namespace {
class TableEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "table"; }

  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        llvm::function_ref<bool(unsigned)>) const override {
    FailureOr<LoopNest> nest = getLoopNest(dispatch.getBody().front());
    if (failed(nest) || !findByte(*nest) || !pays(nest->root, levels))
      return std::nullopt;
    AffineExpr total = product(nest->root.getExtents(), dispatch.getContext());
    // Fewer elements than a table has are computed one by one.
    if (std::optional<int64_t> known = getConstantSize(total);
        known && *known < 2 * kCodes)
      return std::nullopt;
    KernelSchedule schedule;
    schedule.params = DictionaryAttr::get(dispatch.getContext());
    schedule.tasks = simplifySize(total.ceilDiv(kTaskElements));
    return schedule;
  }

  LogicalResult emit(KernelBuilder &b) const override {
    FailureOr<LoopNest> nest = getLoopNest(b.kernel().getBody().front());
    if (failed(nest))
      return failure();
    std::optional<unsigned> input = findByte(*nest);
    return input ? TableKernel(b, nest->root, *input).run() : failure();
  }
};
} // namespace

std::unique_ptr<KernelEmitter> qcc::createTableEmitter() {
  return std::make_unique<TableEmitter>();
}
