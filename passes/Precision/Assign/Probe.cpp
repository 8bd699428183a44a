//===- Probe.cpp - the model with some weights rounded ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Probe.h"
#include "Rounded.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Calibration/ScaleFold.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;
using namespace qcc::assign;

/// Bytes of weights that one probe has as arguments: each running thread holds
/// a copy.
static constexpr uint64_t kProbeBytes = uint64_t(64) << 20;

//===----------------------------------------------------------------------===//
// Rounding
//===----------------------------------------------------------------------===//

static ArrayRef<char> toBytes(ArrayRef<float> values) {
  return {reinterpret_cast<const char *>(values.data()),
          values.size() * sizeof(float)};
}

static llvm::Expected<std::vector<float>>
roundTo(const Scheme *scheme, const Layer &layer, ArrayRef<float> weights) {
  if (!scheme)
    return weights.vec();
  std::vector<float> rounded(weights.size());
  if (llvm::Error error = qcc::roundWeight(
          *scheme, {layer.k, layer.n, toBytes(weights)}, rounded))
    return std::move(error);
  return rounded;
}

//===----------------------------------------------------------------------===//
// One layer at a time
//===----------------------------------------------------------------------===//

static SampleArray makeArray(std::string name, ArrayRef<int64_t> shape,
                             ArrayRef<float> values) {
  SampleArray array;
  array.name = std::move(name);
  array.code = 2; // DLPack's float
  array.bits = 32;
  array.shape = shape.vec();
  ArrayRef<char> bytes = toBytes(values);
  array.bytes.assign(bytes.begin(), bytes.end());
  return array;
}

static std::string getWeightName(size_t i) {
  return "#weight" + std::to_string(i);
}
static std::string getToggleName(size_t i) {
  return "#toggle" + std::to_string(i);
}

namespace {
/// Measures some layers by code that has their weights as arguments.
/// `rounding`: the format that activations are rounded for; null: they stay.
class Probe {
public:
  Probe(Workspace &workspace, ModuleOp module, const OutputJudge &judge,
        MutableArrayRef<Layer> layers, const Scheme *rounding)
      : workspace(workspace), module(module), judge(judge), layers(layers),
        rounding(rounding) {}

  llvm::Error run() {
    if (llvm::none_of(layers, [&](const Layer &layer) {
          return llvm::any_of(
              layer.candidates,
              [&](const Candidate &candidate) { return takes(candidate); });
        }))
      return llvm::Error::success();
    OwningOpRef<ModuleOp> copy = makeModule();
    auto program = workspace.getExecutor().compile(*copy);
    if (!program)
      return program.takeError();
    for (const Layer &layer : layers) {
      auto weights = readWeight(workspace, layer.op);
      if (!weights)
        return weights.takeError();
      size_t i = arrays.size();
      arrays.push_back(
          makeArray(getWeightName(i), {layer.k, layer.n}, *weights));
    }
    if (rounding)
      for (size_t i = 0; i < layers.size(); ++i)
        arrays.push_back(makeArray(getToggleName(i), {1}, {0.0f}));
    for (size_t i = 0; i < layers.size(); ++i)
      if (llvm::Error error = measure(i, **program))
        return error;
    return llvm::Error::success();
  }

private:
  /// Whether this probe measures a candidate.
  bool takes(const Candidate &candidate) const {
    return candidate.scheme &&
           (rounding ? candidate.scheme == rounding
                     : !roundsActivations(candidate.scheme));
  }

  OwningOpRef<ModuleOp> makeModule() {
    IRMapping mapping;
    OwningOpRef<ModuleOp> copy =
        cast<ModuleOp>(module.getOperation()->clone(mapping));
    auto entry = *copy->getOps<func::FuncOp>().begin();
    OpBuilder b(copy->getContext());
    auto addArgument = [&](const std::string &name, ArrayRef<int64_t> shape) {
      unsigned number = entry.getNumArguments();
      (void)entry.insertArgument(number,
                                 RankedTensorType::get(shape, b.getF32Type()),
                                 b.getDictionaryAttr(b.getNamedAttr(
                                     "qcc.name", b.getStringAttr(name))),
                                 entry.getLoc());
      return entry.getArgument(number);
    };
    SmallVector<MatMulOp> ops;
    for (auto [i, layer] : llvm::enumerate(layers)) {
      MatMulOp original = layer.op;
      ops.push_back(cast<MatMulOp>(mapping.lookup(original.getOperation())));
      ops.back().getRhsMutable().set(
          addArgument(getWeightName(i), {layer.k, layer.n}));
      ops.back().setTransB(false);
    }
    if (rounding)
      for (auto [i, op] : llvm::enumerate(ops)) {
        Value toggle = addArgument(getToggleName(i), {1});
        b.setInsertionPoint(op);
        op.getLhsMutable().set(
            roundActivation(b, op.getLhs(), *rounding, toggle));
      }
    judge.keepOutput(*copy);
    return copy;
  }

  llvm::Error measure(size_t i, const HostProgram &program) {
    Layer &layer = layers[i];
    SampleArray exact = arrays[i];
    std::vector<float> weights(exact.bytes.size() / sizeof(float));
    std::memcpy(weights.data(), exact.bytes.data(), exact.bytes.size());
    for (Candidate &candidate : layer.candidates) {
      if (!takes(candidate))
        continue;
      auto rounded = roundTo(candidate.scheme, layer, weights);
      if (!rounded)
        return rounded.takeError();
      arrays[i] = makeArray(getWeightName(i), {layer.k, layer.n}, *rounded);
      if (rounding)
        arrays[layers.size() + i] = makeArray(getToggleName(i), {1}, {1.0f});
      auto score = judge.score(program, arrays);
      if (!score)
        return score.takeError();
      candidate.loss = std::isfinite(score->divergence)
                           ? std::max(score->divergence, 0.0)
                           : 1e30;
    }
    arrays[i] = std::move(exact);
    if (rounding)
      arrays[layers.size() + i] = makeArray(getToggleName(i), {1}, {0.0f});
    return llvm::Error::success();
  }

