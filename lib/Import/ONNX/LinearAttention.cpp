//===- LinearAttention.cpp - recurrences of language models -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Attention.h"
#include "Program.h"
#include "Registry.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Longest sequence whose steps are written one after the other, as matrix
/// products; longer ones are a program.
constexpr int64_t kMaxSteps = 32;

/// `[B, T, H * D]` at step `t` as `[B, H, rows, columns]`.
Value takeStep(NodeContext &node, Value input, int64_t t, AffineExpr heads,
               AffineExpr rows, AffineExpr columns) {
  Dims in = node.dims(input);
  Value step = node.slice(input, 1, node.size(t), node.size(1));
  return node.reshape(step, {in[0], heads, rows, columns});
}

struct Rule {
  bool decays = false, corrects = false;
  double scale = 1;
};

std::optional<Rule> readRule(NodeContext &node, int64_t width) {
  std::string name = node.attrString("update_rule", "gated_delta");
  Rule rule;
  rule.decays = name == "gated" || name == "gated_delta";
  rule.corrects = name == "delta" || name == "gated_delta";
  if (name != "linear" && !rule.decays && !rule.corrects) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected update_rule linear, gated, delta or "
                      "gated_delta, but got '" +
                          name + "'");
    return std::nullopt;
  }
  if (node.has(4) != rule.decays || node.has(5) != rule.corrects) {
    (void)node.refuse(Diag::BadGraph, "expected decay and beta exactly where "
                                      "update_rule '" +
                                          name + "' has them");
    return std::nullopt;
  }
  rule.scale = node.attrFloat("scale", 0);
  if (rule.scale == 0)
    rule.scale = 1 / std::sqrt(static_cast<double>(width));
  return rule;
}

/// Sizes of a linear attention; all but batch and steps are constants.
struct LinearShape {
  AffineExpr batch, steps;
  int64_t queryHeads, heads, keyWidth, valueWidth;
};

std::optional<LinearShape> readLinearShape(NodeContext &node) {
  for (unsigned i : {0, 1, 2})
    if (node.inRank(i) != 3 || node.inElem(i) != node.inElem(0) ||
        !isa<FloatType>(node.inElem(0))) {
      (void)node.refuse(Diag::BadShape,
                        "expected query, key and value of rank 3 and one "
                        "float type");
      return std::nullopt;
    }
  Dims q = node.inDims(0), k = node.inDims(1), v = node.inDims(2);
  LinearShape shape;
  shape.batch = q[0];
  shape.queryHeads = node.attrInt("q_num_heads", 0);
  shape.heads = node.attrInt("kv_num_heads", 0);
  std::optional<int64_t> query = getConstantSize(q[2]),
                         value = getConstantSize(v[2]);
  if (shape.heads < 1 || shape.queryHeads < 1 ||
      shape.queryHeads % shape.heads || !query || !value ||
      *query % shape.queryHeads || *value % shape.heads || *query < 1 ||
      *value < 1) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected numbers of heads that divide the sizes, and "
                      "query heads that are a multiple of key heads");
    return std::nullopt;
  }
  shape.keyWidth = *query / shape.queryHeads;
  shape.valueWidth = *value / shape.heads;
  for (const Dims &other : {k, v})
    if (!node.requireEqual(q[0], other[0], "batches") ||
        !node.requireEqual(q[1], other[1], "sequences"))
      return std::nullopt;
  if (!node.requireEqual(k[2], node.size(shape.heads * shape.keyWidth), "keys"))
    return std::nullopt;
  shape.steps = q[1];
  return shape;
}

