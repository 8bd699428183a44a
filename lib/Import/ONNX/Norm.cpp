//===- Norm.cpp - normalisations and softmax --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Quantized.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// A vector over channels against a tensor `[N, C, ...]`.
Value perChannel(NodeContext &node, Value vector, Value tensor) {
  return node.expandRank(vector, std::max<int64_t>(node.rank(tensor) - 1, 1),
                         /*atEnd=*/true);
}

/// `x * scale + shift` with operands that broadcast; null operands are left
/// out. Computed as wide as `x` computes.
Value scaleShift(NodeContext &node, Value x, Value scale, Value shift,
                 Type elementType) {
  SmallVector<Value> operands = {x};
  if (scale)
    operands.push_back(scale);
  if (shift)
    operands.push_back(shift);
  if (operands.size() == 1)
    return node.cast(x, elementType);
  bool hasScale = static_cast<bool>(scale), hasShift = static_cast<bool>(shift);
  return node.elementwise(operands, elementType, [&](Body &body, ValueRange v) {
    Value result = hasScale ? body.mul(v[0], v[1]) : v[0];
    return hasShift ? body.add(result, v.back()) : result;
  });
}

/// Normalisation by the statistics of the batch, which also move the running
/// ones.
LogicalResult convertTrainingBatchNorm(NodeContext &node) {
  Dims in = node.inDims(0);
  Type type = node.inElem(0), compute = getComputeType(type);
  SmallVector<int64_t> axes;
  AffineExpr count = node.size(1);
  for (size_t i = 0; i < in.size(); ++i)
    if (i != 1) {
      axes.push_back(static_cast<int64_t>(i));
      count = simplifyDim(count * in[i]);
    }
  auto mean = [&](Value x, bool squared) {
    Value sum = node.reduce(
        Combiner::Sum, x, axes, false, compute,
        [&](Body &body, Value v) { return squared ? body.mul(v, v) : v; });
    return node.unary(sum, [&](Body &body, Value v) {
      return body.div(v, body.fromIndex(body.extent(count), compute));
    });
  };
  Value x = node.widen(node.in(0)), average = mean(x, false);
  Value centred = node.sub(x, perChannel(node, average, x));
  Value variance = mean(centred, true);
  double epsilon = node.attrFloat("epsilon", 1e-5f),
         momentum = node.attrFloat("momentum", 0.9f);
  auto move = [&](unsigned output, unsigned input, Value now) {
    if (!node.wants(output))
      return success();
    return node.set(
        output,
        node.elementwise(
            {node.in(input), now}, node.inElem(input),
            [&](Body &body, ValueRange v) {
              Value wide = body.convert(v[1], v[1].getType(), v[0].getType());
              auto part = [&](Value value, double weight) {
                return body.mul(value, body.number(weight, value.getType()));
              };
              return body.add(part(v[0], momentum), part(wide, 1 - momentum));
            }));
  };
  if (failed(move(1, 3, average)) || failed(move(2, 4, variance)))
    return failure();
  Value factor = node.elementwise(
      {node.cast(node.in(1), compute), variance}, compute,
      [&](Body &body, ValueRange v) {
        return body.div(
            v[0], body.sqrt(body.add(v[1], body.number(epsilon, compute))));
      });
  Value shift = node.cast(node.in(2), compute);
  return node.set(0, scaleShift(node, centred, perChannel(node, factor, x),
                                perChannel(node, shift, x), type));
}

