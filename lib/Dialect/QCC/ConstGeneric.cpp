//===- ConstGeneric.cpp - values of generics --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ConstGeneric.h"
#include "MappedOperand.h"
#include "RowProgram.h"
#include "ScalarProgram.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
/// Running value of a reduction.
class Accumulator {
public:
  Accumulator(Combiner combiner, Type type)
      : combiner(combiner), type(type),
        isFloat(isa<FloatType>(getScalarType(type))),
        isUnsigned(type.isUnsignedInteger()) {}

  Scalar neutral() const {
    Scalar s;
    s.i = 0;
    bool top = combiner == Combiner::Min, bottom = combiner == Combiner::Max;
    if (isFloat) {
      double value = top      ? INFINITY
                     : bottom ? -INFINITY
                              : combiner == Combiner::Prod;
      if (type.isF64())
        s.d = value;
      else
        s.f = float(value);
      return s;
    }
    unsigned bits = type.getIntOrFloatBitWidth();
    if (combiner == Combiner::Prod)
      s.i = 1;
    else if (combiner == Combiner::And)
      s.i = -1;
    else if (bottom)
      s.i = isUnsigned ? 0 : llvm::minIntN(bits);
    else if (top)
      s.i = isUnsigned ? -1 : llvm::maxIntN(bits);
    return s;
  }

  Scalar combine(Scalar a, Scalar b) const {
    if (!isFloat)
      return combineIntegers(a, b);
    Scalar r;
    r.i = 0;
    if (type.isF64())
      r.d = combineFloats(a.d, b.d);
    else
      r.f = combineFloats(a.f, b.f);
    return r;
  }

private:
  template <typename T> T combineFloats(T a, T b) const {
    if (combiner == Combiner::Sum)
      return a + b;
    if (combiner == Combiner::Prod)
      return a * b;
    if (std::isnan(a) || std::isnan(b))
      return a + b;
    return combiner == Combiner::Max ? std::fmax(a, b) : std::fmin(a, b);
  }
  Scalar combineIntegers(Scalar a, Scalar b) const {
    unsigned bits = type.getIntOrFloatBitWidth();
    uint64_t x = a.i, y = b.i, r = 0;
    bool less = isUnsigned ? x < y : a.i < b.i;
    switch (combiner) {
    case Combiner::Sum:
      r = x + y;
      break;
    case Combiner::Prod:
      r = x * y;
      break;
    case Combiner::Max:
      r = less ? y : x;
      break;
    case Combiner::Min:
      r = less ? x : y;
      break;
    case Combiner::And:
      r = x & y;
      break;
    default:
      r = x | y;
      break;
    }
    Scalar s;
    s.i = llvm::SignExtend64(r, bits);
    return s;
  }

  Combiner combiner;
  Type type;
  bool isFloat, isUnsigned;
};

/// Counts an iteration point up from the last dimension; false at the end.
bool advance(MutableArrayRef<int64_t> point, ArrayRef<int64_t> extents) {
  for (size_t i = point.size(); i-- > 0;) {
    if (++point[i] < extents[i])
      return true;
    point[i] = 0;
  }
  return false;
}
} // namespace

/// Evaluates row by row what can be: movement and a few operations on f32, of
/// operands read by linear maps. False, with nothing written, for the others.
static bool evaluateRows(GenericOp op, ArrayRef<MappedOperand> inputs,
                         ArrayRef<int64_t> extents, MutableArrayRef<char> out) {
  if (extents.empty() ||
      !llvm::all_of(inputs, [](const auto &input) { return input.linear; }))
    return false;
  Type element = op.getResult().getType().getElementType();
  int64_t bytes = getElementBytes(element), count = extents.back();
  // Narrower elements are extended when they are stored.
  bool moves = op.isCopy() && element.isIntOrFloat() &&
               int64_t(element.getIntOrFloatBitWidth()) == 8 * bytes &&
               inputs[0].view.elementType == element;
  std::optional<RowProgram> program =
      moves ? std::nullopt : RowProgram::compile(op);
  if (!moves && !program)
    return false;
  SmallVector<int64_t> point(extents.size(), 0);
  SmallVector<RowOperand> rows(inputs.size());
  char *address = out.data();
  do {
    for (auto [row, input] : llvm::zip_equal(rows, inputs))
      row = {input.view.data + input.offset(point) * input.view.elementBytes,
             input.index.coefficients.back()};
    if (program)
      program->run(rows, count, address);
    else
      copyRow(rows[0].data, rows[0].step, count, bytes, address);
    address += count * bytes;
  } while (advance(MutableArrayRef(point).drop_back(), extents.drop_back()));
  return true;
}

