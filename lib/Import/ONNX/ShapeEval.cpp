//===- ShapeEval.cpp - computes with shapes while importing -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ShapeEval.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <numeric>

using namespace mlir;

namespace qcc::onnx_import {
namespace {

using Element = std::optional<ShapeElement>;
using BinaryFn = Element (*)(const ShapeElement &, const ShapeElement &,
                             bool isFloat);

Element makeElement(AffineExpr numerator, int64_t denominator = 1) {
  if (!numerator || denominator <= 0 || denominator > (1 << 20))
    return std::nullopt;
  return ShapeElement{numerator, denominator};
}

AffineExpr constantLike(const ShapeElement &x, int64_t value) {
  return getAffineConstantExpr(value, x.numerator.getContext());
}

Element addElements(const ShapeElement &x, const ShapeElement &y, bool) {
  AffineExpr a = mulDims(x.numerator, constantLike(x, y.denominator));
  AffineExpr b = mulDims(y.numerator, constantLike(x, x.denominator));
  if (!a || !b)
    return std::nullopt;
  AffineExpr sum = addDims(a, b);
  if (x.denominator == 1 && y.denominator == 1)
    return makeElement(sum);
  return sum ? makeElement(sum, x.denominator * y.denominator) : std::nullopt;
}

Element subElements(const ShapeElement &x, const ShapeElement &y,
                    bool isFloat) {
  AffineExpr negated = mulDims(y.numerator, constantLike(y, -1));
  return negated ? addElements(x, {negated, y.denominator}, isFloat)
                 : std::nullopt;
}

Element mulElements(const ShapeElement &x, const ShapeElement &y, bool) {
  AffineExpr numerator = mulDims(x.numerator, y.numerator);
  int64_t denominator = x.denominator * y.denominator;
  if (!numerator || denominator == 1)
    return makeElement(numerator);
  // Whole multiples are kept as integers: floor of them is themselves.
  int64_t common = std::gcd(numerator.getLargestKnownDivisor(), denominator);
  return common > 1 ? makeElement(simplifyDim(numerator.floorDiv(common)),
                                  denominator / common)
                    : makeElement(numerator, denominator);
}

Element divElements(const ShapeElement &x, const ShapeElement &y,
                    bool isFloat) {
  std::optional<int64_t> divisor = getConstantSize(y.numerator);
  if (isFloat) {
    if (!divisor || *divisor <= 0)
      return std::nullopt;
    Element scaled = mulElements(x, {constantLike(y, y.denominator)}, isFloat);
    return scaled
               ? mulElements(*scaled, {constantLike(y, 1), *divisor}, isFloat)
               : std::nullopt;
  }
  if (std::optional<int64_t> value = getConstantSize(x.numerator);
      value && divisor)
    return *divisor == 0 || *divisor == -1
               ? std::nullopt
               : makeElement(constantLike(x, *value / *divisor));
  if (!isNonNegative(x.numerator))
    return std::nullopt;
  std::optional<AffineExpr> quotient = divideDims(x.numerator, y.numerator);
  return quotient ? makeElement(*quotient) : std::nullopt;
}

Element modElements(const ShapeElement &x, const ShapeElement &y,
                    bool isFloat) {
  std::optional<int64_t> divisor = getConstantSize(y.numerator);
  if (isFloat || !divisor || *divisor <= 0 || !isNonNegative(x.numerator))
    return std::nullopt;
  return makeElement(simplifyDim(x.numerator % *divisor));
}

/// Comparison of constants, or of expressions whose difference has a known
/// sign.
template <typename Compare>
Element compareElements(const ShapeElement &x, const ShapeElement &y,
                        Compare compare) {
  Element difference = subElements(x, y, false);
  if (!difference)
    return std::nullopt;
  if (std::optional<int64_t> value = getConstantSize(difference->numerator))
    return makeElement(constantLike(x, compare(*value)));
  // A size is larger than any negative number.
  std::optional<int64_t> other = getConstantSize(y.numerator);
  if (other && *other < 0 && isNonNegative(x.numerator))
    return makeElement(constantLike(x, compare(1)));
  return std::nullopt;
}
Element equalElements(const ShapeElement &x, const ShapeElement &y, bool) {
  return compareElements(x, y, [](int64_t d) { return d == 0; });
}
Element lessElements(const ShapeElement &x, const ShapeElement &y, bool) {
  return compareElements(x, y, [](int64_t d) { return d < 0; });
}
Element lessOrEqualElements(const ShapeElement &x, const ShapeElement &y,
                            bool) {
  return compareElements(x, y, [](int64_t d) { return d <= 0; });
}
Element greaterElements(const ShapeElement &x, const ShapeElement &y, bool) {
  return compareElements(x, y, [](int64_t d) { return d > 0; });
}
Element greaterOrEqualElements(const ShapeElement &x, const ShapeElement &y,
                               bool) {
  return compareElements(x, y, [](int64_t d) { return d >= 0; });
}
Element maxElements(const ShapeElement &x, const ShapeElement &y,
                    bool isFloat) {
  Element less = lessElements(x, y, isFloat);
  return less ? makeElement(less->getInteger() == 1 ? y.numerator : x.numerator,
                            less->getInteger() == 1 ? y.denominator
                                                    : x.denominator)
              : std::nullopt;
}
Element minElements(const ShapeElement &x, const ShapeElement &y,
                    bool isFloat) {
  Element less = lessElements(x, y, isFloat);
  return less ? makeElement(less->getInteger() == 1 ? x.numerator : y.numerator,
                            less->getInteger() == 1 ? x.denominator
                                                    : y.denominator)
              : std::nullopt;
}
Element andElements(const ShapeElement &x, const ShapeElement &y, bool) {
  std::optional<int64_t> a = x.getInteger(), b = y.getInteger();
  return a && b ? makeElement(constantLike(x, *a & *b)) : std::nullopt;
}
Element orElements(const ShapeElement &x, const ShapeElement &y, bool) {
  std::optional<int64_t> a = x.getInteger(), b = y.getInteger();
  return a && b ? makeElement(constantLike(x, *a | *b)) : std::nullopt;
}

BinaryFn findBinary(StringRef op) {
  return llvm::StringSwitch<BinaryFn>(op)
      .Case("Add", addElements)
      .Case("Sum", addElements)
      .Case("Sub", subElements)
      .Case("Mul", mulElements)
      .Case("Div", divElements)
      .Case("Mod", modElements)
      .Case("Max", maxElements)
      .Case("Min", minElements)
      .Case("Equal", equalElements)
      .Case("Less", lessElements)
      .Case("LessOrEqual", lessOrEqualElements)
      .Case("Greater", greaterElements)
      .Case("GreaterOrEqual", greaterOrEqualElements)
      .Case("And", andElements)
      .Case("Or", orElements)
      .Default(nullptr);
}

/// The elements of one node; none where they are not known.
class Evaluation {
public:
  explicit Evaluation(NodeContext &node) : node(node), op(node.getOp()) {}
  bool run();

private:
  /// Known elements of inputs, and the rank of each.
  bool gather();
  bool finish(ShapeElements elements, int64_t rank, Type elementType,
              unsigned output = 0);
  bool evaluateBinary(BinaryFn fn);
  bool evaluateUnary();
  bool evaluateWhere();
  bool evaluateGather();
  bool evaluateSlice();
  bool evaluateConcat();
  bool evaluateReduce();
  bool evaluateConstantOfShape();
  bool evaluateRange();
  bool evaluateRanks();
  std::optional<int64_t> integer(unsigned input) {
    return inputs.size() > input && inputs[input].size() == 1
               ? inputs[input][0].getInteger()
               : std::nullopt;
  }

