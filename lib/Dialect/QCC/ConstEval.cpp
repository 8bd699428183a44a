//===- ConstEval.cpp - values of constant expressions -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/ConstEval.h"
#include "ConstDecomposed.h"
#include "ConstGeneric.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"
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
