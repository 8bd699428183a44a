//===- Sequences.cpp - lists of tensors while importing ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Sequences.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {

static constexpr StringLiteral kStackAttr = "qcc.stack",
                               kCarriedAttr = "qcc.carried";

bool isSequence(Value value) {
  return value && isa<TupleType>(value.getType());
}

Sequence getSequence(Value value) {
  auto op = value.getDefiningOp<UnrealizedConversionCastOp>();
  Sequence sequence;
  llvm::append_range(sequence.elements, op.getInputs());
  if (op->hasAttr(kStackAttr))
    sequence.stack = sequence.elements.pop_back_val();
  if (auto carried = op->getAttrOfType<IntegerAttr>(kCarriedAttr))
    sequence.carried = carried.getInt();
  return sequence;
}

Value makeSequence(Emitter &emitter, const Sequence &sequence) {
  if (sequence.elements.size() > kMaxSequence) {
    (void)emitter.refuse(Diag::LimitReached, "expected sequences of at most " +
                                                 Twine(kMaxSequence) +
                                                 " tensors");
    return {};
  }
  SmallVector<Value> parts(sequence.elements);
  if (sequence.stack)
    parts.push_back(sequence.stack);
  auto type = TupleType::get(emitter.b.getContext(),
                             llvm::to_vector(ValueRange(parts).getTypes()));
  auto op = UnrealizedConversionCastOp::create(emitter.b, type, parts);
  if (sequence.stack)
    op->setAttr(kStackAttr, emitter.b.getUnitAttr());
  if (sequence.carried)
    op->setAttr(kCarriedAttr, emitter.b.getI64IntegerAttr(*sequence.carried));
  return op.getResult(0);
}

bool takesSequence(StringRef op, unsigned i) {
  static constexpr StringLiteral kOps[] = {
      "ConcatFromSequence", "Identity",       "SequenceAt",
      "SequenceErase",      "SequenceInsert", "SequenceLength"};
  if (op == "Loop") // a trip count and a condition, then carried values
    return i >= 2;
  return i == 0 && llvm::is_contained(kOps, op);
}

SmallVector<Value> CarriedSequences::getTensors() const {
  SmallVector<Value> tensors;
  llvm::copy_if(init, std::back_inserter(tensors),
                [](Value value) { return !isSequence(value); });
  return tensors;
}

void CarriedSequences::addArguments(Emitter &emitter, ArrayRef<Value> tensors,
                                    SmallVectorImpl<Value> &arguments) const {
  for (auto [i, value] : llvm::enumerate(init)) {
    if (isSequence(value)) {
      Sequence carried;
      carried.carried = static_cast<int64_t>(i);
      arguments.push_back(makeSequence(emitter, carried));
      continue;
    }
    arguments.push_back(tensors.front());
    tensors = tensors.drop_front();
  }
}

LogicalResult CarriedSequences::takeResults(SmallVectorImpl<Value> &results) {
  SmallVector<Value> kept = {results[0]}, stacked;
  appended.clear();
  for (auto [i, value] : llvm::enumerate(ArrayRef(results).drop_front())) {
    if (i >= init.size() || !isSequence(init[i])) {
      kept.push_back(value);
      continue;
    }
    Sequence sequence = isSequence(value) ? getSequence(value) : Sequence();
    if (sequence.carried != static_cast<int64_t>(i) || sequence.stack ||
        sequence.elements.size() > 1)
      return node.refuse(Diag::UnsupportedForm,
                         "expected a body that appends at most one tensor to "
                         "a sequence that the loop carries");
    if (sequence.elements.empty())
      continue;
    appended.insert(i);
    stacked.push_back(sequence.elements[0]);
  }
  kept.append(stacked);
  results.assign(kept.begin(), kept.end());
  return success();
}

