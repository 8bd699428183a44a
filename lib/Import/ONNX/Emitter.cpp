//===- Emitter.cpp - builds tensor operations with inferred types -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Emitter.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;

namespace qcc::onnx_import {

static bool anyNull(ValueRange values) {
  return llvm::any_of(values, [](Value v) { return !v; });
}

LogicalResult Emitter::refuse(Diag id, const Twine &text) {
  if (!problem)
    problem = Problem{id, text.str()};
  return failure();
}

Dims Emitter::sizes(ArrayRef<int64_t> values) {
  Dims result;
  for (int64_t value : values)
    result.push_back(size(value));
  return result;
}

/// A size as text for messages.
static std::string toText(AffineExpr expr) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << expr;
  return text;
}

AffineExpr isAtLeastZero(AffineExpr expr) {
  return simplifyDim((expr + kSizeRange).floorDiv(kSizeRange));
}

AffineExpr maxZero(AffineExpr expr) {
  expr = simplifyDim(expr);
  if (std::optional<int64_t> known = getConstantSize(expr))
    return getAffineConstantExpr(std::max<int64_t>(*known, 0),
                                 expr.getContext());
  return isNonNegative(expr) ? expr : simplifyDim(expr * isAtLeastZero(expr));
}

AffineExpr minSize(AffineExpr size, int64_t bound) {
  return simplifyDim(size - maxZero(size - bound));
}

bool isNonNegative(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue() >= 0;
  if (isa<AffineSymbolExpr>(expr))
    return true;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return false;
  AffineExpr lhs = binary.getLHS(), rhs = binary.getRHS();
  if (isNonNegative(lhs) && isNonNegative(rhs))
    return true;
  // What maxZero makes.
  return expr.getKind() == AffineExprKind::Mul &&
         (rhs == isAtLeastZero(lhs) || lhs == isAtLeastZero(rhs));
}

bool Emitter::requireEqual(AffineExpr x, AffineExpr y, const Twine &what) {
  if (x == y)
    return true;
  if (getConstantSize(simplifyDim(x - y)) == 0)
    return true;
  if (isa<AffineConstantExpr>(x) && isa<AffineConstantExpr>(y)) {
    (void)refuse(Diag::BadShape, "expected equal sizes of " + what +
                                     ", but got " + toText(x) + " and " +
                                     toText(y));
    return false;
  }
  check(x, y);
  return true;
}

bool Emitter::requireAtLeast(AffineExpr x, AffineExpr y, const Twine &what) {
  AffineExpr difference = simplifyDim(x - y);
  if (std::optional<int64_t> known = getConstantSize(difference)) {
    if (*known < 0)
      (void)refuse(Diag::BadShape, "expected " + what + " of at least " +
                                       toText(y) + ", but got " + toText(x));
    return *known >= 0;
  }
  if (isNonNegative(difference) || symbols.nonNegative.contains(difference))
    return true;
  check(difference.floorDiv(kSizeRange), size(0), x, y);
  // What an entry checks holds in all that it runs.
  if (isa_and_nonnull<func::FuncOp>(b.getInsertionBlock()->getParentOp()))
    symbols.nonNegative.insert(difference);
  return true;
}

AffineExpr Emitter::scaled(AffineExpr dim, int64_t factor) {
  AffineExpr result = mulDims(dim, size(factor));
  if (!result)
    (void)refuse(Diag::LimitReached,
                 "expected sizes of at most 2^40, but got more");
  return result;
}

/// True for a size that another one may be broadcast to at run time.
static bool isOpen(AffineExpr size) {
  return isa<AffineConstantExpr>(size) ||
         mayBroadcast(size, getAffineConstantExpr(1, size.getContext()));
}

/// True for a computed size that may be 1 where that of the result is not.
static bool mayBeOne(AffineExpr size, AffineExpr resultSize) {
  return !isOpen(size) && size != resultSize && isOpen(resultSize) &&
         !isa<AffineSymbolExpr>(resultSize);
}

/// The symbols of a size, in the order of their numbers.
static llvm::SmallBitVector getSymbols(AffineExpr size) {
  llvm::SmallBitVector result;
  size.walk([&](AffineExpr e) {
    auto symbol = dyn_cast<AffineSymbolExpr>(e);
    if (!symbol)
      return;
    if (symbol.getPosition() >= result.size())
      result.resize(symbol.getPosition() + 1);
    result.set(symbol.getPosition());
  });
  return result;
}

