//===- Reduction.cpp - reductions, arg-reductions, cumulative sums -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// A reduction: how elements are mapped, combined, and what is done to the
/// result.
enum class Reduce {
  Sum,
  Mean,
  Prod,
  Max,
  Min,
  L1,
  L2,
  SumSquare,
  LogSum,
  LogSumExp
};

/// The axes of a reduction; with `keepdims` they also follow from the shape
/// that the model states, since reducing a dimension of size 1 or not reducing
/// it is the same.
std::optional<SmallVector<int64_t>> getReducedAxes(NodeContext &node,
                                                   bool keepDims) {
  int64_t rank = node.inRank(0);
  if (node.has(1) && !node.getInts(1)) {
    std::optional<Dims> declared = node.getDeclaredDims(0);
    bool empty = getConstantSize(getNumElements(node.in(1).getType())) == 0;
    if (!empty && keepDims && declared &&
        declared->size() == static_cast<size_t>(rank)) {
      SmallVector<int64_t> axes;
      for (auto [i, pair] :
           llvm::enumerate(llvm::zip(node.inDims(0), *declared)))
        if (getConstantSize(std::get<1>(pair)) == 1)
          axes.push_back(i);
      return axes;
    }
    // All axes, or one of several: only the first can be told without the data.
    if (!empty && declared && declared->empty())
      return llvm::to_vector(llvm::seq<int64_t>(0, rank));
    if (!empty) {
      (void)node.refuseDynamic(1, "the axes");
      return std::nullopt;
    }
  }
  bool given;
  std::optional<SmallVector<int64_t>> axes = SmallVector<int64_t>();
  if (!node.has(1) || node.getInts(1))
    axes = node.getAxes(1, rank, given);
  if (axes && axes->empty() && !node.attrInt("noop_with_empty_axes", 0))
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  return axes;
}

/// Most pairs of an element and a result that a reduction over axes known only
/// at run time looks at.
constexpr int64_t kMaxRuntimePairs = int64_t(1) << 24;

/// The sum (or product, maximum, minimum) of what belongs to a result where the
/// axes are read at run time: each result looks at all elements. `to` is what
/// the model states. With `fn`, elements are mapped first.
Value reduceAtRuntime(NodeContext &node, Combiner combiner, const Dims &to,
                      Type between,
                      llvm::function_ref<Value(Body &, Value)> fn) {
  Dims from = node.inDims(0);
  std::optional<int64_t> numAxes = getConstantSize(node.inDims(1)[0]);
  unsigned rank = from.size(), numKept = to.size();
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < rank; ++i)
    reads.push_back(node.d(numKept + i));
  Type type = node.inElem(0);
  bool isFloat = isa<FloatType>(between);
  return node.reduction(
      combiner, to, between, node.in(0), node.makeMap(numKept + rank, reads),
      node.cast(node.in(1), node.i64()), from, [&](Body &body, ValueRange x) {
        SmallVector<Value> axes;
        for (int64_t k = 0; k < *numAxes; ++k) {
          Value axis = body.toIndex(body.read(x[1], body.index(k)));
          axes.push_back(body.select(body.lt(axis, body.index(0)),
                                     body.add(axis, body.index(rank)), axis));
        }
        // The kept dimensions, in order, are those of the result.
        Value belongs = body.boolean(true), next = body.index(0);
        for (unsigned i = 0; i < rank; ++i) {
          Value isReduced = body.boolean(false);
          for (Value axis : axes)
            isReduced = body.either(isReduced, body.eq(axis, body.index(i)));
          Value wanted = body.index(0);
          for (unsigned j = 0; j < numKept; ++j)
            wanted =
                body.select(body.eq(next, body.index(j)), body.dim(j), wanted);
          Value same = body.eq(body.dim(numKept + i), wanted);
          belongs = body.both(belongs, body.either(isReduced, same));
          next = body.select(isReduced, next, body.add(next, body.index(1)));
        }
        Value value = fn ? fn(body, x[0]) : x[0];
        value = body.convert(value,
                             value.getType() == getComputeType(type) && !isFloat
                                 ? type
                                 : value.getType(),
                             between);
        double inf = std::numeric_limits<double>::infinity();
        Value neutral =
            combiner == Combiner::Sum    ? body.number(0, between)
            : combiner == Combiner::Prod ? body.number(1, between)
            : isFloat
                ? body.number(combiner == Combiner::Max ? -inf : inf, between)
                : body.integer(combiner == Combiner::Max ? INT64_MIN
                                                         : INT64_MAX,
                               between);
        return body.select(belongs, value, neutral);
      });
}