LogicalResult convertBatchNorm(NodeContext &node) {
  bool trains = node.attrInt("training_mode", 0) != 0;
  if ((trains && node.getOpset() < 14) ||
      (node.getOpset() < 7 && !node.attrInt("is_test", 0)))
    return node.refuse(Diag::UnsupportedForm,
                       "batch normalisation in training mode is not supported "
                       "before opset 14");
  if (node.inRank(0) < 2)
    return node.refuse(Diag::BadShape, "expected a tensor of rank 2 or more");
  for (unsigned i = 1; i < 5; ++i) {
    if (node.inRank(i) != 1)
      return node.refuse(Diag::UnsupportedForm,
                         "expected statistics per channel of rank 1");
    if (!node.requireEqual(node.inDims(i)[0], node.inDims(0)[1],
                           "statistics and channels"))
      return failure();
  }
  if (trains)
    return convertTrainingBatchNorm(node);
  double epsilon = node.attrFloat("epsilon", 1e-5f);
  // Scale and shift are constants where the statistics are: the compiler
  // computes them once.
  Type compute = getComputeType(node.inElem(0));
  Value factor = node.elementwise(
      {node.in(1), node.in(4)}, compute, [&](Body &body, ValueRange v) {
        return body.div(v[0], body.sqrt(body.add(
                                  v[1], body.number(epsilon, v[1].getType()))));
      });
  Value shift = node.elementwise({node.in(2), node.in(3), factor}, compute,
                                 [](Body &body, ValueRange v) {
                                   return body.sub(v[0], body.mul(v[1], v[2]));
                                 });
  Value x = node.in(0);
  return node.set(0, scaleShift(node, x, perChannel(node, factor, x),
                                perChannel(node, shift, x), node.inElem(0)));
}

/// Rows `[rows, elements]` normalised, as `f32` (or f64).
Value normalizeRows(NodeContext &node, Value rows, NormKind kind,
                    double epsilon) {
  rows = node.widen(rows);
  if (!rows || node.getProblem())
    return {};
  if (node.elem(rows).isF32())
    return NormOp::create(node.b, rows.getType(), kind, rows,
                          llvm::APFloat(static_cast<float>(epsilon)));
  // Doubles are spelled out: the named operation computes in f32.
  Type type = node.elem(rows);
  AffineExpr count = node.dims(rows).back();
  int64_t last = node.rank(rows) - 1;
  auto mean = [&](Value x, bool squared) {
    Value sum = node.reduce(
        Combiner::Sum, x, {last}, true, type,
        [&](Body &body, Value v) { return squared ? body.mul(v, v) : v; });
    return node.unary(sum, [&](Body &body, Value v) {
      return body.div(v, body.fromIndex(body.extent(count), type));
    });
  };
  Value centred =
      kind == NormKind::Layer ? node.sub(rows, mean(rows, false)) : rows;
  return node.elementwise(
      {centred, mean(centred, true)}, type, [&](Body &body, ValueRange v) {
        return body.div(v[0],
                        body.sqrt(body.add(v[1], body.number(epsilon, type))));
      });
}

LogicalResult convertInstanceNorm(NodeContext &node) {
  Dims in = node.inDims(0);
  if (in.size() < 3)
    return node.refuse(Diag::BadShape, "expected a tensor of rank 3 or more");
  Value rows = node.reshape(
      node.in(0),
      {in[0], in[1], product(ArrayRef(in).drop_front(2), node.b.getContext())});
  Value normal = node.reshape(normalizeRows(node, rows, NormKind::Layer,
                                            node.attrFloat("epsilon", 1e-5f)),
                              in);
  Value x = node.in(0);
  return node.set(0,
                  scaleShift(node, normal, perChannel(node, node.in(1), x),
                             perChannel(node, node.in(2), x), node.inElem(0)));
}

LogicalResult convertGroupNorm(NodeContext &node) {
  Dims in = node.inDims(0);
  int64_t groups = node.attrInt("num_groups", 0);
  std::optional<int64_t> channels =
      in.size() > 2 ? getConstantSize(in[1]) : std::nullopt;
  if (groups < 1 || !channels || *channels % groups)
    return node.refuse(
        Diag::BadAttribute,
        "expected a number of groups that divides the channels, but got " +
            Twine(groups));
  AffineExpr perGroup =
      simplifyDim(product(ArrayRef(in).drop_front(1), node.b.getContext())
                      .floorDiv(groups));
  Value rows = node.reshape(node.in(0), {in[0], node.size(groups), perGroup});
  Value normal = normalizeRows(node, rows, NormKind::Layer,
                               node.attrFloat("epsilon", 1e-5f));
  Value scale = node.in(1), shift = node.in(2);
  if (node.getOpset() < 21) {
    // One scale per group in the first version of the operator.
    auto perChannelOf = [&](Value vector) {
      Value column = node.expandRank(vector, 2, /*atEnd=*/true);
      return node.reshape(
          node.broadcastTo(column,
                           {node.size(groups), node.size(*channels / groups)}),
          {in[1]});
    };
    scale = perChannelOf(scale);
    shift = perChannelOf(shift);
  }
  Value x = node.in(0);
  return node.set(0, scaleShift(node, node.reshape(normal, in),
                                perChannel(node, scale, x),
                                perChannel(node, shift, x), node.inElem(0)));
}