  NodeContext &node;
  StringRef op;
  SmallVector<ShapeElements> inputs;
};

bool Evaluation::gather() {
  for (unsigned i = 0; i < node.numInputs(); ++i) {
    if (!node.has(i)) {
      inputs.push_back({});
      continue;
    }
    std::optional<ShapeElements> known = node.getKnown(i);
    if (!known)
      return false;
    inputs.push_back(std::move(*known));
  }
  return !inputs.empty();
}

bool Evaluation::finish(ShapeElements elements, int64_t rank, Type elementType,
                        unsigned output) {
  if (static_cast<int64_t>(elements.size()) > kMaxShapeElements ||
      (rank == 0 && elements.size() != 1))
    return false;
  SmallVector<int64_t> shape(rank, static_cast<int64_t>(elements.size()));
  // What a narrow integer cannot hold would wrap.
  if (auto integer = dyn_cast<IntegerType>(elementType);
      integer && integer.getWidth() < 64)
    for (const ShapeElement &element : elements)
      if (std::optional<int64_t> value = element.getInteger())
        if (integer.isUnsigned() || integer.getWidth() == 1
                ? !llvm::isUIntN(integer.getWidth(), *value)
                : !llvm::isIntN(integer.getWidth(), *value))
          return false;
  Value value =
      node.materialize(elements, RankedTensorType::get(shape, elementType));
  if (!value)
    return false;
  node.shapes.set(value, std::move(elements));
  return succeeded(node.set(output, value));
}

bool Evaluation::evaluateBinary(BinaryFn fn) {
  ShapeElements result = inputs[0];
  int64_t rank = node.inRank(0);
  bool isFloat = isa<FloatType>(node.inElem(0));
  bool isCompare =
      op == "Equal" || op.starts_with("Less") || op.starts_with("Greater");
  for (unsigned i = 1; i < inputs.size(); ++i) {
    rank = std::max(rank, node.inRank(i));
    size_t count = std::max(result.size(), inputs[i].size());
    if (std::min(result.size(), inputs[i].size()) != count &&
        std::min(result.size(), inputs[i].size()) != 1)
      return false;
    ShapeElements next;
    for (size_t k = 0; k < count; ++k) {
      Element element = fn(result[result.size() == 1 ? 0 : k],
                           inputs[i][inputs[i].size() == 1 ? 0 : k], isFloat);
      if (!element)
        return false;
      next.push_back(*element);
    }
    result = std::move(next);
  }
  return finish(std::move(result), rank,
                isCompare ? node.b.getI1Type() : node.inElem(0));
}

bool Evaluation::evaluateUnary() {
  Type from = node.inElem(0), to = from;
  if (op == "Cast")
    to = node.attrType("to", from);
  if (op == "CastLike")
    to = node.inElem(1);
  if (!to || isSmallFloat(to)) // those round
    return false;
  ShapeElements result;
  for (const ShapeElement &x : inputs[0]) {
    AffineExpr expr = x.numerator;
    bool whole = x.denominator == 1;
    Element element = x;
    if (op == "Floor" ||
        (op.starts_with("Cast") && isa<IntegerType>(to) && !whole)) {
      if (!whole && !isNonNegative(expr))
        return false;
      element = makeElement(simplifyDim(expr.floorDiv(x.denominator)));
    } else if (op == "Ceil") {
      element = makeElement(simplifyDim(expr.ceilDiv(x.denominator)));
    } else if (op == "Neg") {
      element = makeElement(mulDims(expr, constantLike(x, -1)), x.denominator);
    } else if (op == "Not") {
      element = x.getInteger()
                    ? makeElement(constantLike(x, *x.getInteger() == 0))
                    : std::nullopt;
    }
    if (element && to.isInteger(1) && op.starts_with("Cast"))
      element = element->isConstant()
                    ? makeElement(constantLike(
                          x, getConstantSize(element->numerator) != 0))
                    : std::nullopt;
    if (!element)
      return false;
    result.push_back(*element);
  }
  return finish(std::move(result), node.inRank(0), to);
}

bool Evaluation::evaluateWhere() {
  size_t count =
      std::max({inputs[0].size(), inputs[1].size(), inputs[2].size()});
  ShapeElements result;
  for (size_t k = 0; k < count; ++k) {
    auto at = [&](unsigned i) -> const ShapeElement * {
      return inputs[i].size() == count ? &inputs[i][k]
             : inputs[i].size() == 1   ? &inputs[i][0]
                                       : nullptr;
    };
    if (!at(0) || !at(1) || !at(2) || !at(0)->getInteger())
      return false;
    result.push_back(*at(0)->getInteger() ? *at(1) : *at(2));
  }
  return finish(std::move(result),
                std::max({node.inRank(0), node.inRank(1), node.inRank(2)}),
                node.inElem(1));
}

bool Evaluation::evaluateGather() {
  if (node.inRank(0) != 1)
    return false;
  ShapeElements result;
  auto count = static_cast<int64_t>(inputs[0].size());
  for (const ShapeElement &index : inputs[1]) {
    std::optional<int64_t> i = index.getInteger();
    if (!i || *i < -count || *i >= count)
      return false;
    result.push_back(inputs[0][*i < 0 ? *i + count : *i]);
  }
  return finish(std::move(result), node.inRank(1), node.inElem(0));
}

bool Evaluation::evaluateSlice() {
  if (node.inRank(0) != 1)
    return false;
  std::optional<int64_t> start, end, step = 1;
  if (node.numInputs() > 1) {
    start = integer(1);
    end = integer(2);
    if (node.has(4))
      step = integer(4);
  } else if (auto starts = node.attrInts("starts"),
             ends = node.attrInts("ends");
             starts && ends && starts->size() == 1 && ends->size() == 1) {
    start = (*starts)[0];
    end = (*ends)[0];
  }
  if (!start || !end || !step || *step == 0)
    return false;
  auto count = static_cast<int64_t>(inputs[0].size());
  if (count == 0)
    return finish({}, 1, node.inElem(0));
  auto bound = [&](int64_t value, int64_t low, int64_t high) {
    return std::clamp(value < 0 ? std::max<int64_t>(value, -count - 1) + count
                                : value,
                      low, high);
  };
  int64_t first =
      *step > 0 ? bound(*start, 0, count) : bound(*start, 0, count - 1);
  int64_t last = *step > 0 ? bound(*end, 0, count)
                           : std::clamp<int64_t>(*end < 0 ? *end + count : *end,
                                                 -1, count - 1);
  ShapeElements result;
  if (*step > 0)
    for (int64_t i = first; i < last; i += std::min(*step, count + 1))
      result.push_back(inputs[0][i]);
  else
    for (int64_t i = first; i > last; i += std::max(*step, -count - 1))
      result.push_back(inputs[0][i]);
  return finish(std::move(result), 1, node.inElem(0));
}

bool Evaluation::evaluateConcat() {
  ShapeElements result;
  for (unsigned i = 0; i < inputs.size(); ++i) {
    if (!node.has(i) || node.inRank(i) != 1)
      return false;
    llvm::append_range(result, inputs[i]);
  }
  return finish(std::move(result), 1, node.inElem(0));
}

bool Evaluation::evaluateReduce() {
  if (node.inRank(0) != 1 || inputs[0].empty() ||
      isa<FloatType>(node.inElem(0)))
    return false;
  if (node.attrInt("noop_with_empty_axes", 0))
    return false;
  BinaryFn fn = op == "ReduceProd"  ? mulElements
                : op == "ReduceSum" ? addElements
                : op == "ReduceMax" ? maxElements
                                    : minElements;
  ShapeElement total = inputs[0][0];
  for (const ShapeElement &element : ArrayRef(inputs[0]).drop_front()) {
    Element next = fn(total, element, false);
    if (!next)
      return false;
    total = *next;
  }
  return finish({total}, node.attrInt("keepdims", 1) != 0, node.inElem(0));
}

bool Evaluation::evaluateConstantOfShape() {
  // Only vectors of known length; anything else is a generic.
  std::optional<int64_t> count =
      inputs[0].size() == 1 ? inputs[0][0].getInteger() : std::nullopt;
  const onnx::AttributeProto *value = node.findAttr("value");
  if (!count || *count < 0 || *count > kMaxShapeElements || !value ||
      value->t().data_type() != onnx::TensorProto::INT64)
    return false;
  Value constant = node.getTensorAttr("value");
  std::optional<ShapeElements> known =
      constant ? node.shapes.lookup(constant) : std::nullopt;
  if (!known || known->size() != 1)
    return false;
  return finish(ShapeElements(*count, (*known)[0]), 1, node.i64());
}

bool Evaluation::evaluateRange() {
  std::optional<int64_t> start = integer(0), limit = integer(1),
                         delta = integer(2);
  if (!start || !limit || !delta || *delta == 0 ||
      isa<FloatType>(node.inElem(0)))
    return false;
  int64_t span;
  if (llvm::SubOverflow(*limit, *start, span))
    return false;
  int64_t count = std::max<int64_t>(0, llvm::divideCeilSigned(span, *delta));
  if (count > kMaxShapeElements)
    return false;
  ShapeElements result;
  for (int64_t i = 0; i < count; ++i)
    result.push_back({node.size(*start + i * *delta)});
  return finish(std::move(result), 1, node.inElem(0));
}

/// Operators that change nothing but the rank.
bool Evaluation::evaluateRanks() {
  int64_t rank = node.inRank(0);
  if (op == "Squeeze")
    rank = 0;
  else if (op == "Unsqueeze")
    rank =
        rank + static_cast<int64_t>(node.numInputs() > 1
                                        ? inputs[1].size()
                                        : node.attrInts("axes")
                                              .value_or(SmallVector<int64_t>())
                                              .size());
  else if (op == "Reshape") {
    rank = static_cast<int64_t>(inputs[1].size());
    std::optional<int64_t> wanted = rank == 1 ? integer(1) : std::nullopt;
    if (rank == 1 && wanted != -1 &&
        wanted != static_cast<int64_t>(inputs[0].size()))
      return false;
  }
  if (rank > 1 || (rank == 0 && inputs[0].size() != 1))
    return false;
  return finish(inputs[0], rank, node.inElem(0));
}

bool Evaluation::run() {
  // Integers and what is cast to floats on the way to a size.
  Type type = node.inElem(0);
  bool isSmall = isa<IntegerType>(type) || type.isF32() || type.isF64();
  if (!isSmall || !gather())
    return false;
  if (BinaryFn fn = findBinary(op))
    return evaluateBinary(fn);
  bool isFloat = isa<FloatType>(type);
  if (op == "Cast" || op == "CastLike" || op == "Floor" || op == "Ceil" ||
      op == "Neg" || op == "Identity" || op == "Not")
    return evaluateUnary();
  if (op == "Where" && inputs.size() == 3)
    return evaluateWhere();
  if (op == "Gather" && inputs.size() == 2)
    return evaluateGather();
  if (op == "Slice")
    return evaluateSlice();
  if (op == "Concat")
    return evaluateConcat();
  if (!isFloat && (op == "ReduceProd" || op == "ReduceSum" ||
                   op == "ReduceMax" || op == "ReduceMin"))
    return evaluateReduce();
  if (op == "ConstantOfShape")
    return evaluateConstantOfShape();
  if (op == "Range" && inputs.size() == 3)
    return evaluateRange();
  if (op == "Squeeze" || op == "Unsqueeze" ||
      (op == "Reshape" && inputs.size() == 2))
    return evaluateRanks();
  return false;
}

} // namespace

bool evaluateShape(NodeContext &node) {
  if (!node.node.domain().empty() && node.node.domain() != "ai.onnx")
    return false;
  if (!node.numInputs() || !node.has(0))
    return false;
  return Evaluation(node).run();
}

} // namespace qcc::onnx_import