/// Whether the axes are read at run time and keep too little of their place to
/// be told from the stated shape, which then is the result's.
std::optional<Dims> needsRuntimeAxes(NodeContext &node, bool keepDims) {
  if (keepDims || !node.has(1) || node.getInts(1) || node.inRank(1) != 1)
    return std::nullopt;
  std::optional<Dims> declared = node.getDeclaredDims(0);
  std::optional<int64_t> in =
      getConstantSize(getNumElements(node.in(0).getType()));
  std::optional<int64_t> numAxes = getConstantSize(node.inDims(1)[0]);
  if (!declared || declared->empty() || !in || !numAxes || *numAxes < 1 ||
      *numAxes > 32)
    return std::nullopt;
  std::optional<int64_t> out =
      getConstantSize(product(*declared, node.b.getContext()));
  int64_t pairs;
  if (!out || llvm::MulOverflow(*in, *out, pairs) || pairs > kMaxRuntimePairs)
    return std::nullopt;
  return declared;
}

Value square(Body &body, Value x) { return body.mul(x, x); }

/// log(sum(exp(x))) with the largest element taken out, so that nothing
/// overflows.
Value emitLogSumExp(NodeContext &node, ArrayRef<int64_t> axes, bool keepDims,
                    Type type) {
  Value input = node.widen(node.in(0));
  Type compute = node.elem(input);
  Value largest = node.reduce(Combiner::Max, input, axes, true, compute);
  // An infinite maximum would make NaN of a difference.
  Value shift = node.unary(largest, [&](Body &body, Value x) {
    Value difference = body.sub(x, x);
    return body.select(body.isNaN(difference), body.number(0, compute), x);
  });
  Value exps =
      node.elementwise({input, shift}, compute, [](Body &body, ValueRange x) {
        return body.exp(body.sub(x[0], x[1]));
      });
  Value sum = node.reduce(Combiner::Sum, exps, axes, true, compute);
  Value result =
      node.elementwise({sum, shift}, compute, [](Body &body, ValueRange x) {
        return body.add(body.log(x[0]), x[1]);
      });
  result = node.cast(result, type);
  if (keepDims)
    return result;
  Dims squeezed;
  for (auto [i, dim] : llvm::enumerate(node.inDims(0)))
    if (!llvm::is_contained(axes, static_cast<int64_t>(i)))
      squeezed.push_back(dim);
  return node.reshape(result, squeezed);
}