/// LayerNormalization and RMSNormalization over the dimensions from `axis` on;
/// the other outputs are the statistics.
LogicalResult convertRowNorm(NodeContext &node, NormKind kind) {
  Dims in = node.inDims(0);
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -1), in.size());
  if (!axis)
    return failure();
  MLIRContext *context = node.b.getContext();
  ArrayRef<AffineExpr> outer = ArrayRef(in).take_front(*axis),
                       inner = ArrayRef(in).drop_front(*axis);
  AffineExpr count = product(inner, context);
  Dims flat(outer.begin(), outer.end()), kept = flat;
  flat.push_back(count);
  kept.append(inner.size(), node.size(1));
  double epsilon = node.attrFloat("epsilon", 1e-5f);
  Value rows = node.reshape(node.in(0), flat);
  Value normal = node.reshape(normalizeRows(node, rows, kind, epsilon), in);
  if (failed(node.set(
          0, scaleShift(node, normal, node.in(1), node.in(2), node.inElem(0)))))
    return failure();
  if (kind != NormKind::Layer || (!node.wants(1) && !node.wants(2)))
    return success();
  Type compute = getComputeType(node.inElem(0));
  int64_t last = static_cast<int64_t>(flat.size()) - 1;
  auto divide = [&](Value sum) {
    return node.unary(sum, [&](Body &body, Value v) {
      return body.div(v, body.fromIndex(body.extent(count), compute));
    });
  };
  Value wide = node.widen(rows),
        mean = divide(node.reduce(Combiner::Sum, wide, {last}, true, compute));
  Value variance = divide(
      node.reduce(Combiner::Sum, node.sub(wide, mean), {last}, true, compute,
                  [](Body &body, Value v) { return body.mul(v, v); }));
  Value deviation = node.unary(variance, [&](Body &body, Value v) {
    return body.div(body.number(1, compute),
                    body.sqrt(body.add(v, body.number(epsilon, compute))));
  });
  if (node.wants(1) && failed(node.set(1, node.reshape(mean, kept))))
    return failure();
  return node.wants(2) ? node.set(2, node.reshape(deviation, kept)) : success();
}
LogicalResult convertLayerNorm(NodeContext &node) {
  return convertRowNorm(node, NormKind::Layer);
}
LogicalResult convertRMSNorm(NodeContext &node) {
  return convertRowNorm(node, NormKind::RMS);
}

/// com.microsoft: the sum of input, skip and bias is normalised, and is the
/// fourth output.
template <NormKind kind> LogicalResult convertSkipNorm(NodeContext &node) {
  constexpr bool isLayer = kind == NormKind::Layer;
  Value shift = isLayer ? node.in(3) : Value(),
        bias = isLayer ? node.in(4) : node.in(3);
  SmallVector<Value> operands = {node.in(0), node.in(1)};
  if (bias)
    operands.push_back(bias);
  Value sum =
      node.elementwise(operands, node.inElem(0), [](Body &body, ValueRange v) {
        Value result = body.add(v[0], v[1]);
        return v.size() > 2 ? body.add(result, v[2]) : result;
      });
  if (node.wants(3) && failed(node.set(3, sum)))
    return failure();
  Value normal =
      normalizeRows(node, sum, kind, node.attrFloat("epsilon", 1e-5f));
  return node.set(0,
                  scaleShift(node, normal, node.in(2), shift, node.inElem(0)));
}