/// The first state: the past, or zeros.
Value getFirstState(NodeContext &node, const LinearShape &shape, Type type) {
  Dims to = {shape.batch, node.size(shape.heads), node.size(shape.keyWidth),
             node.size(shape.valueWidth)};
  if (!node.has(3))
    return node.filled(to, 0, type);
  Dims have = node.inDims(3);
  if (have.size() != 4 || !isa<FloatType>(node.inElem(3))) {
    (void)node.refuse(Diag::BadShape, "expected a float state of rank 4");
    return {};
  }
  for (auto [a, b] : llvm::zip(have, to))
    if (!node.requireEqual(a, b, "states"))
      return {};
  return node.cast(node.in(3), type);
}

/// Decay and beta of rank 3: one number per head, one per key, or one for all.
Value readGate(NodeContext &node, unsigned input, const LinearShape &shape,
               AffineExpr widest, AffineExpr narrowest) {
  if (!node.has(input))
    return {};
  Dims in = node.inDims(input);
  bool isValid = in.size() == 3 && isa<FloatType>(node.inElem(input)) &&
                 (in[2] == widest || in[2] == narrowest);
  if (!isValid) {
    (void)node.refuse(Diag::BadShape,
                      "expected a gate of rank 3 with a number for each head");
    return {};
  }
  if (!node.requireEqual(in[0], shape.batch, "batches") ||
      !node.requireEqual(in[1], shape.steps, "sequences"))
    return {};
  return node.in(input);
}

/// What a linear attention reads beside query, key and value.
struct LinearInputs {
  Value state, decay, beta;
};

/// Step by step, each as operations on tensors; gives output and last state.
std::pair<Value, Value> emitSteps(NodeContext &node, const LinearShape &shape,
                                  const LinearInputs &inputs, int64_t steps) {
  Type compute = getComputeType(node.inElem(0));
  AffineExpr heads = node.size(shape.heads),
             keyWidth = node.size(shape.keyWidth),
             valueWidth = node.size(shape.valueWidth), one = node.size(1),
             group = node.size(shape.queryHeads / shape.heads),
             columns = node.size(shape.queryHeads * shape.valueWidth);
  auto step = [&](unsigned input, int64_t t, AffineExpr h, AffineExpr rows,
                  AffineExpr width) {
    return node.cast(takeStep(node, node.in(input), t, h, rows, width),
                     compute);
  };
  SmallVector<Value> outputs;
  Value state = inputs.state;
  for (int64_t t = 0; t < steps && state; ++t) {
    if (inputs.decay) {
      AffineExpr width = node.inDims(4)[2] == heads ? one : keyWidth;
      Value gate = step(4, t, heads, width, one);
      state = node.elementwise({state, gate}, compute,
                               [](Body &body, ValueRange x) {
                                 return body.mul(x[0], body.exp(x[1]));
                               });
    }
    Value value = step(2, t, heads, one, valueWidth);
    if (inputs.beta) {
      Value retrieved = node.matmul(step(1, t, heads, one, keyWidth), state);
      Value rate = step(5, t, node.inDims(5)[2], one, one);
      value = node.elementwise({value, retrieved, rate}, compute,
                               [](Body &body, ValueRange x) {
                                 return body.mul(x[2], body.sub(x[0], x[1]));
                               });
    }
    state = node.elementwise({state, step(1, t, heads, keyWidth, one), value},
                             compute, [](Body &body, ValueRange x) {
                               return body.add(x[0], body.mul(x[1], x[2]));
                             });
    // The query heads of a group are the rows of one product.
    Value read = node.matmul(step(0, t, heads, group, keyWidth), state);
    outputs.push_back(node.reshape(read, {shape.batch, one, columns}));
  }
  if (outputs.empty())
    return {node.filled({shape.batch, node.size(0), columns}, 0, compute),
            state};
  return {node.concat(outputs, 1), state};
}