/// True for two sizes made of the same symbols that are equal at best for a few
/// values of these, as N - 1 and N are: a model that adds them means the runs
/// where one is 1. Judged at values that strides and windows usually divide,
/// since sizes that were halved and doubled again are meant to be equal, small
/// and large ones, since cuts at a constant begin at some size.
static bool areMeantToDiffer(AffineExpr x, AffineExpr y) {
  // Sizes share parts: a walk takes as long as their text is.
  constexpr size_t limit = 200;
  if (countTerms(x, limit) > limit || countTerms(y, limit) > limit)
    return false;
  llvm::SmallBitVector symbols = getSymbols(x);
  if (symbols.none() || symbols != getSymbols(y))
    return false;
  return llvm::all_of(ArrayRef<int64_t>{64, 720, 40320}, [&](int64_t base) {
    SmallVector<int64_t> values;
    for (unsigned i = 0; i < symbols.size(); ++i)
      values.push_back(base * (i + 1));
    std::optional<int64_t> atX = evaluateSize(x, values),
                           atY = evaluateSize(y, values);
    return atX && atY && *atX != *atY;
  });
}

AffineExpr Emitter::broadcastPair(AffineExpr have, AffineExpr dim) {
  bool isFixed = isa<AffineConstantExpr>(have) && isa<AffineConstantExpr>(dim);
  // A symbol may be 1 where a computed size is not, and a computed size where a
  // constant is not. The other way is thought of only for sizes that data
  // tells and for those that differ anyway, so that other results keep the
  // simple size.
  bool oneIsOpen = isOpen(have) != isOpen(dim);
  AffineExpr open = isOpen(have) ? have : dim;
  bool isSymbol = isa<AffineSymbolExpr>(open),
       anyMayBeOne =
           (isSymbol && symbols.isRuntime(open)) || areMeantToDiffer(have, dim);
  if (oneIsOpen && !anyMayBeOne &&
      (isSymbol || isa<AffineConstantExpr>(open))) {
    if (isOpen(have) == isSymbol)
      std::swap(have, dim);
    check(simplifyDim((have - dim) * (dim - 1)), size(0), have, dim);
    return have;
  }
  if (isFixed || (!anyMayBeOne && (!isOpen(have) || !isOpen(dim)))) {
    if (!requireEqual(have, dim, "broadcast dimensions"))
      return {};
    // A constant says more than a symbol that must equal it.
    return isa<AffineConstantExpr>(dim) ? dim : have;
  }
  // The first one is written twice in the result.
  constexpr size_t limit = 200;
  if (countTerms(have, limit) > countTerms(dim, limit))
    std::swap(have, dim);
  // A constant that is not 1 is the result.
  AffineExpr result = isa<AffineConstantExpr>(have)  ? have
                      : isa<AffineConstantExpr>(dim) ? dim
                                                     : broadcastSize(have, dim);
  symbols.nonNegative.insert(result);
  for (AffineExpr operand : {have, dim})
    if (operand != result)
      check(simplifyDim((result - operand) * (operand - 1)), size(0), have,
            dim);
  return result;
}

std::optional<Dims> Emitter::broadcastDims(ArrayRef<Dims> operands,
                                           bool assumeEqual) {
  size_t rank = 0;
  for (const Dims &operand : operands)
    rank = std::max(rank, operand.size());
  Dims result(rank, size(1));
  for (const Dims &operand : operands)
    for (auto [i, dim] : llvm::enumerate(operand)) {
      AffineExpr &have = result[rank - operand.size() + i];
      if (getConstantSize(dim) == 1 || dim == have)
        continue;
      if (getConstantSize(have) == 1) {
        have = dim;
        continue;
      }
      if (!assumeEqual) {
        have = broadcastPair(have, dim);
        if (!have)
          return std::nullopt;
        continue;
      }
      if (!requireEqual(have, dim, "broadcast dimensions"))
        return std::nullopt;
      if (isa<AffineConstantExpr>(dim))
        have = dim;
    }
  return result;
}

std::optional<int64_t> Emitter::normalizeAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    (void)refuse(Diag::BadAttribute, "expected an axis in [" + Twine(-rank) +
                                         ", " + Twine(rank) + "), but got " +
                                         Twine(axis));
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
}