/// A reduction whose axes only the data tells. Logarithms of sums of
/// exponentials are taken without the largest element taken out.
template <Reduce kind>
LogicalResult convertRuntimeReduce(NodeContext &node, const Dims &to) {
  Type type = node.inElem(0), between = getComputeType(type);
  if (isUnsignedElement(type))
    between = node.i64();
  bool takesRoot =
      kind == Reduce::L2 || kind == Reduce::LogSum || kind == Reduce::LogSumExp;
  if (type.isUnsignedInteger(64) || (takesRoot && !isa<FloatType>(type)))
    return node.refuseDynamic(1, "the axes");
  constexpr Combiner kCombiner = kind == Reduce::Prod  ? Combiner::Prod
                                 : kind == Reduce::Max ? Combiner::Max
                                 : kind == Reduce::Min ? Combiner::Min
                                                       : Combiner::Sum;
  bool isUnsigned = isUnsignedElement(type);
  Value result =
      reduceAtRuntime(node, kCombiner, to, between, [&](Body &body, Value x) {
        if (kind == Reduce::L2 || kind == Reduce::SumSquare)
          return body.mul(x, x);
        if (kind == Reduce::L1)
          return isUnsigned ? x : body.abs(x);
        return kind == Reduce::LogSumExp ? body.exp(x) : x;
      });
  if (kind == Reduce::Mean) {
    Value count = reduceAtRuntime(
        node, Combiner::Sum, to, between,
        [&](Body &body, Value x) { return body.number(1, x.getType()); });
    result = node.elementwise(
        {result, count}, between,
        [](Body &body, ValueRange x) { return body.div(x[0], x[1]); });
  }
  if (kind == Reduce::L2)
    result =
        node.unary(result, [](Body &body, Value x) { return body.sqrt(x); });
  if (kind == Reduce::LogSum || kind == Reduce::LogSumExp)
    result =
        node.unary(result, [](Body &body, Value x) { return body.log(x); });
  return node.set(0, node.cast(result, type));
}

template <Reduce kind> LogicalResult convertReduce(NodeContext &node) {
  bool keepDims = node.attrInt("keepdims", 1) != 0;
  if (std::optional<Dims> declared = needsRuntimeAxes(node, keepDims))
    return convertRuntimeReduce<kind>(node, *declared);
  std::optional<SmallVector<int64_t>> axes = getReducedAxes(node, keepDims);
  if (!axes)
    return failure();
  Type type = node.inElem(0), compute = getComputeType(type);
  if (isa<IntegerType>(type))
    compute = type;
  Value in = node.in(0);
  // Element functions hold also where no axis is reduced.
  auto log = [](Body &body, Value x) { return body.log(x); };
  switch (kind) {
  case Reduce::Sum:
    return node.set(0, node.reduce(Combiner::Sum, in, *axes, keepDims, type));
  case Reduce::Prod:
    return node.set(0, node.reduce(Combiner::Prod, in, *axes, keepDims, type));
  case Reduce::Max:
    return node.set(0, node.reduce(Combiner::Max, in, *axes, keepDims, type));
  case Reduce::Min:
    return node.set(0, node.reduce(Combiner::Min, in, *axes, keepDims, type));
  case Reduce::SumSquare:
    return node.set(
        0, node.reduce(Combiner::Sum, in, *axes, keepDims, type, square));
  case Reduce::L1: {
    bool isUnsigned = isUnsignedElement(type);
    return node.set(0, node.reduce(Combiner::Sum, in, *axes, keepDims, type,
                                   [&](Body &body, Value x) {
                                     return isUnsigned ? x : body.abs(x);
                                   }));
  }
  case Reduce::L2: {
    Value sum =
        node.reduce(Combiner::Sum, in, *axes, keepDims, compute, square);
    if (isa<IntegerType>(type))
      return node.set(
          0, node.cast(
                 node.unary(node.cast(sum, node.b.getF64Type()),
                            [](Body &body, Value x) { return body.sqrt(x); }),
                 type));
    return node.set(
        0, node.cast(node.unary(
                         sum, [](Body &body, Value x) { return body.sqrt(x); }),
                     type));
  }
  case Reduce::LogSum:
    if (isa<IntegerType>(type))
      return node.refuse(Diag::UnsupportedType, "expected a float tensor");
    return node.set(0,
                    node.cast(node.unary(node.reduce(Combiner::Sum, in, *axes,
                                                     keepDims, compute),
                                         log),
                              type));
  case Reduce::LogSumExp:
    if (isa<IntegerType>(type))
      return node.refuse(Diag::UnsupportedType, "expected a float tensor");
    return node.set(0, emitLogSumExp(node, *axes, keepDims, type));
  case Reduce::Mean: {
    Value sum = node.reduce(Combiner::Sum, in, *axes, keepDims, compute);
    AffineExpr count = node.size(1);
    for (int64_t axis : *axes)
      count = count * node.inDims(0)[axis];
    count = simplifyDim(count);
    bool isUnsigned = isUnsignedElement(type);
    Value mean = node.unary(sum, [&](Body &body, Value x) {
      return body.div(x, body.fromIndex(body.extent(count), x.getType()),
                      isUnsigned);
    });
    return node.set(0, node.cast(mean, type));
  }
  }
  llvm_unreachable("all kinds of reduction are above");
}

