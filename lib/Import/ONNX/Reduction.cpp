//===- Reduction.cpp - reductions, arg-reductions, cumulative sums -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Program.h"
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

/// Whether the axes are read at run time; a list without elements is not.
bool hasRuntimeAxes(NodeContext &node) {
  return node.has(1) && !node.getInts(1) &&
         getConstantSize(getNumElements(node.in(1).getType())) != 0;
}

/// The axes of a reduction that are known.
std::optional<SmallVector<int64_t>> getReducedAxes(NodeContext &node) {
  int64_t rank = node.inRank(0);
  bool given;
  std::optional<SmallVector<int64_t>> axes = SmallVector<int64_t>();
  if (!node.has(1) || node.getInts(1))
    axes = node.getAxes(1, rank, given);
  if (axes && axes->empty() && !node.attrInt("noop_with_empty_axes", 0))
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  return axes;
}

//===----------------------------------------------------------------------===//
// Axes that are read at run time
//===----------------------------------------------------------------------===//

/// For each dimension whether it is among the axes that a vector holds.
SmallVector<Value> readAxisFlags(Body &body, Value axes, int64_t numAxes,
                                 int64_t rank) {
  SmallVector<Value> flags(rank, body.boolean(false));
  for (int64_t k = 0; k < numAxes; ++k) {
    Value axis = body.toIndex(body.read(axes, body.index(k)));
    axis = body.select(body.lt(axis, body.index(0)),
                       body.add(axis, body.index(rank)), axis);
    for (int64_t i = 0; i < rank; ++i)
      flags[i] = body.either(flags[i], body.eq(axis, body.index(i)));
  }
  return flags;
}

/// The sizes of a reduction's result, found at run time.
std::optional<Dims> readReducedDims(NodeContext &node, bool keepDims) {
  Dims from = node.inDims(0);
  auto rank = static_cast<int64_t>(from.size());
  std::optional<int64_t> numAxes =
      node.inRank(1) == 1 ? getConstantSize(node.inDims(1)[0]) : std::nullopt;
  if (!numAxes || *numAxes < 1 || *numAxes > rank ||
      !isa<IntegerType>(node.inElem(1))) {
    (void)node.refuseDynamic(1, "the number of axes");
    return std::nullopt;
  }
  // An axis that is none, or one twice, would leave more dimensions than the
  // result has.
  LogicalResult checked =
      node.checkValues(node.in(1), [&](Body &body, ValueRange x) {
        Value zero = body.index(0), found = zero;
        for (Value flag : readAxisFlags(body, x[0], *numAxes, rank))
          found = body.add(found, body.select(flag, body.index(1), zero));
        return body.eq(found, body.index(*numAxes));
      });
  if (failed(checked))
    return std::nullopt;
  int64_t count = keepDims ? rank : rank - *numAxes;
  Dims to;
  if (count == 0)
    return to;
  Value sizes = node.computeInts(
      node.in(1),
      [&](Body &body, ValueRange x) {
        SmallVector<Value> flags = readAxisFlags(body, x[0], *numAxes, rank);
        Value one = body.index(1), next = body.index(0);
        SmallVector<Value> result(count, one);
        for (int64_t i = 0; i < rank; ++i) {
          Value size = body.extent(from[i]);
          if (keepDims) {
            result[i] = body.select(flags[i], one, size);
            continue;
          }
          for (int64_t j = 0; j < count; ++j) {
            Value isIt =
                body.both(body.negate(flags[i]), body.eq(next, body.index(j)));
            result[j] = body.select(isIt, size, result[j]);
          }
          next = body.select(flags[i], next, body.add(next, one));
        }
        for (Value &value : result)
          value = body.fromIndex(value, node.i64());
        return result;
      },
      count);
  for (int64_t j = 0; j < count && sizes; ++j) {
    to.push_back(node.readElement(sizes, j));
    if (!to.back())
      return std::nullopt;
  }
  return sizes ? std::optional(to) : std::nullopt;
}