AffineMap Emitter::map(unsigned numDims, ArrayRef<AffineExpr> results) {
  unsigned numSymbols = 0;
  for (AffineExpr result : results)
    result.walk([&](AffineExpr expr) {
      if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
        numSymbols = std::max(numSymbols, symbol.getPosition() + 1);
    });
  return AffineMap::get(numDims, numSymbols, results, b.getContext());
}

//===----------------------------------------------------------------------===//
// Generics
//===----------------------------------------------------------------------===//

Value Emitter::build(Combiner combiner, const Dims &dims, Type elementType,
                     ValueRange inputs, ArrayRef<AffineMap> maps,
                     ValueRange whole, const Dims &over, bool widenInputs,
                     BodyFn fn) {
  if (anyNull(inputs) || anyNull(whole))
    return {};
  AffineMapAttr overAttr;
  if (combiner != Combiner::None)
    overAttr = AffineMapAttr::get(makeSizeMap(over, b.getContext()));
  auto op =
      GenericOp::create(b, makeTensorType(dims, elementType), combiner, inputs,
                        b.getAffineMapArrayAttr(maps), whole, overAttr);
  OpBuilder::InsertionGuard guard(b);
  Block *block = b.createBlock(&op.getBody());
  Body body(b, b.getLoc());
  SmallVector<Value> arguments;
  for (Value input : inputs)
    arguments.push_back(
        block->addArgument(getScalarType(elem(input)), b.getLoc()));
  for (Value tensor : whole)
    arguments.push_back(block->addArgument(tensor.getType(), b.getLoc()));
  if (widenInputs)
    for (size_t i = 0; i < inputs.size(); ++i)
      arguments[i] = body.widen(arguments[i]);
  Value result = fn(body, arguments);
  YieldOp::create(body.b, body.narrow(result, getScalarType(elementType)));
  Dims space = dims;
  llvm::append_range(space, over);
  if (failed(requireElements(op, body.getNonEmpty(), space)))
    return {};
  return op.getResult();
}

Value Emitter::generic(const Dims &dims, Type elementType, ValueRange inputs,
                       ArrayRef<AffineMap> maps, ValueRange whole, BodyFn fn) {
  return build(Combiner::None, dims, elementType, inputs, maps, whole, {}, true,
               fn);
}

Value Emitter::reduction(Combiner combiner, const Dims &dims, Type elementType,
                         ValueRange inputs, ArrayRef<AffineMap> maps,
                         ValueRange whole, const Dims &over, BodyFn fn) {
  if (over.empty()) // A reduction over nothing is the element itself.
    return build(Combiner::None, dims, elementType, inputs, maps, whole, {},
                 true, fn);
  return build(combiner, dims, elementType, inputs, maps, whole, over, true,
               fn);
}

AffineMap Emitter::broadcastMap(const Dims &from, const Dims &to) {
  AffineMap reads = getBroadcastMap(from, to, b.getContext());
  SmallVector<AffineExpr> results = llvm::to_vector(reads.getResults());
  for (auto [i, dim] : llvm::enumerate(from)) {
    unsigned at = to.size() - from.size() + i;
    if (mayBeOne(dim, to[at]))
      results[i] = d(at) * (1 - isOne(dim));
  }
  return map(to.size(), results);
}

Value Emitter::elementwise(ValueRange inputs, Type elementType, BodyFn fn) {
  if (anyNull(inputs))
    return {};
  SmallVector<Dims> operands;
  for (Value input : inputs)
    operands.push_back(dims(input));
  std::optional<Dims> result = broadcastDims(operands);
  if (!result)
    return {};
  SmallVector<AffineMap> maps;
  for (const Dims &operand : operands)
    maps.push_back(broadcastMap(operand, *result));
  return generic(*result, elementType, inputs, maps, {}, fn);
}

Value Emitter::unary(Value input, llvm::function_ref<Value(Body &, Value)> fn) {
  if (!input)
    return {};
  return elementwise(input, elem(input),
                     [&](Body &body, ValueRange x) { return fn(body, x[0]); });
}

Value Emitter::copy(const Dims &dims, Value input, AffineMap readMap) {
  if (!input)
    return {};
  return build(Combiner::None, dims, elem(input), input, readMap, {}, {}, false,
               [](Body &, ValueRange x) { return x[0]; });
}

