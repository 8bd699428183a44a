//===- Recurrent.cpp - LSTM, GRU and RNN, step by step ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The products with the inputs are one for all steps, and each step is a
// product with the state and one or two generics. A few steps are spelled out,
// which is what streaming models need that take one step a run; more, or a
// number that is known only at run time, become a loop.
//
//===----------------------------------------------------------------------===//
#include "ControlFlow.h"
#include "Importer.h"
#include "RecurrentCodes.h"
#include "Registry.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace qcc::onnx_import {
namespace {

/// Longest sequence that is spelled out.
constexpr int64_t kMaxSpelledSteps = 16;

struct Activation {
  std::string name;
  double alpha, beta;
};

/// What one direction computes with. Tensors are f32 (or f64).
struct Direction {
  /// `[in, gates * H]` products of all steps with the inputs and their bias,
  /// `[steps, B, gates * H]`; weights of the state `[gates * H, H]`; bias of
  /// the state `[gates * H]`; peepholes `[3 * H]`. The last two may be null.
  Value products, weights, bias, peepholes;
  /// In place of `weights` where those are codes, `[H, gates * H]`.
  std::optional<CodedWeight> coded;
  Value hidden, cell;
  SmallVector<Activation> activations;
  bool reverse = false;
};

/// What an operator is.
using Step = void (*)(NodeContext &, const struct Layer &, Direction &,
                      AffineExpr);
struct Kind {
  int64_t gates;
  ArrayRef<StringRef> defaults; ///< activations of a direction
  Step step;
  bool hasCell = false;
  bool isCoded = false; ///< DynamicQuantizeLSTM
};

struct Layer {
  AffineExpr steps, batch, hidden;
  int64_t gates = 0;
  Value lengths;
  double clip = 0;
  bool batchFirst = false;
  Type type;
};

Value activate(Body &body, const Activation &f, Value x) {
  Type type = x.getType();
  auto number = [&](double value) { return body.number(value, type); };
  Value zero = number(0);
  std::string name = StringRef(f.name).lower();
  if (name == "sigmoid")
    return body.sigmoid(x);
  if (name == "tanh")
    return body.tanh(x);
  if (name == "relu")
    return body.max(x, zero);
  if (name == "affine")
    return body.add(body.mul(number(f.alpha), x), number(f.beta));
  if (name == "leakyrelu")
    return body.select(body.lt(x, zero), body.mul(number(f.alpha), x), x);
  if (name == "thresholdedrelu")
    return body.select(body.lt(number(f.alpha), x), x, zero);
  if (name == "scaledtanh")
    return body.mul(number(f.alpha), body.tanh(body.mul(number(f.beta), x)));
  if (name == "hardsigmoid")
    return body.clamp(body.add(body.mul(number(f.alpha), x), number(f.beta)),
                      zero, number(1));
  if (name == "elu") {
    Value below = body.sub(body.exp(body.min(x, zero)), number(1));
    return body.select(body.lt(x, zero), body.mul(number(f.alpha), below), x);
  }
  if (name == "softsign")
    return body.div(x, body.add(number(1), body.abs(x)));
  Value tail = body.log1p(body.exp(body.neg(body.abs(x)))); // softplus
  return body.add(body.max(x, zero), tail);
}

/// The activations of all directions: `perDirection` for each.
std::optional<SmallVector<Activation>>
readActivations(NodeContext &node, ArrayRef<StringRef> defaults,
                int64_t directions) {
  SmallVector<Activation> result;
  const onnx::AttributeProto *given = node.findAttr("activations");
  SmallVector<double> alphas =
      node.attrFloats("activation_alpha").value_or(SmallVector<double>());
  SmallVector<double> betas =
      node.attrFloats("activation_beta").value_or(SmallVector<double>());
  size_t count = defaults.size() * directions, nextAlpha = 0, nextBeta = 0;
  if (given && given->strings_size() != static_cast<int>(count)) {
    (void)node.refuse(Diag::BadAttribute, "expected " + Twine(count) +
                                              " activations, but got " +
                                              Twine(given->strings_size()));
    return std::nullopt;
  }
  struct Known {
    StringRef name;
    double alpha, beta;
    bool hasAlpha, hasBeta;
  };
  static constexpr Known kKnown[] = {{"sigmoid", 0, 0, false, false},
                                     {"tanh", 0, 0, false, false},
                                     {"relu", 0, 0, false, false},
                                     {"softsign", 0, 0, false, false},
                                     {"softplus", 0, 0, false, false},
                                     {"affine", 1, 0, true, true},
                                     {"leakyrelu", 0.01, 0, true, false},
                                     {"thresholdedrelu", 1, 0, true, false},
                                     {"scaledtanh", 1, 1, true, true},
                                     {"hardsigmoid", 0.2, 0.5, true, true},
                                     {"elu", 1, 0, true, false}};
  for (size_t i = 0; i < count; ++i) {
    std::string name = given ? given->strings(static_cast<int>(i))
                             : defaults[i % defaults.size()].str();
    const Known *known = llvm::find_if(kKnown, [&](const Known &k) {
      return StringRef(name).lower() == k.name;
    });
    if (known == std::end(kKnown)) {
      (void)node.refuse(Diag::BadAttribute,
                        "expected an activation of ONNX, but got another name");
      return std::nullopt;
    }
    Activation activation{name, known->alpha, known->beta};
    if (known->hasAlpha && nextAlpha < alphas.size())
      activation.alpha = alphas[nextAlpha++];
    if (known->hasBeta && nextBeta < betas.size())
      activation.beta = betas[nextBeta++];
    result.push_back(activation);
  }
  return result;
}

/// Gate `index` of a `[B, gates * H]` tensor.
AffineMap readGate(NodeContext &node, const Layer &layer, int64_t index) {
  return node.makeMap(2, {node.d(0), node.d(1) + layer.hidden * index});
}
/// Gate `index` of a vector.
AffineMap readVector(NodeContext &node, const Layer &layer, int64_t index) {
  return node.makeMap(2, {node.d(1) + layer.hidden * index});
}

Value clip(Body &body, const Layer &layer, Value x) {
  if (layer.clip <= 0)
    return x;
  return body.clamp(x, body.number(-layer.clip, x.getType()),
                    body.number(layer.clip, x.getType()));
}

/// The product of the state in front of a step with its weights.
Value multiplyState(NodeContext &node, const Layer &layer, const Direction &dir,
                    AffineExpr step) {
  if (!dir.coded)
    return node.matmul(dir.hidden, dir.weights, false, true);
  Value state = layer.lengths ? dropEnded(node, dir.hidden, layer.lengths, step)
                              : dir.hidden;
  return multiplyCoded(node, state, *dir.coded);
}

/// The state's part of all gates at a step, added to the inputs' part.
Value sumGates(NodeContext &node, const Layer &layer, const Direction &dir,
               AffineExpr step) {
  Dims shape = {layer.batch, simplifyDim(layer.hidden * layer.gates)};
  Value here =
      node.reshape(node.slice(dir.products, 0, step, node.size(1)), shape);
  Value state = multiplyState(node, layer, dir, step);
  if (dir.bias)
    state = node.add(state, dir.bias);
  return node.add(here, state);
}

void stepLSTM(NodeContext &node, const Layer &layer, Direction &dir,
              AffineExpr step) {
  Value gates = sumGates(node, layer, dir, step);
  bool coupled = node.attrInt("input_forget", 0) != 0;
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(2, node.b.getContext());
  Dims shape = {layer.batch, layer.hidden};
  // Gates lie in the order input, output, forget, cell; peepholes input,
  // output, forget.
  SmallVector<Value> inputs = {gates, gates, gates, dir.cell};
  SmallVector<AffineMap> maps = {readGate(node, layer, 0),
                                 readGate(node, layer, 2),
                                 readGate(node, layer, 3), identity};
  if (dir.peepholes) {
    inputs.append({dir.peepholes, dir.peepholes});
    maps.append({readVector(node, layer, 0), readVector(node, layer, 2)});
  }
  dir.cell = node.generic(
      shape, layer.type, inputs, maps, {}, [&](Body &body, ValueRange x) {
        Value in = x[0], forget = x[1];
        if (x.size() > 4) {
          in = body.add(in, body.mul(x[4], x[3]));
          forget = body.add(forget, body.mul(x[5], x[3]));
        }
        in = activate(body, dir.activations[0], clip(body, layer, in));
        forget = coupled ? body.sub(body.number(1, in.getType()), in)
                         : activate(body, dir.activations[0],
                                    clip(body, layer, forget));
        Value candidate =
            activate(body, dir.activations[1], clip(body, layer, x[2]));
        return body.add(body.mul(forget, x[3]), body.mul(in, candidate));
      });
  inputs = {gates, dir.cell};
  maps = {readGate(node, layer, 1), identity};
  if (dir.peepholes) {
    inputs.push_back(dir.peepholes);
    maps.push_back(readVector(node, layer, 1));
  }
  dir.hidden = node.generic(
      shape, layer.type, inputs, maps, {}, [&](Body &body, ValueRange x) {
        Value out = x.size() > 2 ? body.add(x[0], body.mul(x[2], x[1])) : x[0];
        out = activate(body, dir.activations[0], clip(body, layer, out));
        return body.mul(out, activate(body, dir.activations[2], x[1]));
      });
}

void stepGRU(NodeContext &node, const Layer &layer, Direction &dir,
             AffineExpr step) {
  bool resetAfter = node.attrInt("linear_before_reset", 0) != 0;
  Dims all = {layer.batch, simplifyDim(layer.hidden * 3)},
       shape = {layer.batch, layer.hidden};
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(2, node.b.getContext());
  Value here =
      node.reshape(node.slice(dir.products, 0, step, node.size(1)), all);
  Value state = node.matmul(dir.hidden, dir.weights, false, true);
  if (dir.bias)
    state = node.add(state, dir.bias);
  // Gates lie in the order update, reset, hidden.
  auto gate = [&](Body &body, Value x, Value y) {
    return activate(body, dir.activations[0],
                    clip(body, layer, body.add(x, y)));
  };
  Value candidate;
  if (resetAfter) {
    candidate = node.generic(
        shape, layer.type, {here, state, here, state},
        {readGate(node, layer, 1), readGate(node, layer, 1),
         readGate(node, layer, 2), readGate(node, layer, 2)},
        {}, [&](Body &body, ValueRange x) {
          return body.add(x[2], body.mul(gate(body, x[0], x[1]), x[3]));
        });
  } else {
    Value reset = node.generic(
        shape, layer.type, {here, state, dir.hidden},
        {readGate(node, layer, 1), readGate(node, layer, 1), identity}, {},
        [&](Body &body, ValueRange x) {
          return body.mul(gate(body, x[0], x[1]), x[2]);
        });
    Value weights =
        node.slice(dir.weights, 0, simplifyDim(layer.hidden * 2), layer.hidden);
    candidate = node.matmul(reset, weights, false, true);
    if (dir.bias)
      candidate = node.add(
          candidate,
          node.slice(dir.bias, 0, simplifyDim(layer.hidden * 2), layer.hidden));
    candidate = node.generic(
        shape, layer.type, {candidate, here},
        {identity, readGate(node, layer, 2)}, {},
        [&](Body &body, ValueRange x) { return body.add(x[0], x[1]); });
  }
  dir.hidden = node.generic(
      shape, layer.type, {here, state, candidate, dir.hidden},
      {readGate(node, layer, 0), readGate(node, layer, 0), identity, identity},
      {}, [&](Body &body, ValueRange x) {
        Value update = gate(body, x[0], x[1]),
              fresh =
                  activate(body, dir.activations[1], clip(body, layer, x[2]));
        Value rest = body.sub(body.number(1, update.getType()), update);
        return body.add(body.mul(rest, fresh), body.mul(update, x[3]));
      });
}

void stepRNN(NodeContext &node, const Layer &layer, Direction &dir,
             AffineExpr step) {
  Value sum = sumGates(node, layer, dir, step);
  dir.hidden = node.unary(sum, [&](Body &body, Value x) {
    return activate(body, dir.activations[0], clip(body, layer, x));
  });
}

/// Keeps the value from before a step where a sequence has ended; `ended` is
/// what stands there else.
Value maskStep(NodeContext &node, const Layer &layer, Value fresh, Value ended,
               AffineExpr step) {
  if (!layer.lengths)
    return fresh;
  AffineMap identity =
      AffineMap::getMultiDimIdentityMap(2, node.b.getContext());
  SmallVector<Value> inputs = {fresh, layer.lengths};
  SmallVector<AffineMap> maps = {identity, node.makeMap(2, node.d(0))};
  if (ended) {
    inputs.push_back(ended);
    maps.push_back(identity);
  }
  return node.generic(
      {layer.batch, layer.hidden}, layer.type, inputs, maps, {},
      [&](Body &body, ValueRange x) {
        Value runs = body.lt(body.extent(step), body.toIndex(x[1]));
        return body.select(
            runs, x[0], x.size() > 2 ? x[2] : body.number(0, x[0].getType()));
      });
}

/// Part `index` of the directions, in the type of computation.
Value takeDirection(NodeContext &node, Value tensor, int64_t index) {
  return node.takePart(node.widen(tensor), index);
}

std::optional<Layer> readLayer(NodeContext &node, const Kind &kind,
                               int64_t directions, Value input) {
  Layer layer;
  Dims x = node.dims(input), r = node.inDims(2), w = node.inDims(1);
  if (x.size() != 3 || r.size() != 3 || w.size() != 3 ||
      getConstantSize(w[0]) != directions ||
      getConstantSize(r[0]) != directions) {
    (void)node.refuse(Diag::BadShape, "expected an input and weights of rank "
                                      "3, one weight for each direction");
    return std::nullopt;
  }
  // Weights that are codes are turned.
  unsigned gatesAt = kind.isCoded ? 2 : 1;
  layer.steps = x[0];
  layer.gates = kind.gates;
  layer.batch = x[1];
  layer.hidden = r[3 - gatesAt];
  layer.clip = node.attrFloat("clip", 0);
  layer.lengths = node.in(4);
  layer.type = getComputeType(node.inElem(0));
  if (!node.requireEqual(r[gatesAt], simplifyDim(layer.hidden * kind.gates),
                         "gates and hidden sizes") ||
      !node.requireEqual(w[gatesAt], r[gatesAt], "gates of both weights"))
    return std::nullopt;
  if (layer.lengths && node.rank(layer.lengths) != 1) {
    (void)node.refuse(Diag::BadShape, "expected a vector of lengths");
    return std::nullopt;
  }
  if (layer.lengths && !node.requireEqual(node.dims(layer.lengths)[0],
                                          layer.batch, "lengths and batches"))
    return std::nullopt;
  return layer;
}

/// Products `[rows, gates * H]` of all steps' inputs with the weights; weights
/// of the state.
Value multiplyInputs(NodeContext &node, const Kind &kind, Value rows,
                     int64_t index, Direction &dir) {
  if (!kind.isCoded) {
    dir.weights = takeDirection(node, node.in(2), index);
    return node.matmul(rows, takeDirection(node, node.in(1), index), false,
                       true);
  }
  constexpr unsigned inputScale = 8, stateScale = 10;
  std::optional<CodedWeight> weight =
      readCodedWeight(node, 1, inputScale, index);
  dir.coded = readCodedWeight(node, 2, stateScale, index);
  return weight && dir.coded ? multiplyCoded(node, rows, *weight) : Value();
}

/// Weights, products with the inputs and first state of one direction.
Direction makeDirection(NodeContext &node, const Layer &layer, const Kind &kind,
                        Value input, int64_t index) {
  Direction dir;
  Dims x = node.dims(input);
  AffineExpr width = simplifyDim(layer.hidden * layer.gates);
  AffineExpr rows = mulDims(x[0], x[1]);
  if (!rows)
    (void)node.refuse(Diag::LimitReached,
                      "expected sizes of at most 2^40, but got more");
  Value flat = rows ? node.reshape(input, {rows, x[2]}) : Value();
  Value products = multiplyInputs(node, kind, flat, index, dir);
  Value bias = takeDirection(node, node.in(3), index);
  if (bias) {
    products = node.add(products, node.slice(bias, 0, node.size(0), width));
    dir.bias = node.slice(bias, 0, width, width);
  }
  dir.products = node.reshape(products, {x[0], x[1], width});
  auto firstState = [&](unsigned i) {
    bool isTurned = layer.batchFirst && node.has(i) && node.inRank(i) == 3;
    Value state = isTurned ? node.transpose(node.in(i), {1, 0, 2}) : node.in(i);
    return takeDirection(node, state, index);
  };
  // A state may have another name for the batch.
  Dims shape = {layer.batch, layer.hidden};
  dir.hidden = node.reshape(firstState(5), shape);
  if (!dir.hidden)
    dir.hidden = node.filled({layer.batch, layer.hidden}, 0, layer.type);
  if (kind.hasCell) {
    dir.cell = node.reshape(firstState(6), shape);
    if (!dir.cell)
      dir.cell = node.filled({layer.batch, layer.hidden}, 0, layer.type);
    dir.peepholes = takeDirection(node, node.in(7), index);
  }
  return dir;
}

/// One step at position `at` of the sequence: the state becomes the next one,
/// and the output `[B, H]` comes back.
Value emitStep(NodeContext &node, const Layer &layer, Direction &dir, Step step,
               AffineExpr at) {
  Value hidden = dir.hidden, cell = dir.cell;
  step(node, layer, dir, at);
  Value output = maskStep(node, layer, dir.hidden, {}, at);
  dir.hidden = maskStep(node, layer, dir.hidden, hidden, at);
  if (cell)
    dir.cell = maskStep(node, layer, dir.cell, cell, at);
  return output;
}

/// The outputs `[steps, B, H]` of a direction whose steps are spelled out.
Value spellSteps(NodeContext &node, const Layer &layer, Direction &dir,
                 Step step, int64_t count) {
  AffineExpr one = node.size(1);
  SmallVector<Value> outputs(count);
  for (int64_t i = 0; i < count && !node.getProblem(); ++i) {
    int64_t at = dir.reverse ? count - 1 - i : i;
    outputs[at] = node.reshape(emitStep(node, layer, dir, step, node.size(at)),
                               {one, layer.batch, layer.hidden});
  }
  return count ? node.concat(outputs, 0)
               : node.filled({node.size(0), layer.batch, layer.hidden}, 0,
                             layer.type);
}

/// The same as a loop.
Value loopSteps(NodeContext &node, const Layer &layer, Direction &dir,
                Step step) {
  SmallVector<Value> init = {dir.hidden};
  if (dir.cell)
    init.push_back(dir.cell);
  LoopImport loop(node, init);
  AffineExpr iteration = loop.getIteration();
  if (!iteration)
    return {};
  AffineExpr last = simplifyDim(layer.steps - 1);
  auto body = [&](ArrayRef<Value> carried, SmallVectorImpl<Value> &results) {
    OpBuilder::InsertionGuard guard(node.b);
    node.b.restoreInsertionPoint(
        node.importer.getBuilder().saveInsertionPoint());
    Direction here = dir;
    here.hidden = carried[0];
    here.cell = carried.size() > 1 ? carried[1] : Value();
    Value output =
        emitStep(node, layer, here, step,
                 dir.reverse ? simplifyDim(last - iteration) : iteration);
    results.push_back(here.hidden);
    if (here.cell)
      results.push_back(here.cell);
    results.push_back(output);
    return failure(node.getProblem().has_value());
  };
  std::optional<SmallVector<Value>> results =
      loop.run(layer.steps, {}, true, false, body);
  if (!results)
    return {};
  dir.hidden = (*results)[0];
  if (dir.cell)
    dir.cell = (*results)[1];
  Value stack = results->back();
  return dir.reverse ? node.slice(stack, 0, last, layer.steps, -1) : stack;
}

/// The outputs `[steps, B, H]` of a direction.
Value emitDirection(NodeContext &node, const Layer &layer, const Kind &kind,
                    Direction &dir) {
  std::optional<int64_t> count = getConstantSize(layer.steps);
  if (node.getProblem())
    return {};
  return count && *count <= kMaxSpelledSteps
             ? spellSteps(node, layer, dir, kind.step, *count)
             : loopSteps(node, layer, dir, kind.step);
}

LogicalResult emitRecurrent(NodeContext &node, const Kind &kind) {
  if (!isa<FloatType>(node.inElem(0)))
    return node.refuse(Diag::UnsupportedType, "expected a float tensor");
  std::string direction = node.attrString("direction", "forward");
  int64_t directions = direction == "bidirectional" ? 2 : 1;
  bool batchFirst = node.attrInt("layout", 0) != 0;
  if (node.inRank(0) != 3)
    return node.refuse(Diag::BadShape, "expected an input of rank 3");
  Value input = node.widen(batchFirst ? node.transpose(node.in(0), {1, 0, 2})
                                      : node.in(0));
  if (!input)
    return failure();
  std::optional<Layer> layer = readLayer(node, kind, directions, input);
  std::optional<SmallVector<Activation>> activations =
      readActivations(node, kind.defaults, directions);
  if (!layer || !activations)
    return failure();
  layer->batchFirst = batchFirst;
  AffineExpr one = node.size(1);
  Dims last = {one, layer->batch, layer->hidden};
  SmallVector<Value> sequences, hiddens, cells;
  auto perDirection = static_cast<int64_t>(kind.defaults.size());
  for (int64_t d = 0; d < directions; ++d) {
    bool reverse = direction == "reverse" || d == 1;
    // Which steps are rounded together is the same from the front.
    bool isTurned = reverse && kind.isCoded && layer->lengths;
    Value from = isTurned ? turnSequences(node, input, layer->lengths) : input;
    if (kind.isCoded && layer->lengths)
      from = dropPadding(node, from, layer->lengths);
    if (!from)
      return failure();
    Direction dir = makeDirection(node, *layer, kind, from, d);
    dir.reverse = reverse && !isTurned;
    auto first = activations->begin() + d * perDirection;
    dir.activations.assign(first, first + perDirection);
    Value outputs = emitDirection(node, *layer, kind, dir);
    if (isTurned)
      outputs = turnSequences(node, outputs, layer->lengths);
    if (!outputs || node.getProblem())
      return failure();
    sequences.push_back(node.reshape(
        outputs, {layer->steps, one, layer->batch, layer->hidden}));
    hiddens.push_back(node.reshape(dir.hidden, last));
    if (kind.hasCell)
      cells.push_back(node.reshape(dir.cell, last));
  }
  auto finish = [&](ArrayRef<Value> parts, int64_t axis,
                    ArrayRef<int64_t> batchOrder) {
    Value result = node.cast(node.concat(parts, axis), node.inElem(0));
    return batchFirst ? node.transpose(result, batchOrder) : result;
  };
  if (failed(node.set(0, finish(sequences, 1, {2, 0, 1, 3}))) ||
      failed(node.set(1, finish(hiddens, 0, {1, 0, 2}))))
    return failure();
  return kind.hasCell ? node.set(2, finish(cells, 0, {1, 0, 2})) : success();
}

constexpr StringRef kCellActivations[] = {"Sigmoid", "Tanh", "Tanh"};
constexpr StringRef kGatedActivations[] = {"Sigmoid", "Tanh"};
constexpr StringRef kPlainActivations[] = {"Tanh"};

LogicalResult convertLSTM(NodeContext &node) {
  return emitRecurrent(node, {4, kCellActivations, stepLSTM, true});
}
LogicalResult convertGRU(NodeContext &node) {
  return emitRecurrent(node, {3, kGatedActivations, stepGRU});
}
LogicalResult convertRNN(NodeContext &node) {
  return emitRecurrent(node, {1, kPlainActivations, stepRNN});
}
/// com.microsoft: the integer weights of both products are turned, and their
/// scales and zero points are the last four inputs.
LogicalResult convertDynamicQuantizeLSTM(NodeContext &node) {
  return emitRecurrent(node,
                       {4, kCellActivations, stepLSTM, true, /*isCoded=*/true});
}

} // namespace

void registerRecurrent(Registry &registry) {
  registry.add(kOnnxDomain, {
                                {"LSTM", 1, 3, 8, convertLSTM},
                                {"GRU", 1, 3, 6, convertGRU},
                                {"RNN", 1, 3, 6, convertRNN},
                            });
  registry.add(kMicrosoftDomain,
               {{"DynamicQuantizeLSTM", 1, 3, 12, convertDynamicQuantizeLSTM}});
}

} // namespace qcc::onnx_import