/// com.microsoft: groups of channels, which may be the last dimension, and SiLU
/// after.
LogicalResult convertContribGroupNorm(NodeContext &node) {
  Dims in = node.inDims(0);
  bool isLast = node.attrInt("channels_last", 1) != 0;
  int64_t groups = node.attrInt("groups", 0),
          activation = node.attrInt("activation", 0);
  std::optional<int64_t> channels =
      in.size() == 4 ? getConstantSize(in[isLast ? 3 : 1]) : std::nullopt;
  if (groups < 1 || !channels || *channels % groups || activation < 0 ||
      activation > 1)
    return node.refuse(Diag::BadAttribute,
                       "expected an image of rank 4, groups that divide its "
                       "channels, and activation 0 or 1");
  Value x = isLast ? node.transpose(node.in(0), {0, 3, 1, 2}) : node.in(0);
  Dims planes = node.dims(x);
  AffineExpr perGroup =
      simplifyDim(product(ArrayRef(planes).drop_front(1), node.b.getContext())
                      .floorDiv(groups));
  Value rows = node.reshape(x, {planes[0], node.size(groups), perGroup});
  Value normal = normalizeRows(node, rows, NormKind::Layer,
                               node.attrFloat("epsilon", 1e-5f));
  Type compute = getComputeType(node.inElem(0));
  Value result = scaleShift(node, node.reshape(normal, planes),
                            perChannel(node, node.in(1), x),
                            perChannel(node, node.in(2), x), compute);
  if (activation == 1)
    result = node.unary(result, [](Body &body, Value v) {
      return body.mul(v, body.sigmoid(v));
    });
  if (isLast && result)
    result = node.transpose(result, {0, 2, 3, 1});
  return node.set(0, node.cast(result, node.inElem(0)));
}

/// Rows of a table `[entries, width]` at indices, which are brought into range.
Value lookUp(NodeContext &node, Value table, Value indices) {
  Dims to = node.dims(indices), in = node.dims(table);
  unsigned rank = to.size();
  to.push_back(in[1]);
  SmallVector<AffineExpr> reads;
  for (unsigned i = 0; i < rank; ++i)
    reads.push_back(node.d(i));
  return node.generic(
      to, node.elem(table), indices, node.makeMap(rank + 1, reads), table,
      [&](Body &body, ValueRange x) {
        Value index = body.clampIndex(body.toIndex(x[0]), body.extent(in[0]));
        return body.read(x[1], {index, body.dim(rank)});
      });
}

/// Where inputs of com.microsoft's two embeddings are. Those of codes are
/// followed by a scale for each tensor, then by a zero point for each.
enum EmbedInput : unsigned {
  kIds,
  kSegmentIds,
  kWords,
  kPositions,
  kSegments,
  kGamma,
  kBeta,
  kMask,
  kPositionIds,
};
constexpr unsigned kFirstScale = 8, kFirstZero = 13;

/// True if a tensor has no codes, or codes with what they need.
bool checkEmbedCodes(NodeContext &node, unsigned input, unsigned scale,
                     unsigned zero) {
  for (unsigned i : {input, scale, zero})
    if (!node.has(i)) {
      (void)node.refuse(Diag::BadGraph,
                        "expected input " + Twine(i) + ", but it is left out");
      return false;
    }
  bool areBytes = node.inElem(input).isInteger(8) &&
                  node.inElem(zero) == node.inElem(input) &&
                  node.inElem(scale).isF32();
  if (!areBytes)
    (void)node.refuse(Diag::UnsupportedType,
                      "expected tensors of int8 or uint8 with zero points of "
                      "their type and scales of float");
  return areBytes;
}

/// `value`, made of input `input` by moving elements, as floats.
Value readEmbedding(NodeContext &node, unsigned input, Value value,
                    bool isCoded) {
  if (!isCoded || !value)
    return value;
  // Gamma and beta follow the three tables.
  unsigned at = input - kWords, scale = kFirstScale + at,
           zero = kFirstZero + at;
  if (!checkEmbedCodes(node, input, scale, zero))
    return {};
  return dequantize(node, value, asScalar(node, node.in(scale)),
                    asScalar(node, node.in(zero)), node.f32());
}