Value Emitter::generate(const Dims &dims, Type elementType,
                        llvm::function_ref<Value(Body &)> fn) {
  return generic(dims, elementType, {}, {}, {},
                 [&](Body &body, ValueRange) { return fn(body); });
}

//===----------------------------------------------------------------------===//
// Movement
//===----------------------------------------------------------------------===//

Value Emitter::transpose(Value input, ArrayRef<int64_t> permutation) {
  if (!input)
    return {};
  Dims from = dims(input), to;
  SmallVector<AffineExpr> reads(permutation.size());
  for (auto [i, axis] : llvm::enumerate(permutation)) {
    to.push_back(from[axis]);
    reads[axis] = d(i);
  }
  return copy(to, input, map(to.size(), reads));
}

Value Emitter::reshape(Value input, const Dims &to) {
  if (!input)
    return {};
  RankedTensorType type = makeTensorType(to, elem(input));
  if (type == input.getType())
    return input;
  AffineExpr have = product(dims(input), b.getContext()),
             want = product(to, b.getContext());
  bool exact = false;
  if (have != want && !(divideDims(have, want, &exact) == size(1) && exact) &&
      !requireEqual(have, want, "elements before and after a reshape"))
    return {};
  return ReshapeOp::create(b, type, input);
}

Value Emitter::broadcastTo(Value input, const Dims &to) {
  if (!input)
    return {};
  Dims from = dims(input);
  if (from.size() > to.size()) {
    (void)refuse(Diag::BadShape, "expected a rank of at most " +
                                     Twine(to.size()) + ", but got " +
                                     Twine(from.size()));
    return {};
  }
  for (auto [i, dim] : llvm::enumerate(from)) {
    AffineExpr want = to[to.size() - from.size() + i];
    if (mayBroadcast(dim, want) || mayBeOne(dim, want))
      check(simplifyDim((want - dim) * (dim - 1)), size(0), dim, want);
    else if (getConstantSize(dim) != 1 &&
             !requireEqual(dim, want, "broadcast dimensions"))
      return {};
  }
  return from == to ? input : copy(to, input, broadcastMap(from, to));
}

Value Emitter::slice(Value input, int64_t axis, AffineExpr start,
                     AffineExpr extent, int64_t step) {
  if (!input)
    return {};
  Dims to = dims(input);
  if (to[axis] == extent && getConstantSize(start) == 0 && step == 1)
    return input;
  to[axis] = extent;
  SmallVector<AffineExpr> reads;
  for (size_t i = 0; i < to.size(); ++i)
    reads.push_back(i == static_cast<size_t>(axis) ? d(i) * step + start
                                                   : d(i));
  return copy(to, input, map(to.size(), reads));
}

Value Emitter::concat(ValueRange inputs, int64_t axis) {
  if (anyNull(inputs))
    return {};
  if (inputs.size() == 1)
    return inputs[0];
  Dims result = dims(inputs[0]);
  for (Value input : inputs.drop_front()) {
    Dims more = dims(input);
    if (more.size() != result.size() || elem(input) != elem(inputs[0])) {
      (void)refuse(Diag::BadShape, "expected inputs of one rank and type");
      return {};
    }
    for (size_t i = 0; i < more.size(); ++i) {
      if (i == static_cast<size_t>(axis))
        result[i] = simplifyDim(result[i] + more[i]);
      else if (!requireEqual(result[i], more[i], "concatenated tensors"))
        return {};
      else if (isa<AffineConstantExpr>(more[i]))
        result[i] = more[i];
    }
  }
  return ConcatOp::create(b, makeTensorType(result, elem(inputs[0])), axis,
                          inputs);
}

Value Emitter::expandRank(Value input, int64_t to, bool atEnd) {
  if (!input)
    return {};
  Dims result = dims(input);
  size_t missing = to > rank(input) ? to - rank(input) : 0;
  result.insert(atEnd ? result.end() : result.begin(), missing, size(1));
  return reshape(input, result);
}

//===----------------------------------------------------------------------===//
// Arithmetic on tensors
//===----------------------------------------------------------------------===//

Value Emitter::cast(Value input, Type elementType,
                    SmallFloatRounding rounding) {
  if (!input)
    return {};
  Type from = elem(input);
  if (from == elementType)
    return input;
  Dims shape = dims(input);
  // Integers of one width share their bits, but the tensor type changes: an
  // identity body.
  return build(Combiner::None, shape, elementType, input,
               getBroadcastMap(shape, shape, b.getContext()), {}, {}, false,
               [&](Body &body, ValueRange x) {
                 return body.convert(x[0], from, elementType, rounding);
               });
}