template <bool smallest> LogicalResult convertArgReduce(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", 0), node.inRank(0));
  if (!axis)
    return failure();
  Dims to = node.inDims(0);
  Value input = node.in(0);
  // The order of unsigned elements is that of their value as i64; the widest
  // ones lose their top bit's sign by a flip.
  if (isUnsignedElement(node.inElem(0))) {
    bool flip = node.inElem(0).isUnsignedInteger(64);
    input = node.cast(input, node.i64());
    if (flip)
      input = node.unary(input, [&](Body &body, Value x) {
        return Value(arith::XOrIOp::create(
            body.b, x, body.integer(INT64_MIN, node.i64())));
      });
  }
  input = node.widen(input);
  if (!input)
    return failure();
  to.erase(to.begin() + *axis);
  Value result =
      ArgReduceOp::create(node.b, makeTensorType(to, node.i64()), input, *axis,
                          smallest, node.attrInt("select_last_index", 0) != 0);
  if (node.attrInt("keepdims", 1)) {
    to.insert(to.begin() + *axis, node.size(1));
    result = node.reshape(result, to);
  }
  return node.set(0, result);
}

/// Longest axis that a cumulative operator sums anew for each element.
constexpr int64_t kMaxCumulative = 4096;

/// A cumulative operator whose axis is read at run time: each element walks
/// along it.
template <Combiner combiner>
LogicalResult convertRuntimeCumulative(NodeContext &node) {
  Dims dims = node.inDims(0);
  for (AffineExpr dim : dims)
    if (getConstantSize(dim).value_or(kMaxCumulative + 1) > kMaxCumulative)
      return node.refuseDynamic(1, "the axis");
  bool exclusive = node.attrInt("exclusive", 0) != 0;
  bool reverse = node.attrInt("reverse", 0) != 0;
  int64_t rank = static_cast<int64_t>(dims.size());
  Value axisInput = node.cast(node.reshape(node.in(1), {}), node.i64());
  return node.set(
      0, node.generic(
             dims, node.inElem(0), axisInput, node.makeMap(rank, {}),
             node.in(0), [&](Body &body, ValueRange x) {
               Value axis = body.toIndex(x[0]), here = body.index(0);
               axis = body.select(body.lt(axis, body.index(0)),
                                  body.add(axis, body.index(rank)), axis);
               Value size = body.index(1);
               for (int64_t i = 0; i < rank; ++i) {
                 Value isIt = body.eq(axis, body.index(i));
                 here = body.select(isIt, body.dim(i), here);
                 size = body.select(isIt, body.extent(dims[i]), size);
               }
               Type type = getComputeType(node.inElem(0));
               Value init =
                   body.number(combiner == Combiner::Prod ? 1 : 0, type);
               return body.loop(size, init, [&](Value j, Value sum) {
                 SmallVector<Value> at;
                 for (int64_t i = 0; i < rank; ++i)
                   at.push_back(body.select(body.eq(axis, body.index(i)), j,
                                            body.dim(i)));
                 Value first = reverse ? here : j, second = reverse ? j : here;
                 Value counts = exclusive ? body.lt(first, second)
                                          : body.le(first, second);
                 Value value = body.read(x[1], at);
                 Value next = combiner == Combiner::Prod ? body.mul(sum, value)
                                                         : body.add(sum, value);
                 return body.select(counts, next, sum);
               });
             }));
}