LogicalResult CarriedSequences::setOutputs(ArrayRef<Value> results) {
  ArrayRef<Value> stacks = results.take_back(appended.size());
  results = results.drop_back(appended.size());
  unsigned output = 0;
  for (auto [i, value] : llvm::enumerate(init)) {
    Value next = value;
    if (!isSequence(value)) {
      next = results.front();
      results = results.drop_front();
    } else if (appended.contains(i)) {
      Sequence sequence = getSequence(value);
      Value stack = stacks.front();
      stacks = stacks.drop_front();
      sequence.stack =
          sequence.stack ? node.concat({sequence.stack, stack}, 0) : stack;
      next = sequence.stack ? makeSequence(node, sequence) : Value();
    }
    if (failed(node.set(output++, next)))
      return failure();
  }
  for (Value stack : results)
    if (failed(node.set(output++, stack)))
      return failure();
  return success();
}

namespace {

/// Input 0 as a sequence; none with a problem recorded if it is a tensor.
std::optional<Sequence> readSequence(NodeContext &node) {
  if (isSequence(node.in(0)))
    return getSequence(node.in(0));
  (void)node.refuse(Diag::BadGraph,
                    "expected a sequence as input 0, but got a tensor");
  return std::nullopt;
}

/// The same where all that is in it has to be known.
std::optional<Sequence> readWholeSequence(NodeContext &node) {
  std::optional<Sequence> sequence = readSequence(node);
  if (!sequence || !sequence->carried)
    return sequence;
  (void)node.refuse(Diag::UnsupportedForm,
                    "sequences that a loop carries are not supported but for "
                    "appending to them");
  return std::nullopt;
}

/// A constant position from 0 to `last`, negative ones counting from `count`.
std::optional<int64_t> readPosition(NodeContext &node, unsigned input,
                                    int64_t count, int64_t last) {
  std::optional<SmallVector<int64_t>> at = node.getInts(input);
  if (!at || at->size() != 1) {
    (void)node.refuseDynamic(input, "the position");
    return std::nullopt;
  }
  int64_t position = (*at)[0] < 0 ? (*at)[0] + count : (*at)[0];
  if (position >= 0 && position <= last)
    return position;
  (void)node.refuse(Diag::BadShape, "expected a position from " +
                                        Twine(-count) + " to " + Twine(last) +
                                        ", but got " + Twine((*at)[0]));
  return std::nullopt;
}

LogicalResult refuseStack(NodeContext &node) {
  return node.refuse(Diag::UnsupportedForm,
                     "expected a sequence whose length is known, but a loop "
                     "appends to it");
}

LogicalResult convertSequenceEmpty(NodeContext &node) {
  return node.set(0, makeSequence(node, {}));
}

LogicalResult convertSequenceConstruct(NodeContext &node) {
  if (!node.requireSameTypes())
    return failure();
  return node.set(
      0, makeSequence(node, {SmallVector<Value>(node.getInputs()), {}, {}}));
}

LogicalResult convertSequenceInsert(NodeContext &node) {
  std::optional<Sequence> sequence = readSequence(node);
  if (!sequence)
    return failure();
  for (Value element : sequence->elements)
    if (node.elem(element) != node.inElem(1))
      return node.refuse(Diag::BadShape,
                         "expected tensors of one element type");
  auto count = static_cast<int64_t>(sequence->elements.size());
  int64_t position = count;
  if (sequence->stack)
    return refuseStack(node);
  if (node.has(2)) {
    if (sequence->carried)
      return node.refuse(Diag::UnsupportedForm,
                         "sequences that a loop carries are not supported but "
                         "for appending to them");
    std::optional<int64_t> at = readPosition(node, 2, count, count);
    if (!at)
      return failure();
    position = *at;
  }
  sequence->elements.insert(sequence->elements.begin() + position, node.in(1));
  return node.set(0, makeSequence(node, *sequence));
}

LogicalResult convertSequenceErase(NodeContext &node) {
  std::optional<Sequence> sequence = readWholeSequence(node);
  if (!sequence)
    return failure();
  if (sequence->stack)
    return refuseStack(node);
  auto count = static_cast<int64_t>(sequence->elements.size());
  int64_t position = count - 1;
  if (node.has(1) || !count) {
    std::optional<int64_t> at = readPosition(node, 1, count, count - 1);
    if (!at)
      return failure();
    position = *at;
  }
  sequence->elements.erase(sequence->elements.begin() + position);
  return node.set(0, makeSequence(node, *sequence));
}

/// All tensors as `[count, ...]`; they have to have one shape.
Value stackAll(NodeContext &node, const Sequence &sequence) {
  SmallVector<Value> parts;
  for (Value element : sequence.elements) {
    Dims dims = node.dims(element);
    dims.insert(dims.begin(), node.size(1));
    parts.push_back(node.reshape(element, dims));
  }
  if (sequence.stack)
    parts.push_back(sequence.stack);
  if (parts.empty()) {
    (void)node.refuse(Diag::BadShape, "expected a sequence that is not empty");
    return {};
  }
  return parts.size() == 1 ? parts[0] : node.concat(parts, 0);
}

LogicalResult convertSequenceAt(NodeContext &node) {
  std::optional<Sequence> sequence = readWholeSequence(node);
  if (!sequence)
    return failure();
  auto count = static_cast<int64_t>(sequence->elements.size());
  std::optional<SmallVector<int64_t>> known = node.getInts(1);
  if (!sequence->stack && known) {
    std::optional<int64_t> at = readPosition(node, 1, count, count - 1);
    return at ? node.set(0, sequence->elements[*at]) : failure();
  }
  std::optional<AffineExpr> at = node.getScalarSize(1, "the position");
  Value stack = at ? stackAll(node, *sequence) : Value();
  if (!stack)
    return failure();
  Dims dims = node.dims(stack);
  // Positions from the end are read at their places if they are known.
  if (known && (*known)[0] < 0)
    at = simplifyDim(dims[0] + (*known)[0]);
  if (!node.requireAtLeast(simplifyDim(dims[0] - *at), node.size(1),
                           "the length and the position") ||
      !node.requireAtLeast(*at, node.size(0), "the position"))
    return failure();
  dims.erase(dims.begin());
  return node.set(0,
                  node.reshape(node.slice(stack, 0, *at, node.size(1)), dims));
}

LogicalResult convertSequenceLength(NodeContext &node) {
  std::optional<Sequence> sequence = readWholeSequence(node);
  if (!sequence)
    return failure();
  AffineExpr count = node.size(static_cast<int64_t>(sequence->elements.size()));
  if (sequence->stack)
    count = simplifyDim(count + node.dims(sequence->stack)[0]);
  ShapeElements length = {{count}};
  Value value = node.materialize(length, RankedTensorType::get({}, node.i64()));
  if (value)
    node.shapes.set(value, length);
  return node.set(0, value);
}

/// A stack `[n, ...]` with its elements one behind the other along an axis.
Value joinStack(NodeContext &node, Value stack, int64_t axis) {
  Dims dims = node.dims(stack), joined(dims.begin() + 1, dims.end());
  AffineExpr size = mulDims(dims[0], joined[axis]);
  if (!size) {
    (void)node.refuse(Diag::LimitReached,
                      "expected sizes of at most 2^40, but got more");
    return {};
  }
  joined[axis] = size;
  SmallVector<int64_t> order =
      llvm::to_vector(llvm::seq<int64_t>(1, node.rank(stack)));
  order.insert(order.begin() + axis, 0);
  return node.reshape(node.transpose(stack, order), joined);
}

LogicalResult convertConcatFromSequence(NodeContext &node) {
  std::optional<Sequence> sequence = readWholeSequence(node);
  if (!sequence)
    return failure();
  bool isNew = node.attrInt("new_axis", 0) != 0;
  if (isNew) {
    Value stack = stackAll(node, *sequence);
    std::optional<int64_t> axis =
        stack ? node.normalizeAxis(node.attrInt("axis", 0), node.rank(stack))
              : std::nullopt;
    if (!axis)
      return failure();
    SmallVector<int64_t> order =
        llvm::to_vector(llvm::seq<int64_t>(1, node.rank(stack)));
    order.insert(order.begin() + *axis, 0);
    return node.set(0, *axis ? node.transpose(stack, order) : stack);
  }
  if (sequence->elements.empty() && !sequence->stack)
    return node.refuse(Diag::BadShape, "expected a sequence that is not empty");
  int64_t rank = sequence->elements.empty() ? node.rank(sequence->stack) - 1
                                            : node.rank(sequence->elements[0]);
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), rank);
  if (!axis)
    return failure();
  SmallVector<Value> parts(sequence->elements);
  if (sequence->stack)
    parts.push_back(joinStack(node, sequence->stack, *axis));
  if (!parts.back())
    return failure();
  return node.set(0, parts.size() == 1 ? parts[0] : node.concat(parts, *axis));
}

