//===- Signal.cpp - Fourier transforms and mel filters ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A transform of a length that is known is one matrix product with a constant
// matrix; any other length sums with a table of the unit circle that is made at
// run time. Both take their angles from integers below the length, in f64, so
// that no error grows with the index.
//
//===----------------------------------------------------------------------===//
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Most elements of the matrix of a transform; longer ones read the table.
constexpr int64_t kMaxMatrix = int64_t(1) << 23;

/// A transform along one axis of `[..., 1 or 2]`, real parts before imaginary
/// ones.
struct Transform {
  AffineExpr length;
  bool inverse = false, onesided = false;

  /// A one-sided spectrum back to a real signal.
  bool isRealInverse() const { return inverse && onesided; }
  int64_t parts() const { return isRealInverse() ? 1 : 2; }
  /// Elements of the result along the axis.
  AffineExpr getBins() const {
    return onesided && !inverse ? simplifyDim(length.floorDiv(2) + 1) : length;
  }
  /// Elements of the input that the result depends on: what is beyond is cut
  /// off, what is missing is zero.
  AffineExpr getUsed() const {
    return isRealInverse() ? simplifyDim(length.floorDiv(2) + 1) : length;
  }
};

/// `[length, 2]`: cosine and sine of `2 pi m / length`.
Value emitCircle(NodeContext &node, AffineExpr length, Type type) {
  Type f64 = node.b.getF64Type();
  constexpr double kTwoPi = 6.283185307179586476925;
  return node.generate({length, node.size(2)}, type, [&](Body &body) {
    Value turns = body.div(
        body.mul(body.fromIndex(body.dim(0), f64), body.number(kTwoPi, f64)),
        body.fromIndex(body.extent(length), f64));
    Value isCosine = body.eq(body.dim(1), body.index(0));
    Value value = body.select(isCosine, body.cos(turns), body.sin(turns));
    return body.convert(value, f64, type);
  });
}

/// What part `from` of input element `n` adds to part `to` of result element
/// `k`: the product with `e^(+-2 pi i k n / length)`.
struct Factor {
  const Transform &transform;
  AffineExpr length = transform.length;

  Value operator()(Body &body, Value circle, Value n, Value from, Value k,
                   Value to) const {
    Value size = body.extent(length);
    Value turn = body.rem(body.mul(n, k), size);
    Value cosine = body.read(circle, {turn, body.index(0)}),
          sine = body.read(circle, {turn, body.index(1)});
    Type type = cosine.getType();
    Value zero = body.index(0);
    Value negative = transform.inverse ? body.eq(to, zero) : body.ne(to, zero);
    Value crossed = body.select(negative, body.neg(sine), sine);
    Value value = body.select(body.eq(from, to), cosine, crossed);
    if (!transform.inverse)
      return value;
    value = body.div(value, body.fromIndex(size, type));
    if (!transform.isRealInverse())
      return value;
    // Bins that stand for two, the other one being their conjugate.
    Value twice = body.mul(n, body.index(2));
    Value isAlone = body.either(body.eq(n, zero), body.eq(twice, size));
    Value once = body.select(body.eq(from, zero), value, body.number(0, type));
    return body.select(isAlone, once, body.add(value, value));
  }
};

/// The product of `[..., rows * parts]` with a constant matrix. All sizes of
/// the axis are constants.
Value emitByMatrix(NodeContext &node, const Transform &transform, Value input,
                   int64_t axis, int64_t rows) {
  Dims in = node.dims(input);
  int64_t rank = in.size(), parts = *getConstantSize(in.back());
  int64_t bins = *getConstantSize(transform.getBins());
  Type type = node.elem(input);
  Value used = node.slice(input, axis, node.size(0), node.size(rows));
  SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(swap[axis], swap[rank - 2]);
  Value moved = axis == rank - 2 ? used : node.transpose(used, swap);
  Dims outer(ArrayRef(node.dims(moved)).drop_back(2));
  Value lines = node.reshape(
      moved, {product(outer, node.b.getContext()), node.size(rows * parts)});
  Value circle = emitCircle(node, transform.length, type);
  Dims matrixDims = {node.size(rows * parts),
                     node.size(bins * transform.parts())};
  Factor factor{transform};
  Value matrix = node.generic(
      matrixDims, type, {}, {}, circle, [&](Body &body, ValueRange x) {
        Value partsIn = body.index(parts),
              partsOut = body.index(transform.parts());
        Value row = body.dim(0), column = body.dim(1);
        return factor(body, x[0], body.div(row, partsIn, true),
                      body.rem(row, partsIn, true),
                      body.div(column, partsOut, true),
                      body.rem(column, partsOut, true));
      });
  Value product = node.matmul(lines, matrix);
  Dims to = outer;
  llvm::append_values(to, node.size(bins), node.size(transform.parts()));
  Value result = node.reshape(product, to);
  return axis == rank - 2 ? result : node.transpose(result, swap);
}