/// The same as a program that runs once per batch and head: any number of
/// steps.
std::pair<Value, Value> emitStepProgram(NodeContext &node,
                                        const LinearShape &shape,
                                        const LinearInputs &inputs) {
  Type compute = getComputeType(node.inElem(0));
  AffineExpr rows = simplifyDim(shape.batch * shape.heads);
  int64_t group = shape.queryHeads / shape.heads;
  SmallVector<Value> operands = {node.in(0), node.in(1), node.in(2),
                                 inputs.state};
  unsigned decay = 0, beta = 0;
  if (inputs.decay) {
    decay = operands.size();
    operands.push_back(inputs.decay);
  }
  if (inputs.beta) {
    beta = operands.size();
    operands.push_back(inputs.beta);
  }
  if (!inputs.state)
    return {};
  bool isPerKey =
      inputs.decay && node.dims(inputs.decay)[2] != node.size(shape.heads);
  bool isShared = inputs.beta && node.dims(inputs.beta)[2] == node.size(1) &&
                  shape.heads != 1;
  SmallVector<Value> results = emitProgram(
      node,
      {makeTensorType({shape.batch, shape.steps,
                       node.size(shape.queryHeads * shape.valueWidth)},
                      compute),
       cast<RankedTensorType>(inputs.state.getType()),
       makeTensorType({rows, node.size(shape.valueWidth)}, compute)},
      operands, rows, [&](ProgramBody &body, ValueRange x) {
        size_t n = operands.size();
        Value out = x[n], state = x[n + 1], change = x[n + 2];
        Value row = body.dim(0), heads = body.index(shape.heads),
              width = body.index(shape.keyWidth),
              depth = body.index(shape.valueWidth);
        Value batch = body.div(row, heads, true),
              head = body.rem(row, heads, true);
        auto column = [&](Value h, Value size, Value i) {
          return body.add(body.mul(h, size), i);
        };
        // fn(i, j) over keys and values.
        auto overState = [&](llvm::function_ref<void(Value, Value)> fn) {
          body.repeat(width, [&](Value i) {
            body.repeat(depth, [&](Value j) { fn(i, j); });
          });
        };
        auto at = [&](Value i, Value j) {
          return SmallVector<Value>{batch, head, i, j};
        };
        overState([&](Value i, Value j) {
          body.write(body.read(x[3], at(i, j)), state, at(i, j));
        });
        body.repeat(body.extent(shape.steps), [&](Value t) {
          auto key = [&](Value i) {
            return body.read(x[1], {batch, t, column(head, width, i)});
          };
          if (decay)
            body.repeat(width, [&](Value i) {
              Value gate = body.read(
                  x[decay],
                  {batch, t, isPerKey ? column(head, width, i) : head});
              Value factor = body.exp(gate);
              body.repeat(depth, [&](Value j) {
                body.write(body.mul(body.read(state, at(i, j)), factor), state,
                           at(i, j));
              });
            });
          // What is written: the value, less what the state has for its key.
          body.repeat(depth, [&](Value j) {
            body.write(body.read(x[2], {batch, t, column(head, depth, j)}),
                       change, {row, j});
          });
          if (beta) {
            overState([&](Value i, Value j) {
              Value known = body.mul(key(i), body.read(state, at(i, j)));
              body.write(body.sub(body.read(change, {row, j}), known), change,
                         {row, j});
            });
            Value rate =
                body.read(x[beta], {batch, t, isShared ? body.index(0) : head});
            body.repeat(depth, [&](Value j) {
              body.write(body.mul(body.read(change, {row, j}), rate), change,
                         {row, j});
            });
          }
          overState([&](Value i, Value j) {
            Value added = body.mul(key(i), body.read(change, {row, j}));
            body.write(body.add(body.read(state, at(i, j)), added), state,
                       at(i, j));
          });
          body.repeat(body.index(group), [&](Value g) {
            Value query = body.add(body.mul(head, body.index(group)), g);
            auto place = [&](Value j) {
              return SmallVector<Value>{batch, t, column(query, depth, j)};
            };
            body.repeat(depth, [&](Value j) {
              body.write(body.number(0, compute), out, place(j));
            });
            overState([&](Value i, Value j) {
              Value weight =
                  body.read(x[0], {batch, t, column(query, width, i)});
              Value term = body.mul(weight, body.read(state, at(i, j)));
              body.write(body.add(body.read(out, place(j)), term), out,
                         place(j));
            });
          });
        });
      });
  if (results.empty())
    return {};
  return {results[0], results[1]};
}