/// Checks what both embeddings have.
LogicalResult checkEmbedding(NodeContext &node, bool isCoded) {
  for (unsigned i : {kWords, kPositions, kGamma, kBeta})
    if (!node.has(i))
      return node.refuse(Diag::BadGraph,
                         "expected input " + Twine(i) + ", but it is left out");
  if (isCoded && node.has(kSegmentIds) != node.has(kSegments))
    return node.refuse(Diag::BadGraph,
                       "expected segment ids and a table of segments, or "
                       "neither");
  Dims ids = node.inDims(kIds);
  bool hasSegments = node.has(kSegmentIds) && node.has(kSegments);
  auto isMatrix = [&](unsigned i) {
    return !node.has(i) || node.inRank(i) == 2;
  };
  if (ids.size() != 2 || !isMatrix(kWords) || !isMatrix(kPositions) ||
      (hasSegments &&
       (!isMatrix(kSegments) || node.inDims(kSegmentIds) != ids)) ||
      !isMatrix(kMask) || (!isCoded && !isMatrix(kPositionIds)))
    return node.refuse(Diag::BadShape,
                       "expected ids [B, S] and tables of rank 2");
  return success();
}

/// com.microsoft: embeddings of words, positions and segments are added and
/// normalised. `isCoded`: tables, gamma and beta are bytes.
template <bool isCoded> LogicalResult convertEmbedLayerNorm(NodeContext &node) {
  if (failed(checkEmbedding(node, isCoded)))
    return failure();
  Dims ids = node.inDims(kIds);
  Type type = isCoded ? node.f32() : node.inElem(kWords);
  auto rows = [&](unsigned table, unsigned indices) {
    return readEmbedding(
        node, table, lookUp(node, node.in(table), node.in(indices)), isCoded);
  };
  Value words = rows(kWords, kIds), positions;
  if (!isCoded && node.has(kPositionIds))
    positions = rows(kPositions, kPositionIds);
  else if (node.requireAtLeast(node.inDims(kPositions)[0], ids[1], "positions"))
    positions = readEmbedding(
        node, kPositions,
        node.slice(node.in(kPositions), 0, node.size(0), ids[1]), isCoded);
  if (!words || !positions)
    return failure();
  SmallVector<Value> parts = {words, positions};
  if (node.has(kSegmentIds) && node.has(kSegments)) {
    parts.push_back(rows(kSegments, kSegmentIds));
    if (!parts.back())
      return failure();
  }
  Value sum = node.elementwise(parts, type, [](Body &body, ValueRange x) {
    Value result = body.add(x[0], x[1]);
    return x.size() > 2 ? body.add(result, x[2]) : result;
  });
  if (node.wants(2) && failed(node.set(2, sum)))
    return failure();
  if (node.wants(1)) {
    // The number of words that the mask lets through.
    Type count = node.b.getI32Type();
    Value lengths =
        node.has(kMask)
            ? node.reduce(Combiner::Sum, node.in(kMask), {1}, false, count,
                          [&](Body &body, Value x) {
                            Type from = x.getType();
                            return body.convert(
                                body.eq(x, body.integer(1, from)),
                                body.b.getI1Type(), count);
                          })
            : node.filled({ids[0]}, 0, count);
    if (failed(node.set(1, lengths)))
      return failure();
  }
  Value normal = normalizeRows(node, sum, NormKind::Layer,
                               node.attrFloat("epsilon", 1e-12f));
  Value gamma = readEmbedding(node, kGamma, node.in(kGamma), isCoded),
        beta = readEmbedding(node, kBeta, node.in(kBeta), isCoded);
  if (!gamma || !beta)
    return failure();
  return node.set(0, scaleShift(node, normal, gamma, beta, type));
}