Value Emitter::bitcast(Value input, Type elementType) {
  if (!input)
    return {};
  Dims shape = dims(input);
  Type target = getScalarType(elementType);
  return build(
      Combiner::None, shape, elementType, input,
      getBroadcastMap(shape, shape, b.getContext()), {}, {}, false,
      [&](Body &body, ValueRange x) {
        return x[0].getType() == target
                   ? x[0]
                   : Value(arith::BitcastOp::create(body.b, target, x[0]));
      });
}

Value Emitter::widen(Value input) {
  if (!input)
    return {};
  Type type = elem(input);
  return isa<FloatType>(type) ? cast(input, getComputeType(type)) : input;
}

Value Emitter::add(Value x, Value y) {
  return !x ? x : elementwise({x, y}, elem(x), [](Body &body, ValueRange v) {
    return body.add(v[0], v[1]);
  });
}
Value Emitter::sub(Value x, Value y) {
  return !x ? x : elementwise({x, y}, elem(x), [](Body &body, ValueRange v) {
    return body.sub(v[0], v[1]);
  });
}
Value Emitter::mul(Value x, Value y) {
  return !x ? x : elementwise({x, y}, elem(x), [](Body &body, ValueRange v) {
    return body.mul(v[0], v[1]);
  });
}

Value Emitter::reduce(Combiner combiner, Value input, ArrayRef<int64_t> axes,
                      bool keepDims, Type elementType,
                      llvm::function_ref<Value(Body &, Value)> fn) {
  if (!input)
    return {};
  Dims from = dims(input), kept, squeezed, over;
  SmallVector<AffineExpr> reads(from.size());
  auto isReduced = [&](size_t i) {
    return llvm::is_contained(axes, static_cast<int64_t>(i));
  };
  unsigned numKept =
      from.size() -
      llvm::count_if(llvm::seq<size_t>(0, from.size()), isReduced);
  for (size_t i = 0; i < from.size(); ++i) {
    if (isReduced(i)) {
      reads[i] = d(numKept + over.size());
      over.push_back(from[i]);
      kept.push_back(size(1));
    } else {
      reads[i] = d(squeezed.size());
      squeezed.push_back(from[i]);
      kept.push_back(from[i]);
    }
  }
  // Combiners know no unsigned order: such elements are combined as i64, the
  // widest ones with their top bit flipped.
  Type inputType = elem(input), between = getComputeType(elementType);
  bool ordered = combiner == Combiner::Max || combiner == Combiner::Min;
  bool flip = ordered && inputType.isUnsignedInteger(64);
  if (isUnsignedElement(inputType) && ordered)
    between = i64();
  Value result = reduction(
      combiner, squeezed, between, input, map(from.size(), reads), {}, over,
      [&](Body &body, ValueRange x) {
        Value value = fn ? fn(body, x[0]) : x[0];
        if (flip)
          return Value(arith::XOrIOp::create(body.b, value,
                                             body.integer(INT64_MIN, i64())));
        Type have = value.getType() == getComputeType(inputType)
                        ? inputType
                        : value.getType();
        if (value.getType() != between)
          value = body.convert(
              value, have.isF16() || have.isBF16() ? f32() : have, between);
        return value;
      });
  if (flip)
    result = unary(result, [&](Body &body, Value x) {
      return Value(
          arith::XOrIOp::create(body.b, x, body.integer(INT64_MIN, i64())));
    });
  result = cast(result, elementType);
  return keepDims ? reshape(result, kept) : result;
}

Value Emitter::softmax(Value input, int64_t axis, bool log) {
  if (!input)
    return {};
  Type type = elem(input);
  int64_t last = rank(input) - 1;
  SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, last + 1));
  std::swap(swap[axis], swap[last]);
  Value rows = widen(axis == last ? input : transpose(input, swap));
  Value result = SoftmaxOp::create(b, rows.getType(), rows, log);
  result = cast(result, type);
  return axis == last ? result : transpose(result, swap);
}

