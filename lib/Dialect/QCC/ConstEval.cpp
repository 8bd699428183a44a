//===- ConstEval.cpp - values of constant expressions -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/ConstEval.h"
#include "ConstDecomposed.h"
#include "RowProgram.h"
#include "ScalarProgram.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;

std::optional<uint64_t> qcc::getTensorBytes(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || !tensor.hasStaticShape())
    return std::nullopt;
  uint64_t bytes = getElementBytes(tensor.getElementType());
  for (int64_t size : tensor.getShape()) {
    bool overflow = false;
    bytes = llvm::SaturatingMultiply(bytes, uint64_t(size), &overflow);
    if (overflow)
      return std::nullopt;
  }
  return bytes;
}

//===----------------------------------------------------------------------===//
// Generics
//===----------------------------------------------------------------------===//

namespace {
/// An operand read through an affine map: offsets are linear in the iteration
/// point where the map is, evaluated per point where it is not.
struct MappedOperand {
  TensorView view;
  AffineMap map;
  bool linear = true;
  int64_t base = 0;
  SmallVector<int64_t> coefficients;

  MappedOperand(TensorView tensor, AffineMap affine)
      : view(std::move(tensor)), map(affine),
        coefficients(affine.getNumDims(), 0) {
    for (auto [i, expr] : llvm::enumerate(map.getResults()))
      linear &= addLinear(expr, view.strides[i]);
  }

  /// Adds `expr * scale` to the coefficients if it is linear.
  bool addLinear(AffineExpr expr, int64_t scale) {
    if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
      base += constant.getValue() * scale;
      return true;
    }
    if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
      coefficients[dim.getPosition()] += scale;
      return true;
    }
    auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
    if (!binary)
      return false;
    if (expr.getKind() == AffineExprKind::Add)
      return addLinear(binary.getLHS(), scale) &&
             addLinear(binary.getRHS(), scale);
    auto factor = dyn_cast<AffineConstantExpr>(binary.getRHS());
    return expr.getKind() == AffineExprKind::Mul && factor &&
           addLinear(binary.getLHS(), scale * factor.getValue());
  }

  /// Element offset at a point; negative if it is outside the tensor.
  int64_t offset(ArrayRef<int64_t> point) const {
    int64_t result = base;
    if (linear) {
      for (auto [coefficient, index] : llvm::zip_equal(coefficients, point))
        result += coefficient * index;
      return result;
    }
    SmallVector<AffineExpr> dims;
    MLIRContext *context = map.getContext();
    for (int64_t index : point)
      dims.push_back(getAffineConstantExpr(index, context));
    result = 0;
    for (auto [i, expr] : llvm::enumerate(map.getResults())) {
      auto value = dyn_cast<AffineConstantExpr>(expr.replaceDims(dims));
      if (!value)
        return -1;
      result += value.getValue() * view.strides[i];
    }
    return result;
  }
};

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
             input.coefficients.back()};
    if (program)
      program->run(rows, count, address);
    else
      copyRow(rows[0].data, rows[0].step, count, bytes, address);
    address += count * bytes;
  } while (advance(MutableArrayRef(point).drop_back(), extents.drop_back()));
  return true;
}

/// True if all elements of a result are one value: there is nothing to read but
/// single elements, and the body does not ask where it is.
static bool isSpread(GenericOp op) {
  if (op.isReduction() || !op.getWhole().empty() ||
      llvm::any_of(op.getInputs(), [](Value input) {
        return getConstantSize(getNumElements(input.getType())) != 1;
      }))
    return false;
  return !op.getBody()
              .walk([](IndexOp) { return WalkResult::interrupt(); })
              .wasInterrupted();
}