/// The sum over the axis, element by element of the result.
Value emitBySum(NodeContext &node, const Transform &transform, Value input,
                int64_t axis) {
  Dims in = node.dims(input), to = in;
  unsigned rank = in.size();
  int64_t parts = *getConstantSize(in.back());
  to[axis] = transform.getBins();
  to.back() = node.size(transform.parts());
  Type type = node.elem(input);
  Value circle = emitCircle(node, transform.length, type);
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  for (int64_t part = 0; part < parts; ++part) {
    SmallVector<AffineExpr> reads;
    for (unsigned i = 0; i + 1 < rank; ++i)
      reads.push_back(node.d(i == axis ? rank : i));
    reads.push_back(node.size(part));
    inputs.push_back(input);
    maps.push_back(node.makeMap(rank + 1, reads));
  }
  Factor factor{transform};
  return node.reduction(
      Combiner::Sum, to, type, inputs, maps, circle, {in[axis]},
      [&](Body &body, ValueRange x) {
        Value n = body.dim(rank), k = body.dim(axis), part = body.dim(rank - 1),
              sum;
        for (int64_t from = 0; from < parts; ++from) {
          Value weight = factor(body, x.back(), n, body.index(from), k, part);
          Value term = body.mul(x[from], weight);
          sum = sum ? body.add(sum, term) : term;
        }
        Value isUsed = body.lt(n, body.extent(transform.getUsed()));
        return body.select(isUsed, sum, body.number(0, type));
      });
}

/// The transform of a float tensor along an axis before the last one.
Value emitTransform(NodeContext &node, const Transform &transform, Value input,
                    int64_t axis) {
  if (!input)
    return {};
  Dims in = node.dims(input);
  std::optional<int64_t> length = getConstantSize(transform.length),
                         have = getConstantSize(in[axis]),
                         parts = getConstantSize(in.back());
  if (!parts || *parts < 1 || *parts > 2) {
    (void)node.refuse(Diag::BadShape,
                      "expected a last dimension of 1 (real) or 2 (complex)");
    return {};
  }
  if (transform.onesided && (*parts == 2) != transform.inverse) {
    (void)node.refuse(
        Diag::BadAttribute,
        "expected a real signal, or a complex spectrum with inverse, where "
        "onesided is 1");
    return {};
  }
  if (!node.requireAtLeast(transform.length, node.size(1),
                           "the length of the transform"))
    return {};
  Type type = node.elem(input);
  Value wide = node.widen(input), result;
  if (length && have) {
    int64_t rows = std::min(*have, *getConstantSize(transform.getUsed()));
    int64_t columns = *getConstantSize(transform.getBins()) * transform.parts();
    if (rows > 0 && *length <= kMaxMatrix &&
        rows * *parts <= kMaxMatrix / columns)
      result = emitByMatrix(node, transform, wide, axis, rows);
  }
  if (!result)
    result = emitBySum(node, transform, wide, axis);
  return node.cast(result, type);
}

/// One of `values` of equal type, by the position of `number` among
/// `candidates`; the first one if it is none of them.
Value chooseAtRuntime(NodeContext &node, Value number,
                      ArrayRef<int64_t> candidates, ArrayRef<Value> values) {
  if (!number || llvm::any_of(values, [](Value value) { return !value; }))
    return {}; // refused already
  Value result = values[0];
  Dims to = node.dims(result);
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(to.size(), node.b.getContext());
  for (size_t i = 1; i < values.size() && result; ++i)
    result = node.generic(to, node.elem(result), {result, values[i], number},
                          {identity, identity, node.makeMap(to.size(), {})}, {},
                          [&](Body &body, ValueRange x) {
                            Value isIt = body.eq(body.toIndex(x[2]),
                                                 body.index(candidates[i]));
                            return body.select(isIt, x[1], x[0]);
                          });
  return result;
}

/// The length of a transform along an axis, given or not.
std::optional<AffineExpr> readLength(NodeContext &node, int64_t axis,
                                     bool isRealInverse) {
  AffineExpr extent = node.inDims(0)[axis];
  if (node.has(1))
    return node.getScalarSize(1, "the length of the transform");
  return isRealInverse ? simplifyDim((extent - 1) * 2) : extent;
}