Value Emitter::matmul(Value lhs, Value rhs, bool transA, bool transB) {
  if (!lhs || !rhs)
    return {};
  Type type = elem(lhs);
  int64_t lhsRank = rank(lhs), rhsRank = rank(rhs);
  if (lhsRank < 1 || rhsRank < 1 || elem(rhs) != type) {
    (void)refuse(Diag::BadShape, "expected two matrices of one type");
    return {};
  }
  Value x = widen(lhsRank == 1 ? expandRank(lhs, 2) : lhs);
  Value y = widen(rhsRank == 1 ? expandRank(rhs, 2, /*atEnd=*/true) : rhs);
  Dims a = dims(x), c = dims(y);
  AffineExpr m = a[a.size() - (transA ? 1 : 2)],
             k = a[a.size() - (transA ? 2 : 1)];
  AffineExpr inner = c[c.size() - (transB ? 1 : 2)],
             n = c[c.size() - (transB ? 2 : 1)];
  if (!requireEqual(k, inner, "the inner dimensions of a matrix product"))
    return {};
  std::optional<Dims> result = broadcastDims(
      {Dims(ArrayRef(a).drop_back(2)), Dims(ArrayRef(c).drop_back(2))},
      /*assumeEqual=*/true);
  if (!result)
    return {};
  Dims squeezed = *result;
  llvm::append_values(*result, m, n);
  if (lhsRank > 1)
    squeezed.push_back(m);
  if (rhsRank > 1)
    squeezed.push_back(n);
  Value product = MatMulOp::create(b, makeTensorType(*result, elem(x)), x, y,
                                   transA, transB);
  return cast(reshape(product, squeezed), type);
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

Value Emitter::constant(DenseElementsAttr value) {
  return ConstantOp::create(b, cast<RankedTensorType>(value.getType()), value);
}

Value Emitter::scalar(double value, Type elementType) {
  return filled({}, value, elementType);
}

/// A number as an attribute of any element type.
static Attribute getNumber(double value, Type type) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return FloatAttr::get(floatType, value);
  return IntegerAttr::get(
      type,
      APInt(type.getIntOrFloatBitWidth(),
            static_cast<uint64_t>(static_cast<int64_t>(value)), false, true));
}

Value Emitter::filled(const Dims &shape, double value, Type elementType) {
  if (shape.empty())
    return constant(DenseElementsAttr::get(
        RankedTensorType::get({}, elementType), getNumber(value, elementType)));
  return generate(shape, elementType, [&](Body &body) {
    return body.number(value, getComputeType(elementType));
  });
}

Value Emitter::constantInts(ArrayRef<int64_t> values) {
  return constant(DenseElementsAttr::get(
      RankedTensorType::get(static_cast<int64_t>(values.size()), i64()),
      values));
}

/// Elements of constants as an attribute of the type; null if one does not fit.
static DenseElementsAttr toAttribute(const ShapeElements &elements,
                                     RankedTensorType type) {
  Type element = type.getElementType();
  SmallVector<Attribute> values;
  for (const ShapeElement &e : elements) {
    std::optional<int64_t> number = getConstantSize(e.numerator);
    if (!number)
      return {};
    if (auto floatType = dyn_cast<FloatType>(element)) {
      values.push_back(
          FloatAttr::get(floatType, static_cast<double>(*number) /
                                        static_cast<double>(e.denominator)));
      continue;
    }
    values.push_back(IntegerAttr::get(
        element, APInt(element.getIntOrFloatBitWidth(),
                       static_cast<uint64_t>(*number), false, true)));
  }
  return DenseElementsAttr::get(type, values);
}

Value Emitter::materialize(const ShapeElements &elements,
                           RankedTensorType type) {
  if (DenseElementsAttr value = toAttribute(elements, type))
    return constant(value);
  Type element = type.getElementType();
  Value result = generate(getDims(type), element, [&](Body &body) {
    Value chosen;
    for (size_t i = elements.size(); i-- > 0;) {
      Value number = body.fromIndex(body.extent(elements[i].numerator),
                                    getComputeType(element));
      if (elements[i].denominator != 1)
        number = body.mul(
            number,
            body.number(1.0 / static_cast<double>(elements[i].denominator),
                        number.getType()));
      chosen = chosen ? body.select(body.eq(body.dim(0), body.index(i)), number,
                                    chosen)
                      : number;
    }
    return chosen;
  });
  if (result)
    shapes.set(result, elements);
  return result;
}

} // namespace qcc::onnx_import