template <Combiner combiner>
LogicalResult convertCumulative(NodeContext &node) {
  Dims dims = node.inDims(0);
  std::optional<SmallVector<int64_t>> axes = node.getInts(1);
  if (!axes && dims.size() == 1)
    axes = SmallVector<int64_t>{0};
  if (!axes && getConstantSize(getNumElements(node.in(1).getType())) == 1)
    return convertRuntimeCumulative<combiner>(node);
  if (!axes || axes->size() != 1)
    return node.refuseDynamic(1, "the axis");
  std::optional<int64_t> axis = node.normalizeAxis((*axes)[0], dims.size());
  if (!axis)
    return failure();
  std::optional<int64_t> extent = getConstantSize(dims[*axis]);
  if (extent && *extent > kMaxCumulative)
    return node.refuse(Diag::UnsupportedForm,
                       "expected an axis of at most " + Twine(kMaxCumulative) +
                           " elements, but got " + Twine(*extent));
  bool exclusive = node.attrInt("exclusive", 0) != 0,
       reverse = node.attrInt("reverse", 0) != 0;
  unsigned rank = dims.size();
  Type type = node.inElem(0), between = isa<FloatType>(type)
                                            ? getComputeType(type)
                                            : getScalarType(type);
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < rank; ++i)
    reads.push_back(node.d(i == *axis ? rank : i));
  Value result = node.reduction(
      combiner, dims, between, node.in(0), node.makeMap(rank + 1, reads), {},
      {dims[*axis]}, [&](Body &body, ValueRange x) {
        Value here = body.dim(*axis), other = body.dim(rank);
        Value first = reverse ? here : other, second = reverse ? other : here;
        Value counts =
            exclusive ? body.lt(first, second) : body.le(first, second);
        return body.select(
            counts, x[0],
            body.number(combiner == Combiner::Prod ? 1 : 0, x[0].getType()));
      });
  return node.set(0, node.cast(result, type));
}

} // namespace

void registerReduction(Registry &registry) {
  constexpr const char *kAxes =
      "axes that depend on data, unless the stated output shape tells them";
  registry.add(
      kOnnxDomain,
      {
          {"ReduceSum", 1, 1, 2, convertReduce<Reduce::Sum>, kAxes},
          {"ReduceMean", 1, 1, 2, convertReduce<Reduce::Mean>, kAxes},
          {"ReduceProd", 1, 1, 2, convertReduce<Reduce::Prod>, kAxes},
          {"ReduceMax", 1, 1, 2, convertReduce<Reduce::Max>, kAxes},
          {"ReduceMin", 1, 1, 2, convertReduce<Reduce::Min>, kAxes},
          {"ReduceL1", 1, 1, 2, convertReduce<Reduce::L1>, kAxes},
          {"ReduceL2", 1, 1, 2, convertReduce<Reduce::L2>, kAxes},
          {"ReduceSumSquare", 1, 1, 2, convertReduce<Reduce::SumSquare>, kAxes},
          {"ReduceLogSum", 1, 1, 2, convertReduce<Reduce::LogSum>, kAxes},
          {"ReduceLogSumExp", 1, 1, 2, convertReduce<Reduce::LogSumExp>, kAxes},
          {"ArgMax", 1, 1, 1, convertArgReduce<false>},
          {"ArgMin", 1, 1, 1, convertArgReduce<true>},
          {"CumSum", 11, 2, 2, convertCumulative<Combiner::Sum>,
           "axes of more than 4096 elements"},
          {"CumProd", 26, 2, 2, convertCumulative<Combiner::Prod>,
           "axes of more than 4096 elements"},
      });
}

} // namespace qcc::onnx_import