LogicalResult convertDft(NodeContext &node) {
  int64_t rank = node.inRank(0);
  if (rank < 2 || !isa<FloatType>(node.inElem(0)))
    return node.refuse(Diag::BadShape,
                       "expected a float tensor of rank 2 or more");
  Transform transform;
  transform.inverse = node.attrInt("inverse", 0) != 0;
  transform.onesided = node.attrInt("onesided", 0) != 0;
  auto emit = [&](int64_t axis) -> Value {
    std::optional<AffineExpr> length =
        readLength(node, axis, transform.isRealInverse());
    if (!length)
      return {};
    transform.length = *length;
    return emitTransform(node, transform, node.in(0), axis);
  };
  std::optional<SmallVector<int64_t>> given;
  if (node.getOpset() < 20)
    given = SmallVector<int64_t>{node.attrInt("axis", 1)};
  else if (!node.has(2))
    given = SmallVector<int64_t>{-2};
  else
    given = node.getInts(2);
  if (given) {
    if (given->size() != 1)
      return node.refuse(Diag::BadShape, "expected one axis");
    std::optional<int64_t> axis = node.normalizeAxis((*given)[0], rank);
    if (!axis)
      return failure();
    if (*axis == rank - 1)
      return node.refuse(Diag::BadAttribute,
                         "expected an axis before the last one");
    return node.set(0, emit(*axis));
  }
  // An axis that is read at run time: all that give the stated shape are
  // computed.
  SmallVector<int64_t> candidates;
  SmallVector<Value> values;
  std::optional<Dims> declared = node.getDeclaredDims(0);
  for (int64_t axis = 0; axis + 1 < rank; ++axis) {
    std::optional<AffineExpr> length =
        readLength(node, axis, transform.isRealInverse());
    if (!length)
      return failure();
    transform.length = *length;
    Dims to = node.inDims(0);
    to[axis] = transform.getBins();
    to.back() = node.size(transform.parts());
    if (declared && *declared != to)
      continue;
    candidates.push_back(axis);
    values.push_back(emit(axis));
    if (!values.back())
      return failure();
    if (values.back().getType() != values[0].getType())
      return node.refuseDynamic(2, "the axis");
  }
  if (values.empty())
    return node.refuseDynamic(2, "the axis");
  Value axis = node.unary(
      node.cast(node.reshape(node.in(2), {}), node.i64()),
      [&](Body &body, Value x) {
        Value fromEnd = body.add(x, body.integer(rank, node.i64()));
        return body.select(body.lt(x, body.integer(0, node.i64())), fromEnd, x);
      });
  if (failed(node.checkValues(axis, [&](Body &body, ValueRange x) {
        Value wanted = body.read(x[0], {}), isOne = body.boolean(false);
        for (int64_t candidate : candidates)
          isOne = body.either(
              isOne, body.eq(wanted, body.integer(candidate, node.i64())));
        return isOne;
      })))
    return failure();
  return node.set(0, chooseAtRuntime(node, axis, candidates, values));
}

/// The frames of a signal `[N, T, parts]`: `[N, frames, length, parts]`.
Value emitFrames(NodeContext &node, Value signal, AffineExpr step,
                 AffineExpr length) {
  Dims in = node.dims(signal);
  AffineExpr frames = simplifyDim((in[1] - length).floorDiv(step) + 1);
  Dims to = {in[0], frames, length, in[2]};
  if (std::optional<int64_t> known = getConstantSize(step))
    return node.copy(to, signal,
                     node.makeMap(4, {node.d(0), node.d(1) * *known + node.d(2),
                                      node.d(3)}));
  return node.generic(
      to, node.elem(signal), {}, {}, signal, [&](Body &body, ValueRange x) {
        Value place =
            body.add(body.mul(body.dim(1), body.extent(step)), body.dim(2));
        return body.read(x[0], {body.dim(0),
                                body.clampIndex(place, body.extent(in[1])),
                                body.dim(3)});
      });
}

LogicalResult convertStft(NodeContext &node) {
  Type type = node.inElem(0);
  Value signal = node.in(0);
  // Exporters leave out the last dimension of real signals.
  if (node.inRank(0) == 2)
    signal = node.expandRank(signal, 3, /*atEnd=*/true);
  if (!signal || node.rank(signal) != 3 || !isa<FloatType>(type))
    return node.refuse(Diag::BadShape, "expected a float signal of rank 3");
  Dims in = node.dims(signal);
  bool hasWindow = node.has(2);
  if (hasWindow && (node.inRank(2) != 1 || node.inElem(2) != type))
    return node.refuse(Diag::BadShape,
                       "expected a window of rank 1 and the signal's type");
  std::optional<AffineExpr> step = node.getScalarSize(1, "the frame step"),
                            length = in[1];
  if (hasWindow)
    length = node.inDims(2)[0];
  if (node.has(3)) {
    std::optional<AffineExpr> given =
        hasWindow && !node.getSizes(3)
            ? length
            : node.getScalarSize(3, "the frame length");
    if (given && hasWindow &&
        !node.requireEqual(*given, *length, "frame and window"))
      return failure();
    length = given;
  }
  if (!step || !length)
    return failure();
  if (!node.requireAtLeast(*step, node.size(1), "a frame step") ||
      !node.requireAtLeast(*length, node.size(1), "a frame length") ||
      !node.requireAtLeast(in[1], *length, "the signal"))
    return failure();
  Value frames = node.widen(emitFrames(node, signal, *step, *length));
  if (hasWindow && frames) {
    Value window =
        node.reshape(node.widen(node.in(2)), {*length, node.size(1)});
    frames = node.mul(frames, window);
  }
  Transform transform{*length, /*inverse=*/false,
                      node.attrInt("onesided", 1) != 0};
  return node.set(0,
                  node.cast(emitTransform(node, transform, frames, 2), type));
}