LogicalResult convertLRN(NodeContext &node) {
  Dims in = node.inDims(0);
  int64_t size = node.attrInt("size", 0);
  if (size < 1 || size > 1 << 20 || in.size() < 3)
    return node.refuse(
        Diag::BadAttribute,
        "expected a size of 1 or more and a tensor of rank 3 or more");
  double alpha = node.attrFloat("alpha", 1e-4f),
         beta = node.attrFloat("beta", 0.75), bias = node.attrFloat("bias", 1);
  unsigned rank = in.size();
  Type type = node.inElem(0), compute = getComputeType(type);
  int64_t before = (size - 1) / 2;
  Value sum = node.reduction(
      Combiner::Sum, in, compute, {}, {}, node.in(0), {node.size(size)},
      [&](Body &body, ValueRange x) {
        SmallVector<Value> position;
        for (unsigned i = 0; i < rank; ++i)
          position.push_back(body.dim(i));
        Value channels = body.extent(in[1]);
        Value channel =
            body.sub(body.add(position[1], body.dim(rank)), body.index(before));
        Value inside = body.both(body.le(body.index(0), channel),
                                 body.lt(channel, channels));
        position[1] = body.clampIndex(channel, channels);
        Value value = body.read(x[0], position);
        return body.select(inside, body.mul(value, value),
                           body.number(0, value.getType()));
      });
  return node.set(
      0,
      node.elementwise({node.in(0), sum}, type, [&](Body &body, ValueRange v) {
        Value scale = body.add(
            body.number(bias, compute),
            body.mul(body.number(alpha / static_cast<double>(size), compute),
                     v[1]));
        return body.div(v[0], body.pow(scale, body.number(beta, compute)));
      }));
}

LogicalResult convertLpNorm(NodeContext &node) {
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -1), node.inRank(0));
  int64_t p = node.attrInt("p", 2);
  if (!axis || (p != 1 && p != 2))
    return axis ? node.refuse(Diag::BadAttribute,
                              "expected p to be 1 or 2, but got " + Twine(p))
                : failure();
  Type type = node.inElem(0), compute = getComputeType(type);
  Value sum = node.reduce(Combiner::Sum, node.in(0), {*axis}, true, compute,
                          [&](Body &body, Value v) {
                            return p == 1 ? body.abs(v) : body.mul(v, v);
                          });
  return node.set(
      0,
      node.elementwise({node.in(0), sum}, type, [&](Body &body, ValueRange v) {
        Value norm = p == 1 ? v[1] : body.sqrt(v[1]),
              zero = body.number(0, compute);
        // A vector of zeros stays one.
        return body.select(body.eq(norm, zero), zero, body.div(v[0], norm));
      }));
}

LogicalResult convertMeanVariance(NodeContext &node) {
  SmallVector<int64_t> axes =
      node.attrInts("axes").value_or(SmallVector<int64_t>{0, 2, 3});
  Type type = node.inElem(0), compute = getComputeType(type);
  AffineExpr count = node.size(1);
  for (int64_t &axis : axes) {
    std::optional<int64_t> normal = node.normalizeAxis(axis, node.inRank(0));
    if (!normal)
      return failure();
    axis = *normal;
    count = count * node.inDims(0)[axis];
  }
  auto mean = [&](Value sum) {
    return node.unary(sum, [&](Body &body, Value v) {
      return body.div(v,
                      body.fromIndex(body.extent(simplifyDim(count)), compute));
    });
  };
  Value wide = node.widen(node.in(0));
  Value centred = node.sub(
      wide, mean(node.reduce(Combiner::Sum, wide, axes, true, compute)));
  Value variance =
      mean(node.reduce(Combiner::Sum, centred, axes, true, compute,
                       [](Body &body, Value v) { return body.mul(v, v); }));
  return node.set(
      0, node.elementwise(
             {centred, variance}, type, [&](Body &body, ValueRange v) {
               return body.div(
                   v[0], body.add(body.sqrt(v[1]), body.number(1e-9, compute)));
             }));
}

enum class SoftmaxKind { Soft, Log, Hard };