/// `S_t = exp(g_t) S_{t-1} + k_t (beta_t (v_t - exp(g_t) S_{t-1}^T k_t))^T`,
/// `o_t = scale q_t^T S_t`, in f32 (f64).
LogicalResult convertLinearAttention(NodeContext &node) {
  std::optional<LinearShape> shape = readLinearShape(node);
  std::optional<Rule> rule =
      shape ? readRule(node, shape->keyWidth) : std::nullopt;
  if (!rule)
    return failure();
  Type type = node.inElem(0), compute = getComputeType(type);
  AffineExpr heads = node.size(shape->heads);
  LinearInputs inputs;
  inputs.state = getFirstState(node, *shape, compute);
  inputs.decay = readGate(node, 4, *shape,
                          node.size(shape->heads * shape->keyWidth), heads);
  inputs.beta = readGate(node, 5, *shape, heads, node.size(1));
  if (node.getProblem())
    return failure();
  std::optional<int64_t> steps = getConstantSize(shape->steps);
  auto [result, state] = steps && *steps <= kMaxSteps
                             ? emitSteps(node, *shape, inputs, *steps)
                             : emitStepProgram(node, *shape, inputs);
  if (!result || !state)
    return failure();
  result = node.unary(result, [&](Body &body, Value x) {
    return body.mul(x, body.number(rule->scale, x.getType()));
  });
  if (failed(node.set(0, node.cast(result, type))))
    return failure();
  return node.set(1, node.cast(state, node.has(3) ? node.inElem(3) : type));
}

/// Convolution of each channel with the elements up to it, those before the
/// first from the last call.
LogicalResult convertCausalConv(NodeContext &node) {
  Dims in = node.inDims(0), kernel = node.inDims(1);
  Type type = node.inElem(0);
  std::string activation = node.attrString("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    return node.refuse(Diag::BadAttribute,
                       "expected activation none, silu or swish, but got '" +
                           activation + "'");
  if (in.size() != 3 || kernel.size() != 3 || !isa<FloatType>(type) ||
      !node.requireSameTypes() || getConstantSize(kernel[1]) != 1)
    return node.refuse(Diag::BadShape,
                       "expected an input [N, C, L] and weights [C, 1, k] of "
                       "one float type");
  std::optional<int64_t> channels = getConstantSize(in[1]),
                         width = getConstantSize(kernel[2]);
  if (!channels || !width || *channels < 1 || *width < 1)
    return node.refuse(Diag::UnsupportedShape,
                       "expected channels and a kernel of static shape");
  if (!node.requireEqual(kernel[0], in[1], "the channels of input and weight"))
    return failure();
  Dims pastDims = {in[0], in[1], node.size(*width - 1)};
  Value past;
  if (node.has(3)) {
    past = node.in(3);
    if (node.inRank(3) != 3)
      return node.refuse(Diag::BadShape, "expected a state of rank 3");
    for (auto [a, b] : llvm::zip(node.inDims(3), pastDims))
      if (!node.requireEqual(a, b, "states"))
        return failure();
  } else {
    past = node.filled(pastDims, 0, type);
  }
  Value padded = *width == 1 ? node.in(0) : node.concat({past, node.in(0)}, 2);
  Value wide = node.widen(padded), weight = node.widen(node.in(1));
  if (!wide || !weight)
    return failure();
  Value result =
      ConvOp::create(node.b, makeTensorType(in, node.elem(wide)), wide, weight,
                     ArrayRef<int64_t>{1}, ArrayRef<int64_t>{0, 0},
                     ArrayRef<int64_t>{1}, *channels);
  if (node.has(2)) {
    if (node.inRank(2) != 1)
      return node.refuse(Diag::BadShape, "expected a bias of rank 1");
    result = node.add(
        result, node.reshape(node.widen(node.in(2)), {in[1], node.size(1)}));
  }
  result = node.cast(result, type);
  if (activation != "none")
    result = node.unary(result, [](Body &body, Value x) {
      return body.mul(x, body.sigmoid(x));
    });
  if (failed(node.set(0, result)))
    return failure();
  if (!node.wants(1))
    return success();
  return node.set(1, *width == 1
                         ? past
                         : node.slice(padded, 2, in[2], node.size(*width - 1)));
}