static llvm::Error evaluateGeneric(GenericOp op,
                                   ArrayRef<ArrayRef<char>> operands,
                                   MutableArrayRef<char> out) {
  auto program = ScalarProgram::compile(op);
  if (!program)
    return program.takeError();
  SmallVector<MappedOperand> inputs;
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

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

/// Copies a constant's elements; splats are spread, bools take a byte each.
static void copyElements(ElementsAttr attr, MutableArrayRef<char> out) {
  auto type = cast<RankedTensorType>(attr.getType());
  Type element = type.getElementType();
  int64_t bytes = getElementBytes(element);
  auto dense = cast<DenseElementsAttr>(attr);
  ArrayRef<char> raw = dense.getRawData();
  if (element.isInteger(1)) {
    for (auto [i, value] : llvm::enumerate(dense.getValues<bool>()))
      out[i] = value;
  } else if (dense.isSplat()) {
    for (size_t at = 0; at + bytes <= out.size(); at += bytes)
      std::memcpy(out.data() + at, raw.data(), bytes);
  } else {
    llvm::copy(raw.take_front(out.size()), out.begin());
  }
}

/// Joins row-major tensors along an axis.
static void evaluateConcat(ConcatOp op, ArrayRef<ArrayRef<char>> operands,
                           MutableArrayRef<char> out) {
  auto type = cast<RankedTensorType>(op.getResult().getType());
  int64_t bytes = getElementBytes(type.getElementType());
  int64_t outer = 1, inner = bytes;
  for (unsigned i = 0; i < op.getAxis(); ++i)
    outer *= type.getDimSize(i);
  for (unsigned i = op.getAxis() + 1; i < type.getRank(); ++i)
    inner *= type.getDimSize(i);
  int64_t rowBytes = type.getDimSize(op.getAxis()) * inner, at = 0;
  for (auto [i, input] : llvm::enumerate(op.getInputs())) {
    int64_t part =
        cast<RankedTensorType>(input.getType()).getDimSize(op.getAxis()) *
        inner;
    for (int64_t o = 0; o < outer; ++o)
      llvm::copy(operands[i].slice(o * part, part),
                 out.begin() + o * rowBytes + at);
    at += part;
  }
}

namespace {
/// Bytes of a value: borrowed from a file or owned.
struct ValueBytes {
  ArrayRef<char> bytes;
  std::unique_ptr<char[]> owned;
  unsigned uses = 0; ///< operations that still need them
};

/// Evaluates the operations behind one value, operands first.
class Evaluator {
public:
  Evaluator(const ConstSource &source, MutableArrayRef<char> out)
      : source(source), out(out) {}

  llvm::Error run(Value root);

private:
  llvm::Error evaluate(Operation *op, MutableArrayRef<char> target);
  llvm::Error addParameter(ParamOp op);

  const ConstSource &source;
  MutableArrayRef<char> out;
  llvm::DenseMap<Operation *, ValueBytes> done;
};
} // namespace

llvm::Error Evaluator::addParameter(ParamOp op) {
  ArrayRef<char> bytes = source.parameter(op.getKey());
  uint64_t size = getTensorBytes(op.getResult().getType()).value_or(UINT64_MAX);
  if (bytes.size() != size)
    return makeError(Diag::BadTensor, op.getKey(),
                     "expected " + llvm::Twine(size) + " bytes, but got " +
                         llvm::Twine(bytes.size()));
  done[op].bytes = bytes;
  return llvm::Error::success();
}

llvm::Error Evaluator::evaluate(Operation *op, MutableArrayRef<char> target) {
  SmallVector<ArrayRef<char>> operands;
  for (Value operand : op->getOperands())
    operands.push_back(done[operand.getDefiningOp()].bytes);
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    copyElements(constant.getValue(), target);
  } else if (auto generic = dyn_cast<GenericOp>(op)) {
    return evaluateGeneric(generic, operands, target);
  } else if (auto concat = dyn_cast<ConcatOp>(op)) {
    evaluateConcat(concat, operands, target);
  } else if (auto pack = dyn_cast<PackOp>(op)) {
    if (failed(packWeight(operands[0], pack.getWeight().getType(),
                          pack.getLayout(), pack.getNr(), pack.getTransposed(),
                          target)))
      return makeError(Diag::Internal, "",
                       "cannot pack a weight as '" + pack.getLayout() + "'");
  } else if (auto encode = dyn_cast<EncodeOp>(op)) {
    return source.encode(encode, operands, target);
  } else if (isa<ReshapeOp>(op) || isa<ParamOp>(op)) {
    ArrayRef<char> bytes = isa<ParamOp>(op) ? done[op].bytes : operands[0];
    llvm::copy(bytes.take_front(target.size()), target.begin());
  } else {
    return evaluateDecomposed(op, operands, target);
  }
  return llvm::Error::success();
}

/// Operations behind `root` in an order in which operands come first.
static SmallVector<Operation *> getSchedule(Value root) {
  llvm::SetVector<Operation *> order;
  SmallVector<Operation *> stack{root.getDefiningOp()};
  while (!stack.empty()) {
    Operation *op = stack.back();
    size_t before = stack.size();
    for (Value operand : op->getOperands())
      if (!order.contains(operand.getDefiningOp()))
        stack.push_back(operand.getDefiningOp());
    if (stack.size() != before)
      continue;
    order.insert(op);
    stack.pop_back();
  }
  return order.takeVector();
}

/// Evaluations of a body that a constant takes, saturated.
static uint64_t countSteps(Operation *op) {
  uint64_t steps = 1;
  auto generic = dyn_cast<GenericOp>(op);
  // Copies of bytes, and one element to all places, cost little.
  constexpr uint64_t kBytesPerStep = 16, kSpreadPerStep = 64,
                     kCopiesPerStep = 4;
  if (!generic)
    return getTensorBytes(op->getResult(0).getType()).value_or(UINT64_MAX) /
           kBytesPerStep;
  for (AffineExpr extent : generic.getExtents())
    steps = llvm::SaturatingMultiply(
        steps, static_cast<uint64_t>(
                   std::max<int64_t>(getConstantSize(extent).value_or(0), 0)));
  return isSpread(generic)  ? steps / kSpreadPerStep
         : generic.isCopy() ? steps / kCopiesPerStep
                            : steps;
}