/// Combines the elements of the input in the flat result `[size]`: sums,
/// products or extremes of what `map` makes of an element and, where `shifts`
/// says so, of the largest element that goes to the same place, which is the
/// second result.
SmallVector<Value>
reduceAtRuntime(NodeContext &node, Combiner combiner, AffineExpr size,
                Type between, bool shifts,
                llvm::function_ref<Value(Body &, Value, Value)> map) {
  Dims from = node.inDims(0);
  auto rank = static_cast<int64_t>(from.size());
  int64_t numAxes = *getConstantSize(node.inDims(1)[0]);
  RankedTensorType vector = makeTensorType({size}, between);
  SmallVector<RankedTensorType> types(shifts ? 2 : 1, vector);
  bool isFloat = isa<FloatType>(between);
  double inf = std::numeric_limits<double>::infinity();
  return emitProgram(
      node, types, {node.in(0), node.in(1)}, {},
      [&](ProgramBody &body, ValueRange x) {
        auto lowest = [&] {
          return isFloat ? body.number(-inf, between)
                         : body.integer(INT64_MIN, between);
        };
        Value neutral = combiner == Combiner::Sum    ? body.number(0, between)
                        : combiner == Combiner::Prod ? body.number(1, between)
                        : combiner == Combiner::Max  ? lowest()
                        : isFloat ? body.number(inf, between)
                                  : body.integer(INT64_MAX, between);
        body.repeat(body.extent(size), [&](Value i) {
          body.write(neutral, x[2], i);
          if (shifts)
            body.write(lowest(), x[3], i);
        });
        // How far a step along each dimension goes in the result.
        SmallVector<Value> flags = readAxisFlags(body, x[1], numAxes, rank),
                           strides(rank);
        Value stride = body.index(1), none = body.index(0);
        for (int64_t i = rank; i-- > 0;) {
          strides[i] = body.select(flags[i], none, stride);
          stride = body.select(flags[i], stride,
                               body.mul(stride, body.extent(from[i])));
        }
        auto placeOf = [&](ValueRange at) {
          Value place = none;
          for (int64_t i = 0; i < rank; ++i)
            place = body.add(place, body.mul(at[i], strides[i]));
          return place;
        };
        if (shifts) {
          body.forEach(from, [&](ValueRange at) {
            Value place = placeOf(at), value = body.read(x[0], at);
            body.write(body.max(body.read(x[3], place), value), x[3], place);
          });
          // An infinite maximum would make NaN of a difference.
          body.repeat(body.extent(size), [&](Value i) {
            Value largest = body.read(x[3], i);
            Value isInfinite = body.isNaN(body.sub(largest, largest));
            body.write(
                body.select(isInfinite, body.number(0, between), largest), x[3],
                i);
          });
        }
        body.forEach(from, [&](ValueRange at) {
          Value place = placeOf(at), value = body.read(x[0], at);
          value = map(body, value, shifts ? body.read(x[3], place) : Value());
          Value old = body.read(x[2], place);
          Value next = combiner == Combiner::Sum    ? body.add(old, value)
                       : combiner == Combiner::Prod ? body.mul(old, value)
                       : combiner == Combiner::Max  ? body.max(old, value)
                                                    : body.min(old, value);
          body.write(next, x[2], place);
        });
      });
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

/// A reduction whose axes only the data tells.
template <Reduce kind> LogicalResult convertRuntimeReduce(NodeContext &node) {
  Type type = node.inElem(0), between = getComputeType(type);
  bool isUnsigned = isUnsignedElement(type), isFloat = isa<FloatType>(between);
  // Sums and products of integers wrap, whatever the width they are taken in.
  if (!isFloat)
    between = node.i64();
  bool takesRoot =
      kind == Reduce::L2 || kind == Reduce::LogSum || kind == Reduce::LogSumExp;
  if (type.isUnsignedInteger(64) || (takesRoot && !isFloat))
    return node.refuseDynamic(1, "the axes");
  std::optional<Dims> to =
      readReducedDims(node, node.attrInt("keepdims", 1) != 0);
  if (!to)
    return failure();
  MLIRContext *context = node.b.getContext();
  AffineExpr size = product(*to, context),
             all = product(node.inDims(0), context);
  constexpr Combiner kCombiner = kind == Reduce::Prod  ? Combiner::Prod
                                 : kind == Reduce::Max ? Combiner::Max
                                 : kind == Reduce::Min ? Combiner::Min
                                                       : Combiner::Sum;
  SmallVector<Value> found = reduceAtRuntime(
      node, kCombiner, size, between, kind == Reduce::LogSumExp,
      [&](Body &body, Value x, Value shift) {
        Value value =
            isFloat ? x
                    : body.convert(x, isUnsigned ? type : x.getType(), between);
        if (kind == Reduce::L2 || kind == Reduce::SumSquare)
          return body.mul(value, value);
        if (kind == Reduce::L1)
          return isUnsigned ? value : body.abs(value);
        return shift ? body.exp(body.sub(value, shift)) : value;
      });
  if (found.empty())
    return failure();
  Value result =
      node.elementwise(found, between, [&](Body &body, ValueRange x) {
        if (kind == Reduce::Mean) {
          Value count = body.div(body.extent(all), body.extent(size));
          return body.div(x[0], body.fromIndex(count, between));
        }
        if (kind == Reduce::L2)
          return body.sqrt(x[0]);
        if (kind == Reduce::LogSum)
          return body.log(x[0]);
        return kind == Reduce::LogSumExp ? body.add(body.log(x[0]), x[1])
                                         : x[0];
      });
  return node.set(0, node.reshape(node.cast(result, type), *to));
}

template <Reduce kind> LogicalResult convertReduce(NodeContext &node) {
  bool keepDims = node.attrInt("keepdims", 1) != 0;
  if (hasRuntimeAxes(node))
    return convertRuntimeReduce<kind>(node);
  std::optional<SmallVector<int64_t>> axes = getReducedAxes(node);
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
constexpr int64_t kFewElements = 16;

/// Sums or products along an axis, one element after the other. Without `axis`
/// it is read from the second input.
template <Combiner combiner>
Value emitCumulative(NodeContext &node, std::optional<int64_t> axis) {
  Dims dims = node.inDims(0);
  MLIRContext *context = node.b.getContext();
  auto rank = static_cast<int64_t>(dims.size());
  AffineExpr total = product(dims, context), rows;
  SmallVector<Value> inputs = {node.reshape(node.in(0), {total})};
  if (axis) {
    rows = node.size(1);
    for (int64_t i = 0; i < rank; ++i)
      if (i != *axis)
        rows = simplifyDim(rows * dims[i]);
  } else {
    inputs.push_back(node.cast(node.reshape(node.in(1), {}), node.i64()));
  }
  bool exclusive = node.attrInt("exclusive", 0) != 0,
       reverse = node.attrInt("reverse", 0) != 0;
  Type type = node.inElem(0), between = getComputeType(type);
  auto emit = [&](ProgramBody &body, ValueRange x) {
    // The axis has `count` elements, each `inner` apart.
    Value one = body.index(1), count = one, inner = one;
    if (axis) {
      count = body.extent(dims[*axis]);
      inner =
          body.extent(product(ArrayRef(dims).drop_front(*axis + 1), context));
    } else {
      Value wanted = body.toIndex(body.read(x[1], {})), after = one;
      wanted = body.select(body.lt(wanted, body.index(0)),
                           body.add(wanted, body.index(rank)), wanted);
      for (int64_t i = rank; i-- > 0;) {
        Value isIt = body.eq(wanted, body.index(i)),
              size = body.extent(dims[i]);
        count = body.select(isIt, size, count);
        inner = body.select(isIt, after, inner);
        after = body.mul(after, size);
      }
    }
    auto run = [&](Value row) {
      Value before = body.div(row, inner, true),
            start = body.add(body.mul(body.mul(before, count), inner),
                             body.rem(row, inner, true));
      Value init = body.number(combiner == Combiner::Prod ? 1 : 0, between);
      (void)body.loop(count, init, [&](Value i, Value sum) {
        Value place = reverse ? body.sub(body.sub(count, one), i) : i;
        place = body.add(start, body.mul(place, inner));
        Value value = body.read(x[0], place);
        Value next = combiner == Combiner::Prod ? body.mul(sum, value)
                                                : body.add(sum, value);
        body.write(exclusive ? sum : next, x.back(), place);
        return next;
      });
    };
    if (axis)
      run(body.dim(0));
    else
      body.repeat(body.div(body.extent(total), count), run);
  };
  SmallVector<Value> result =
      emitProgram(node, {makeTensorType({total}, type)}, inputs, rows, emit);
  return result.empty() ? Value() : node.reshape(result[0], dims);
}

/// Ends the run unless the one element of a tensor is an axis.
LogicalResult checkAxis(NodeContext &node, Value axis, int64_t rank) {
  Value given = node.cast(node.reshape(axis, {}), node.i64());
  return node.checkValues(given, [&](Body &body, ValueRange x) {
    Value read = body.toIndex(body.read(x[0], {}));
    return body.both(body.le(body.index(-rank), read),
                     body.lt(read, body.index(rank)));
  });
}

template <Combiner combiner>
LogicalResult convertCumulative(NodeContext &node) {
  Dims dims = node.inDims(0);
  std::optional<SmallVector<int64_t>> axes = node.getInts(1);
  if (getConstantSize(getNumElements(node.in(1).getType())) != 1 ||
      !isa<IntegerType>(node.inElem(1)))
    return node.refuse(Diag::BadShape, "expected one axis");
  if (!axes && failed(checkAxis(node, node.in(1), dims.size())))
    return failure();
  if (!axes && dims.size() == 1)
    axes = SmallVector<int64_t>{0};
  if (!axes)
    return node.set(0, emitCumulative<combiner>(node, std::nullopt));
  std::optional<int64_t> axis = node.normalizeAxis((*axes)[0], dims.size());
  if (!axis)
    return failure();
  if (getConstantSize(dims[*axis]).value_or(kFewElements + 1) > kFewElements)
    return node.set(0, emitCumulative<combiner>(node, axis));
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
  constexpr const char *kAxes = "a number of axes that depends on data";
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
          {"CumSum", 11, 2, 2, convertCumulative<Combiner::Sum>},
          {"CumProd", 26, 2, 2, convertCumulative<Combiner::Prod>},
      });
}

} // namespace qcc::onnx_import