template <SoftmaxKind kind> LogicalResult convertSoftmax(NodeContext &node) {
  Dims in = node.inDims(0);
  bool flattens = node.getOpset() < 13;
  std::optional<int64_t> axis = node.normalizeAxis(
      node.attrInt("axis", flattens ? 1 : -1), std::max<size_t>(in.size(), 1));
  if (!axis)
    return failure();
  Value rows = node.in(0);
  int64_t along = *axis;
  if (in.empty()) {
    rows = node.reshape(rows, {node.size(1)});
  } else if (flattens) {
    // All dimensions from the axis on are one row. What is one dimension
    // already stays as it is.
    bool single =
        llvm::all_of(ArrayRef(in).drop_front(*axis + 1),
                     [](AffineExpr dim) { return getConstantSize(dim) == 1; });
    if (!single) {
      MLIRContext *context = node.b.getContext();
      rows = node.reshape(rows,
                          {product(ArrayRef(in).take_front(*axis), context),
                           product(ArrayRef(in).drop_front(*axis), context)});
      along = 1;
    }
  }
  Value result;
  if (kind != SoftmaxKind::Hard) {
    result = node.softmax(rows, along, kind == SoftmaxKind::Log);
  } else {
    // 1 at the first of the largest elements.
    Dims dims = node.dims(rows), kept = dims;
    Type type = node.inElem(0);
    kept.erase(kept.begin() + along);
    Value wide = node.widen(rows);
    Value largest = ArgReduceOp::create(
        node.b, makeTensorType(kept, node.i64()), wide, along, false, false);
    SmallVector<AffineExpr> reads;
    for (unsigned i = 0; i < dims.size(); ++i)
      if (i != along)
        reads.push_back(node.d(i));
    result = node.generic(
        dims, type, largest, node.makeMap(dims.size(), reads), {},
        [&](Body &body, ValueRange x) {
          Type compute = getComputeType(type);
          return body.select(body.eq(body.toIndex(x[0]), body.dim(along)),
                             body.number(1, compute), body.number(0, compute));
        });
  }
  return node.set(0, node.reshape(result, in));
}

} // namespace

void registerNorm(Registry &registry) {
  registry.add(
      kOnnxDomain,
      {
          {"BatchNormalization", 1, 5, 5, convertBatchNorm,
           "training mode before opset 14"},
          {"InstanceNormalization", 1, 3, 3, convertInstanceNorm},
          {"GroupNormalization", 18, 3, 3, convertGroupNorm},
          {"LayerNormalization", 1, 2, 3, convertLayerNorm},
          {"RMSNormalization", 23, 2, 2, convertRMSNorm},
          {"SimplifiedLayerNormalization", 1, 2, 2, convertRMSNorm,
           "made by ONNX Runtime's tools, without a domain of its own"},
          {"LRN", 1, 1, 1, convertLRN},
          {"LpNormalization", 1, 1, 1, convertLpNorm},
          {"MeanVarianceNormalization", 9, 1, 1, convertMeanVariance},
          {"Softmax", 1, 1, 1, convertSoftmax<SoftmaxKind::Soft>},
          {"LogSoftmax", 1, 1, 1, convertSoftmax<SoftmaxKind::Log>},
          {"Hardmax", 1, 1, 1, convertSoftmax<SoftmaxKind::Hard>},
      });
  registry.add(
      kMicrosoftDomain,
      {
          {"SkipLayerNormalization", 1, 3, 5, convertSkipNorm<NormKind::Layer>,
           "the outputs of mean and deviation"},
          {"SkipSimplifiedLayerNormalization", 1, 3, 4,
           convertSkipNorm<NormKind::RMS>, "the outputs of mean and deviation"},
          {"GroupNorm", 1, 3, 3, convertContribGroupNorm},
          {"EmbedLayerNormalization", 1, 1, 9, convertEmbedLayerNorm<false>},
          {"QEmbedLayerNormalization", 1, 1, 18, convertEmbedLayerNorm<true>},
      });
}

} // namespace qcc::onnx_import