llvm::Error qcc::checkConstantCost(ValueRange values) {
  constexpr uint64_t kFreeBytes = uint64_t(1) << 30, kBytesPerByte = 8;
  constexpr uint64_t kFreeSteps = uint64_t(1) << 26, kStepsPerElement = 32;
  llvm::DenseSet<Operation *> parameters;
  uint64_t given = 0, elements = 0, bytes = 0, steps = 0, largest = 0;
  Operation *worst = nullptr;
  auto add = [](uint64_t &sum, uint64_t more) {
    sum = llvm::SaturatingAdd(sum, more);
  };
  for (Value root : values) {
    for (Operation *op : getSchedule(root)) {
      uint64_t size =
          getTensorBytes(op->getResult(0).getType()).value_or(UINT64_MAX);
      bool isNew = isa<ParamOp>(op) && parameters.insert(op).second;
      if (isNew) {
        add(given, size);
        add(elements,
            getConstantSize(getNumElements(op->getResult(0).getType()))
                .value_or(0));
      }
      if (isa<ParamOp, ReshapeOp>(op))
        continue;
      add(steps, countSteps(op));
      if (size > largest || !worst) {
        largest = size;
        worst = op;
      }
    }
    add(bytes, getTensorBytes(root.getType()).value_or(UINT64_MAX));
  }
  if (!worst)
    return llvm::Error::success();
  std::string where = ("node '" + getNodeName(worst->getLoc()) + "'").str();
  uint64_t maxBytes =
               llvm::SaturatingMultiplyAdd(given, kBytesPerByte, kFreeBytes),
           maxSteps = llvm::SaturatingMultiplyAdd(elements, kStepsPerElement,
                                                  kFreeSteps);
  if (std::max(bytes, largest) > maxBytes)
    return makeError(Diag::LimitReached, where,
                     "expected constants of at most " + llvm::Twine(maxBytes) +
                         " bytes, from " + llvm::Twine(given) +
                         " of weights, but they take " +
                         llvm::Twine(std::max(bytes, largest)));
  if (steps > maxSteps)
    return makeError(Diag::LimitReached, where,
                     "expected constants that take at most " +
                         llvm::Twine(maxSteps) + " steps, but they take " +
                         llvm::Twine(steps));
  return llvm::Error::success();
}

llvm::Error Evaluator::run(Value root) {
  SmallVector<Operation *> order = getSchedule(root);
  for (Operation *op : order)
    for (Value operand : op->getOperands())
      ++done[operand.getDefiningOp()].uses;
  for (Operation *op : order) {
    if (auto param = dyn_cast<ParamOp>(op))
      if (llvm::Error error = addParameter(param))
        return error;
    bool last = op == order.back();
    if (last) {
      if (llvm::Error error = evaluate(op, out))
        return error;
    } else if (isa<ReshapeOp>(op)) {
      // A view: it shares the bytes, so its operand must outlive it.
      ValueBytes &operand = done[op->getOperand(0).getDefiningOp()];
      ArrayRef<char> bytes = operand.bytes;
      ++operand.uses;
      done[op].bytes = bytes;
    } else if (!isa<ParamOp>(op)) {
      std::optional<uint64_t> size = getTensorBytes(op->getResult(0).getType());
      if (!size)
        return makeError(Diag::LimitReached, "", "a constant is too large");
      ValueBytes &slot = done[op];
      slot.owned.reset(new char[*size]);
      MutableArrayRef<char> target(slot.owned.get(), *size);
      slot.bytes = target;
      if (llvm::Error error = evaluate(op, target))
        return error;
    }
    for (Value operand : op->getOperands())
      if (ValueBytes &used = done[operand.getDefiningOp()]; --used.uses == 0)
        used.owned.reset();
  }
  return llvm::Error::success();
}

llvm::Error qcc::evaluateConstant(Value value, const ConstSource &source,
                                  MutableArrayRef<char> out) {
  return Evaluator(source, out).run(value);
}

DenseElementsAttr qcc::foldSmallConstant(Operation *op, int64_t maxElements) {
  if (!isa<GenericOp, ReshapeOp, ConcatOp>(op))
    return {};
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  if (!type.hasStaticShape() || type.getNumElements() > maxElements ||
      countSteps(op) > (1 << 20) || !isConstantExpression(op->getResult(0)))
    return {};
  for (Value operand : op->getOperands())
    if (!operand.getDefiningOp<ConstantOp>())
      return {};
  SmallVector<char> bytes(getTensorBytes(type).value_or(0));
  ConstSource source;
  source.parameter = [](StringRef) { return ArrayRef<char>(); };
  if (llvm::Error error = evaluateConstant(op->getResult(0), source, bytes)) {
    llvm::consumeError(std::move(error));
    return {};
  }
  if (!type.getElementType().isInteger(1))
    return DenseElementsAttr::getFromRawBuffer(type, bytes);
  SmallVector<bool> bits;
  for (char byte : bytes)
    bits.push_back(byte != 0);
  return DenseElementsAttr::get(type, bits);
}