/// A cache with rows from an update, at a place that each batch has.
LogicalResult convertTensorScatter(NodeContext &node) {
  Dims cache = node.inDims(0), update = node.inDims(1);
  std::string mode = node.attrString("mode", "linear");
  if (mode != "linear" && mode != "circular")
    return node.refuse(Diag::BadAttribute,
                       "expected mode linear or circular, but got '" + mode +
                           "'");
  std::optional<int64_t> axis =
      node.normalizeAxis(node.attrInt("axis", -2), cache.size());
  if (!axis)
    return failure();
  if (*axis == 0 || cache.size() != update.size() ||
      node.inElem(0) != node.inElem(1) ||
      (node.has(2) &&
       (node.inRank(2) != 1 || !node.inElem(2).isSignlessInteger(64))))
    return node.refuse(Diag::BadShape,
                       "expected a cache and an update of one rank and type, "
                       "an axis that is not the batch, and an int64 index per "
                       "batch");
  for (size_t i = 0; i < cache.size(); ++i)
    if (i == static_cast<size_t>(*axis)
            ? !node.requireAtLeast(cache[i], update[i], "the cache")
            : !node.requireEqual(cache[i], update[i], "cache and update"))
      return failure();
  if (node.has(2) &&
      !node.requireEqual(node.inDims(2)[0], cache[0], "indices and batches"))
    return failure();
  return node.set(0, writeRows(node, node.in(0), node.in(1), node.in(2), *axis,
                               mode == "circular"));
}

} // namespace

Value writeRows(NodeContext &node, Value cache, Value update, Value begins,
                int64_t axis, bool isCircular) {
  Dims to = node.dims(cache);
  AffineExpr added = node.dims(update)[axis];
  unsigned rank = to.size();
  SmallVector<Value> inputs = {cache};
  SmallVector<AffineMap> maps = {
      AffineMap::getMultiDimIdentityMap(rank, node.b.getContext())};
  if (begins) {
    inputs.push_back(begins);
    maps.push_back(node.makeMap(rank, node.d(0)));
  }
  return node.generic(
      to, node.elem(cache), inputs, maps, update,
      [&](Body &body, ValueRange x) {
        SmallVector<Value> at;
        for (unsigned i = 0; i < rank; ++i)
          at.push_back(body.dim(i));
        Value row = at[axis], zero = body.index(0);
        if (begins)
          row = body.sub(row, body.toIndex(x[1]));
        if (isCircular) {
          Value size = body.extent(to[axis]);
          row = body.rem(row, size);
          row = body.select(body.lt(row, zero), body.add(row, size), row);
        }
        Value isNew =
            body.both(body.le(zero, row), body.lt(row, body.extent(added)));
        at[axis] = row;
        return body.readIf(isNew, x.back(), at, x[0]);
      });
}

void registerLinearAttention(Registry &registry) {
  registry.add(kOnnxDomain,
               {
                   {"LinearAttention", 27, 3, 6, convertLinearAttention},
                   {"CausalConvWithState", 27, 2, 4, convertCausalConv},
                   {"TensorScatter", 24, 2, 3, convertTensorScatter},
               });
}

} // namespace qcc::onnx_import
