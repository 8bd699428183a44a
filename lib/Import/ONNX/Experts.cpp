//===- Experts.cpp - tokens through the experts of a mixture ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One program lists the tokens of each expert; an expert is then a branch that
// runs if it has any, on their rows alone. So each expert's weights are
// constants of their own: packed, in the model's codes, or quantized like
// those of any product.
//
//===----------------------------------------------------------------------===//
#include "Experts.h"
#include "Activation.h"
#include "Program.h"

using namespace mlir;

namespace qcc::onnx_import {

namespace {

//===----------------------------------------------------------------------===//
// Routing
//===----------------------------------------------------------------------===//

/// `values[t, e]` where fewer than `k` of row t of `scores` are above or, of
/// equal ones, have a higher number; 0 elsewhere.
Value keepLargest(NodeContext &node, Value scores, Value values, int64_t k) {
  if (!scores || !values)
    return {};
  Dims dims = node.dims(scores);
  Type count = node.b.getI32Type();
  Value above = node.reduction(
      Combiner::Sum, dims, count, {scores, scores},
      {node.makeMap(3, {node.d(0), node.d(1)}),
       node.makeMap(3, {node.d(0), node.d(2)})},
      {}, {dims[1]}, [&](Body &body, ValueRange x) {
        Value isBehind =
            body.both(body.eq(x[0], x[1]), body.lt(body.dim(1), body.dim(2)));
        return body.select(body.either(body.lt(x[0], x[1]), isBehind),
                           body.integer(1, count), body.integer(0, count));
      });
  return node.elementwise(
      {above, values}, node.f32(), [&](Body &body, ValueRange x) {
        return body.select(body.lt(x[0], body.integer(k, count)), x[1],
                           body.number(0, x[1].getType()));
      });
}

/// Rows over their sums; a row of zeros stays one.
Value normalizeSums(NodeContext &node, Value rows) {
  Value sums = node.reduce(Combiner::Sum, rows, {1}, true, node.f32());
  if (!sums)
    return {};
  return node.elementwise(
      {rows, sums}, node.f32(), [&](Body &body, ValueRange x) {
        Value zero = body.number(0, x[0].getType());
        return body.select(body.eq(x[1], zero), zero, body.div(x[0], x[1]));
      });
}

/// MoE: the largest probabilities.
Value routeProbabilities(NodeContext &node, Value logits, int64_t k) {
  Value all = logits ? node.softmax(logits, 1, false) : Value();
  Value kept = keepLargest(node, all, all, k);
  return kept && node.attrInt("normalize_routing_weights", 0)
             ? normalizeSums(node, kept)
             : kept;
}

/// QMoE: the softmax of the largest logits alone, or what `router_weights` has
/// in their places. What is hardly anything is none.
Value routeLogits(NodeContext &node, Value logits, int64_t k) {
  constexpr unsigned routerWeights = 14;
  Value kept;
  bool normalizes = true;
  if (node.has(routerWeights)) {
    Value values = node.cast(node.in(routerWeights), node.f32());
    kept = keepLargest(node, logits, values, k);
    normalizes = node.attrInt("normalize_routing_weights", 0) != 0;
  } else if (logits) {
    Value most = node.reduce(Combiner::Max, logits, {1}, true, node.f32());
    Value powers = node.elementwise({logits, most}, node.f32(),
                                    [](Body &body, ValueRange x) {
                                      return body.exp(body.sub(x[0], x[1]));
                                    });
    kept = keepLargest(node, logits, powers, k);
  }
  if (kept && normalizes)
    kept = normalizeSums(node, kept);
  if (!kept)
    return {};
  return node.unary(kept, [](Body &body, Value x) {
    constexpr double least = 1e-8;
    return body.select(body.lt(body.number(least, x.getType()), x), x,
                       body.number(0, x.getType()));
  });
}

/// The tokens of each expert: `lists[e, i]`; `places[t, e]` is where a token is
/// in its expert's list; how many there are of each.
struct Lists {
  Value lists, places, counts;
};

std::optional<Lists> listTokens(NodeContext &node, Value weights) {
  if (!weights)
    return std::nullopt;
  Dims dims = node.dims(weights);
  Type i64 = node.i64();
  SmallVector<Value> results = emitProgram(
      node,
      {makeTensorType({dims[1], dims[0]}, i64), makeTensorType(dims, i64),
       makeTensorType({dims[1]}, i64)},
      weights, {}, [&](ProgramBody &body, ValueRange x) {
        body.repeat(body.extent(dims[1]), [&](Value expert) {
          SmallVector<Value> count = body.loop(
              body.extent(dims[0]), ValueRange{body.index(0)},
              [&](Value token, ValueRange at) -> SmallVector<Value> {
                Value weight = body.read(x[0], {token, expert});
                Value isChosen =
                    body.lt(body.number(0, weight.getType()), weight);
                body.write(body.fromIndex(at[0], i64), x[2], {token, expert});
                body.when(isChosen, [&] {
                  body.write(body.fromIndex(token, i64), x[1], {expert, at[0]});
                });
                return {body.select(isChosen, body.add(at[0], body.index(1)),
                                    at[0])};
              });
          body.write(body.fromIndex(count[0], i64), x[3], expert);
        });
      });
  if (results.empty())
    return std::nullopt;
  return Lists{results[0], results[1], results[2]};
}

//===----------------------------------------------------------------------===//
// Experts
//===----------------------------------------------------------------------===//

/// Rows times a weight, and its bias.
Value multiplyExpert(NodeContext &node, Value rows, WeightReader weights,
                     unsigned weight, unsigned bias, int64_t expert) {
  Value matrix = weights(weight, expert);
  if (!rows || !matrix)
    return {};
  Value product = node.matmul(rows, matrix, false, /*transB=*/true);
  Value offset = node.takePart(node.in(bias), expert);
  return offset ? node.add(product, node.widen(offset)) : product;
}

Value activateExpert(NodeContext &node, const Mixture &mixture, Value rows) {
  if (!rows || mixture.activation == ExpertActivation::Identity)
    return rows;
  if (mixture.activation != ExpertActivation::SwiGLU)
    return node.unary(rows, [&](Body &body, Value x) {
      if (mixture.activation == ExpertActivation::Relu)
        return body.max(x, body.number(0, x.getType()));
      return mixture.activation == ExpertActivation::Gelu
                 ? geluTanh(body, x)
                 : body.mul(x, body.sigmoid(x));
    });
  // Gates lie at even columns, what they gate behind each.
  AffineExpr gate = node.d(1) * 2;
  return node.generic(
      {node.dims(rows)[0], mixture.inner}, node.f32(), {rows, rows},
      {node.makeMap(2, {node.d(0), gate}),
       node.makeMap(2, {node.d(0), gate + 1})},
      {}, [&](Body &body, ValueRange x) {
        Type type = x[0].getType();
        Value top = body.number(mixture.limit, type);
        Value open = body.min(x[0], top);
        Value value = body.clamp(x[1], body.number(-mixture.limit, type), top);
        Value sigmoid =
            body.sigmoid(body.mul(body.number(mixture.alpha, type), open));
        return body.mul(body.mul(open, sigmoid),
                        body.add(value, body.number(mixture.beta, type)));
      });
}

/// `sum` and what an expert makes of its tokens, by their weights.
Value addExpert(NodeContext &node, const Mixture &mixture, Value rows,
                Value weights, const Lists &lists, Value sum, WeightReader read,
                int64_t expert) {
  AffineExpr count = node.readElement(lists.counts, expert);
  if (!count)
    return {};
  AffineExpr number = node.size(expert), hidden = mixture.hidden;
  AffineExpr tokens = node.dims(rows)[0];
  Value own = node.generic({count, hidden}, node.f32(), lists.lists,
                           node.makeMap(2, {number, node.d(0)}), rows,
                           [&](Body &body, ValueRange x) {
                             Value token = body.clampIndex(body.toIndex(x[0]),
                                                           body.extent(tokens));
                             return body.read(x[1], {token, body.dim(1)});
                           });
  Value inner =
      activateExpert(node, mixture,
                     multiplyExpert(node, own, read, mixture.firstWeight,
                                    mixture.firstBias, expert));
  Value result = multiplyExpert(node, inner, read, mixture.secondWeight,
                                mixture.secondBias, expert);
  if (!result)
    return {};
  AffineMap column = node.makeMap(2, {node.d(0), number});
  return node.generic(
      node.dims(sum), node.f32(), {sum, weights, lists.places},
      {AffineMap::getMultiDimIdentityMap(2, node.b.getContext()), column,
       column},
      result, [&](Body &body, ValueRange x) {
        Value zero = body.number(0, x[1].getType());
        Value place = body.clampGuarded(body.toIndex(x[2]), body.extent(count));
        Value isChosen = body.lt(zero, x[1]);
        Value part = body.readIf(isChosen, x[3], {place, body.dim(1)}, zero);
        return body.select(isChosen, body.add(x[0], body.mul(x[1], part)),
                           x[0]);
      });
}

/// The same in a branch, for experts that no token may go to.
Value branchToExpert(NodeContext &node, const Mixture &mixture, Value rows,
                     Value weights, const Lists &lists, Value sum,
                     WeightReader read, int64_t expert) {
  Value isNeeded = node.generic(
      {}, node.b.getI1Type(), lists.counts, node.makeMap(0, node.size(expert)),
      {}, [](Body &body, ValueRange x) {
        return body.lt(body.integer(0, x[0].getType()), x[0]);
      });
  if (!isNeeded || !sum)
    return {};
  auto branch = IfOp::create(node.b, TypeRange{sum.getType()}, isNeeded);
  OpBuilder::InsertionGuard guard(node.b);
  node.b.createBlock(&branch.getThenRegion());
  Value next =
      addExpert(node, mixture, rows, weights, lists, sum, read, expert);
  if (!next)
    return {};
  YieldOp::create(node.b, next);
  node.b.createBlock(&branch.getElseRegion());
  YieldOp::create(node.b, sum);
  return branch.getResult(0);
}

} // namespace

LogicalResult emitMixture(NodeContext &node, const Mixture &mixture,
                          AffineExpr tokens, WeightReader read) {
  Value rows =
      node.reshape(node.cast(node.in(0), node.f32()), {tokens, mixture.hidden});
  Value logits = node.cast(node.in(1), node.f32());
  // The router may have another name for the number of tokens.
  logits = node.reshape(logits, {tokens, node.size(mixture.numExperts)});
  Value weights = mixture.isCoded
                      ? routeLogits(node, logits, mixture.chosen)
                      : routeProbabilities(node, logits, mixture.chosen);
  std::optional<Lists> lists = listTokens(node, weights);
  if (!rows || !lists)
    return failure();
  Value sum = node.filled({tokens, mixture.hidden}, 0, node.f32());
  for (int64_t expert = 0; expert < mixture.numExperts; ++expert) {
    sum =
        branchToExpert(node, mixture, rows, weights, *lists, sum, read, expert);
    if (!sum || node.getProblem())
      return failure();
  }
  return node.set(0,
                  node.cast(node.reshape(sum, node.inDims(0)), node.inElem(0)));
}

} // namespace qcc::onnx_import