  Workspace &workspace;
  ModuleOp module;
  const OutputJudge &judge;
  MutableArrayRef<Layer> layers;
  const Scheme *rounding;
  std::vector<SampleArray> arrays;
};
} // namespace

llvm::Error assign::measureLosses(Workspace &workspace, ModuleOp module,
                                  const OutputJudge &judge,
                                  MutableArrayRef<Layer> layers) {
  SmallVector<const Scheme *> rounds = {nullptr};
  for (const Layer &layer : layers)
    for (const Candidate &candidate : layer.candidates)
      if (roundsActivations(candidate.scheme) &&
          !llvm::is_contained(rounds, candidate.scheme))
        rounds.push_back(candidate.scheme);
  for (size_t first = 0; first < layers.size();) {
    // Layers with nothing to choose are passed over.
    if (layers[first].isFixed()) {
      ++first;
      continue;
    }
    size_t end = first;
    for (uint64_t bytes = 0; end < layers.size() && !layers[end].isFixed();
         ++end) {
      bytes += getFloatBytes(layers[end].op);
      if (end > first && bytes > kProbeBytes)
        break;
    }
    for (const Scheme *rounding : rounds)
      if (llvm::Error error = Probe(workspace, module, judge,
                                    layers.slice(first, end - first), rounding)
                                  .run())
        return error;
    first = end;
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Estimates
//===----------------------------------------------------------------------===//

/// Sum over rows of `weight[k] * |row k of a - b|^2`.
static double sumSquares(const Layer &layer, ArrayRef<float> a,
                         ArrayRef<float> b, ArrayRef<double> weight) {
  double sum = 0;
  for (int64_t i = 0; i < layer.k; ++i) {
    double row = 0;
    for (int64_t j = 0; j < layer.n; ++j) {
      size_t at = size_t(i * layer.n + j);
      double difference = double(a[at]) - (b.empty() ? 0 : b[at]);
      row += difference * difference;
    }
    sum += row * weight[size_t(i)];
  }
  return sum;
}

static llvm::Error estimate(Workspace &workspace, Layer &layer,
                            const InputData &data) {
  auto weights = readWeight(workspace, layer.op);
  if (!weights)
    return weights.takeError();
  std::vector<double> gram = data.gram.getMeans(), diagonal;
  for (int64_t i = 0; i < layer.k; ++i)
    diagonal.push_back(gram[size_t(i * layer.k + i)]);
  double power = sumSquares(layer, *weights, {}, diagonal);
  for (Candidate &candidate : layer.candidates) {
    if (!candidate.scheme)
      continue;
    auto rounded = roundTo(candidate.scheme, layer, *weights);
    if (!rounded)
      return rounded.takeError();
    double error = sumSquares(layer, *weights, *rounded, diagonal);
    if (roundsActivations(candidate.scheme))
      error += sumSquares(
          layer, *rounded, {},
          getRoundingErrors(data.sampled, layer.k, *candidate.scheme));
    candidate.loss = power > 0 && std::isfinite(error) ? error / power : 0;
  }
  return llvm::Error::success();
}

llvm::Error assign::estimateLosses(Workspace &workspace, ModuleOp module,
                                   MutableArrayRef<Layer> layers) {
  SmallVector<Value> inputs;
  SmallVector<SmallVector<size_t>> readers;
  for (auto [i, layer] : llvm::enumerate(layers)) {
    if (layer.isFixed())
      continue;
    auto *found = llvm::find(inputs, layer.op.getLhs());
    if (found == inputs.end()) {
      inputs.push_back(layer.op.getLhs());
      readers.emplace_back();
      found = std::prev(inputs.end());
    }
    readers[size_t(found - inputs.begin())].push_back(i);
  }
  return workspace.gather(
      module, inputs, [&](size_t number, InputData &data) -> llvm::Error {
        for (size_t i : readers[number])
          if (llvm::Error error = estimate(workspace, layers[i], data))
            return error;
        return llvm::Error::success();
      });
}

//===----------------------------------------------------------------------===//
// All layers
//===----------------------------------------------------------------------===//

llvm::Expected<OutputScore> assign::scoreAssignment(Workspace &workspace,
                                                    ModuleOp module,
                                                    const OutputJudge &judge,
                                                    ArrayRef<Layer> layers) {
  IRMapping mapping;
  OwningOpRef<ModuleOp> copy =
      cast<ModuleOp>(module.getOperation()->clone(mapping));
  OpBuilder b(copy->getContext());
  for (const Layer &layer : layers) {
    const Scheme *scheme = layer.getChosen().scheme;
    if (!scheme)
      continue;
    MatMulOp original = layer.op;
    auto op = cast<MatMulOp>(mapping.lookup(original.getOperation()));
    b.setInsertionPoint(op);
    op.getRhsMutable().set(assign::roundWeight(b, op, *scheme));
    op.setTransB(false);
    if (roundsActivations(scheme))
      op.getLhsMutable().set(
          roundActivation(b, op.getLhs(), *scheme, /*toggle=*/{}));
  }
  judge.keepOutput(*copy);
  auto program = workspace.getExecutor().compile(*copy);
  if (!program)
    return program.takeError();
  return judge.score(**program, {});
}