/// Evaluates many elements at once where the body allows it; false for one that
/// branches, reads tensors or reduces.
static bool evaluateBatches(GenericOp op, ScalarProgram &program,
                            ArrayRef<MappedOperand> inputs,
                            ArrayRef<int64_t> extents,
                            MutableArrayRef<char> out) {
  if (op.isReduction() || !program.isStraight())
    return false;
  Type element = op.getResult().getType().getElementType();
  int64_t bytes = getElementBytes(element), left = int64_t(out.size()) / bytes;
  std::vector<ScalarProgram::Batch> scalars(inputs.size()),
      points(extents.size());
  std::array<const char *, ScalarProgram::kBatch> addresses;
  SmallVector<int64_t> point(extents.size(), 0), first;
  char *address = out.data();
  while (left > 0) {
    int64_t count = std::min(left, ScalarProgram::kBatch);
    first = point;
    for (int64_t i = 0; i < count; ++i) {
      for (auto [indices, index] : llvm::zip_equal(points, point))
        indices[size_t(i)].i = index;
      advance(point, extents);
    }
    SmallVector<int64_t> at;
    for (auto [batch, input] : llvm::zip_equal(scalars, inputs)) {
      at = first;
      for (int64_t i = 0; i < count; ++i) {
        addresses[size_t(i)] =
            input.view.data + input.offset(at) * input.view.elementBytes;
        advance(at, extents);
      }
      loadScalars(ArrayRef(addresses).take_front(size_t(count)),
                  input.view.elementType, batch.data());
    }
    const ScalarProgram::Batch &results =
        program.runBatch(scalars, points, count);
    storeScalars(address, element, ArrayRef(results).take_front(size_t(count)));
    address += count * bytes;
    left -= count;
  }
  return true;
}

bool qcc::isSpread(GenericOp op) {
  if (op.isReduction() || !op.getWhole().empty() ||
      llvm::any_of(op.getInputs(), [](Value input) {
        return getConstantSize(getNumElements(input.getType())) != 1;
      }))
    return false;
  return !op.getBody()
              .walk([](IndexOp) { return WalkResult::interrupt(); })
              .wasInterrupted();
}

llvm::Error qcc::evaluateGeneric(GenericOp op,
                                 ArrayRef<ArrayRef<char>> operands,
                                 MutableArrayRef<char> out) {
  auto program = ScalarProgram::compile(op);
  if (!program)
    return program.takeError();
  std::vector<MappedOperand> inputs;
  SmallVector<TensorView> whole;
  unsigned numInputs = op.getInputs().size();
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    TensorView view(operands[i].data(),
                    cast<RankedTensorType>(operand.getType()));
    if (i < numInputs)
      inputs.emplace_back(view, op.getMap(i));
    else
      whole.push_back(view);
  }
  SmallVector<int64_t> extents;
  for (AffineExpr extent : op.getExtents())
    extents.push_back(getConstantSize(extent).value_or(0));
  unsigned parallel = op.getNumParallel();
  ArrayRef<int64_t> outer = ArrayRef(extents).take_front(parallel);
  ArrayRef<int64_t> inner = ArrayRef(extents).drop_front(parallel);
  Type element = op.getResult().getType().getElementType();
  int64_t bytes = getElementBytes(element);
  if (out.empty())
    return llvm::Error::success();
  Accumulator accumulator(op.getCombiner(), element);
  bool reduces = op.isReduction(), nothing = llvm::is_contained(inner, 0);

  SmallVector<int64_t> point(extents.size(), 0);
  SmallVector<Scalar> scalars(numInputs);
  auto runAt = [&](Scalar &value) {
    for (auto [scalar, input] : llvm::zip_equal(scalars, inputs))
      scalar = loadScalar(input.view.data +
                              input.offset(point) * input.view.elementBytes,
                          input.view.elementType);
    return program->run(scalars, whole, point, value);
  };
  char *address = out.data();
  if (isSpread(op)) {
    Scalar value;
    if (!runAt(value))
      return makeError(Diag::Internal, "",
                       "a constant expression reads outside a tensor");
    for (; address != out.end(); address += bytes)
      storeScalar(address, element, value);
    return llvm::Error::success();
  }
  if (!reduces && evaluateRows(op, inputs, extents, out))
    return llvm::Error::success();
  // Movement needs no program.
  if (op.isCopy()) {
    const TensorView &view = inputs[0].view;
    do {
      Scalar value =
          loadScalar(view.data + inputs[0].offset(point) * view.elementBytes,
                     view.elementType);
      storeScalar(address, element, value);
      address += bytes;
    } while (advance(point, outer));
    return llvm::Error::success();
  }
  if (evaluateBatches(op, *program, inputs, extents, out))
    return llvm::Error::success();
  do {
    Scalar result = reduces ? accumulator.neutral() : Scalar{};
    bool more = !nothing;
    while (more) {
      Scalar value;
      if (!runAt(value))
        return makeError(Diag::Internal, "",
                         "a constant expression reads outside a tensor");
      result = reduces ? accumulator.combine(result, value) : value;
      more = reduces &&
             advance(MutableArrayRef(point).drop_front(parallel), inner);
    }
    storeScalar(address, element, result);
    address += bytes;
  } while (advance(MutableArrayRef(point).take_front(parallel), outer));
  return llvm::Error::success();
}