//===----------------------------------------------------------------------===//
// Mel filters
//===----------------------------------------------------------------------===//

/// Bins of the spectrum where the triangles begin, peak and end: `count + 2`
/// steps of one size on the scale `2595 log10(1 + f / 700)`.
Value emitMelEdges(NodeContext &node, AffineExpr count) {
  Type f64 = node.b.getF64Type();
  SmallVector<Value> numbers;
  for (unsigned i = 1; i < 5; ++i)
    numbers.push_back(node.cast(node.reshape(node.in(i), {}), f64));
  AffineExpr edges = simplifyDim(count + 2);
  AffineMap scalar = node.makeMap(1, {});
  return node.generic(
      {edges}, node.i64(), numbers, {scalar, scalar, scalar, scalar}, {},
      [&](Body &body, ValueRange x) {
        auto number = [&](double value) { return body.number(value, f64); };
        Value ln10 = number(2.302585092994045684);
        auto toMel = [&](Value hertz) {
          Value log = body.log1p(body.div(hertz, number(700)));
          return body.div(body.mul(number(2595), log), ln10);
        };
        Value low = toMel(x[2]), high = toMel(x[3]);
        Value step = body.div(body.sub(high, low),
                              body.fromIndex(body.extent(edges), f64));
        Value mel =
            body.add(body.mul(body.fromIndex(body.dim(0), f64), step), low);
        Value hertz =
            body.mul(number(700),
                     body.expm1(body.mul(body.div(mel, number(2595)), ln10)));
        Value place =
            body.div(body.mul(body.add(x[0], number(1)), hertz), x[1]);
        return body.convert(body.floor(place), f64, node.i64());
      });
}

LogicalResult convertMelWeights(NodeContext &node) {
  for (unsigned i = 0; i < 5; ++i)
    if (getConstantSize(getNumElements(node.in(i).getType())) != 1)
      return node.refuse(Diag::BadShape, "expected five numbers, but input " +
                                             Twine(i) + " is none");
  std::optional<Dims> declared = node.getDeclaredDims(0);
  Dims to;
  if (declared && declared->size() == 2 &&
      (!node.getSizes(0) || !node.getSizes(1))) {
    to = *declared;
  } else {
    std::optional<AffineExpr> count =
                                  node.getScalarSize(0, "the number of bands"),
                              length =
                                  node.getScalarSize(1, "the DFT's length");
    if (!count || !length)
      return failure();
    to = {simplifyDim(length->floorDiv(2) + 1), *count};
  }
  if (!node.requireAtLeast(to[1], node.size(0), "the number of bands") ||
      !node.requireAtLeast(to[0], node.size(0), "the number of bins"))
    return failure();
  Type type = node.attrType("output_datatype", node.f32());
  Value edges = emitMelEdges(node, to[1]);
  if (!type || !edges)
    return failure();
  Type f32 = node.f32();
  Value weights =
      node.generic(to, f32, {}, {}, edges, [&](Body &body, ValueRange x) {
        auto edge = [&](int64_t offset) {
          Value at = body.add(body.dim(1), body.index(offset));
          return body.toIndex(body.read(x[0], at));
        };
        Value bin = body.dim(0), low = edge(0), centre = edge(1),
              high = edge(2);
        Value zero = body.number(0, f32), one = body.number(1, f32);
        auto ratio = [&](Value a, Value b) {
          return body.div(body.fromIndex(a, f32), body.fromIndex(b, f32));
        };
        Value rising = ratio(body.sub(bin, low), body.sub(centre, low));
        Value falling = ratio(body.sub(high, bin), body.sub(high, centre));
        Value rises = body.both(body.le(low, bin), body.lt(bin, centre)),
              falls = body.both(body.lt(centre, bin), body.lt(bin, high));
        Value sides =
            body.select(rises, rising, body.select(falls, falling, zero));
        return body.select(body.eq(bin, centre), one, sides);
      });
  return node.set(0, node.cast(weights, type));
}

} // namespace

void registerSignal(Registry &registry) {
  registry.add(kOnnxDomain,
               {
                   {"DFT", 17, 1, 3, convertDft},
                   {"STFT", 17, 2, 4, convertStft},
                   {"MelWeightMatrix", 17, 5, 5, convertMelWeights},
               });
}

} // namespace qcc::onnx_import