/// The sizes of parts of an axis: a list of them, one size (the last part may
/// be smaller), or 1 where input 1 is left out.
std::optional<SmallVector<int64_t>> readParts(NodeContext &node, int64_t size) {
  std::optional<SmallVector<int64_t>> given =
      node.has(1) ? node.getInts(1) : SmallVector<int64_t>{1};
  if (!given) {
    (void)node.refuseDynamic(1, "the sizes of parts");
    return std::nullopt;
  }
  bool isList = node.has(1) && node.inRank(1) == 1;
  int64_t total = 0;
  for (int64_t part : *given)
    total = part >= 0 && total >= 0 && part <= size - total ? total + part : -1;
  if (isList ? total != size : given->size() != 1 || (*given)[0] < 1) {
    (void)node.refuse(Diag::BadShape, "expected parts that make up " +
                                          Twine(size) + " elements");
    return std::nullopt;
  }
  if (isList)
    return given;
  SmallVector<int64_t> parts;
  for (int64_t at = 0; at < size && parts.size() <= kMaxSequence;
       at += parts.back())
    parts.push_back(std::min((*given)[0], size - at));
  return parts;
}

LogicalResult convertSplitToSequence(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
  if (!axis)
    return failure();
  bool drops = !node.has(1) && node.attrInt("keepdims", 1) == 0;
  Dims dims = node.inDims(0);
  Sequence sequence;
  std::optional<int64_t> size = getConstantSize(dims[*axis]);
  if (!size) {
    if (node.has(1))
      return node.refuse(Diag::UnsupportedShape,
                         "parts of an axis need its size: fix it with "
                         "--dim=NAME=VALUE");
    SmallVector<int64_t> order =
        llvm::to_vector(llvm::seq<int64_t>(0, node.inRank(0)));
    order.erase(order.begin() + *axis);
    order.insert(order.begin(), *axis);
    sequence.stack = *axis ? node.transpose(node.in(0), order) : node.in(0);
    if (sequence.stack && !drops) {
      Dims kept = node.dims(sequence.stack);
      kept.insert(kept.begin() + 1 + *axis, node.size(1));
      sequence.stack = node.reshape(sequence.stack, kept);
    }
    return sequence.stack ? node.set(0, makeSequence(node, sequence))
                          : failure();
  }
  std::optional<SmallVector<int64_t>> parts = readParts(node, *size);
  if (!parts)
    return failure();
  int64_t at = 0;
  for (int64_t part : *parts) {
    Value element =
        node.slice(node.in(0), *axis, node.size(at), node.size(part));
    at += part;
    if (drops && element) {
      Dims rest = node.dims(element);
      rest.erase(rest.begin() + *axis);
      element = node.reshape(element, rest);
    }
    if (!element)
      return failure();
    sequence.elements.push_back(element);
  }
  return node.set(0, makeSequence(node, sequence));
}

} // namespace

void registerSequences(Registry &registry) {
  constexpr StringLiteral known = "lengths and positions in lists that only "
                                  "data tells";
  registry.add(
      kOnnxDomain,
      {
          {"ConcatFromSequence", 11, 1, 1, convertConcatFromSequence},
          {"SequenceAt", 11, 2, 2, convertSequenceAt},
          {"SequenceConstruct", 11, 1, kAnyNumber, convertSequenceConstruct},
          {"SequenceEmpty", 11, 0, 0, convertSequenceEmpty},
          {"SequenceErase", 11, 1, 2, convertSequenceErase, known},
          {"SequenceInsert", 11, 2, 3, convertSequenceInsert, known},
          {"SequenceLength", 11, 1, 1, convertSequenceLength},
          {"SplitToSequence", 11, 1, 2, convertSplitToSequence,
           "sizes of parts that only data tells"},
      });
}

} // namespace qcc::onnx_import
