//===- KeepFloat.cpp - what stays float -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Equalize.h"
#include "Speed.h"
#include "StaticQuantizer.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

FailureOr<SmallVector<Operation *>>
StaticQuantizer::findFaster(ArrayRef<Operation *> candidates, bool isDynamic) {
  if (target.empty() || candidates.empty() || !budgets.size.empty())
    return SmallVector<Operation *>(candidates);
  auto found = getTargets(context).find(target);
  if (!found)
    return qcc::emitError(module.getLoc(), found.takeError());
  ArrayRef<Sample> samples;
  if (Workspace *workspace = getWorkspace(context))
    samples = workspace->getSamples();
  return chooseFaster(module, candidates, *found->first, found->second.front(),
                      samples, isDynamic);
}

void StaticQuantizer::takeFaster(SmallVector<Operation *> &candidates,
                                 SmallVector<Operation *> faster) {
  llvm::SmallPtrSet<Operation *, 16> kept(faster.begin(), faster.end());
  for (Operation *op : candidates)
    if (!kept.contains(op))
      noteOutcome(op, scheme, "f32", "kept: not faster");
  candidates = std::move(faster);
}

LogicalResult StaticQuantizer::dropSlow(SmallVector<Operation *> &candidates,
                                        bool isDynamic) {
  auto faster = findFaster(candidates, isDynamic);
  if (failed(faster))
    return failure();
  takeFaster(candidates, std::move(*faster));
  return success();
}

/// What is read in codes where activations are read so and only some layers are
/// left.
static Switches makeSwitches(ArrayRef<Activation> activations,
                             const Sensitive &found,
                             ArrayRef<Operation *> layers) {
  llvm::SmallPtrSet<Operation *, 16> left(layers.begin(), layers.end());
  Switches on;
  for (auto [activation, reading] :
       llvm::zip_equal(activations, found.readings)) {
    bool inCodes = reading == Reading::Codes,
         isRead = activation.layers.empty();
    for (Operation *layer : activation.layers) {
      on.layers.push_back(inCodes && left.contains(layer));
      isRead |= on.layers.back();
    }
    on.activations.push_back(inCodes && isRead);
  }
  for (size_t activation : found.products.activationOf)
    on.layers.push_back(found.readings[activation] == Reading::RowCodes);
  return on;
}

LogicalResult
StaticQuantizer::keepSensitive(SmallVector<Operation *> &candidates) {
  Workspace *workspace = getWorkspace(context);
  if (!workspace || !workspace->hasSamples())
    return success();
  if (candidates.empty())
    return chooseAttentions(*workspace);
  SmallVector<Activation> activations = collect(candidates);
  auto found = findSensitive(*workspace, activations);
  if (!found)
    return qcc::emitError(module.getLoc(), found.takeError());
  llvm::SmallPtrSet<Operation *, 16> dropped;
  for (auto [activation, reading] :
       llvm::zip_equal(activations, found->readings))
    if (reading != Reading::Codes) {
      keptFloat.insert(activation.value);
      for (Operation *layer : activation.layers) {
        dropped.insert(layer);
        if (reading == Reading::Floats)
          noteOutcome(layer, scheme, "f32",
                      "kept: outputs would change too much");
      }
    }
  giveRowScales(*found);
  if (dropped.empty())
    return chooseAttentions(*found,
                            makeSwitches(activations, *found, candidates));
  llvm::erase_if(candidates,
                 [&](Operation *op) { return dropped.contains(op); });
  // What is left between them may not be worth the conversions. It stays where
  // the outputs were near enough with it and are not without: errors make up
  // for each other too.
  auto faster = findFaster(candidates, /*isDynamic=*/false);
  if (failed(faster))
    return failure();
  SwitchedModel &model = *found->measured.model;
  auto agreement = model.run(makeSwitches(activations, *found, *faster),
                             model.getNumSamples());
  if (!agreement)
    return qcc::emitError(module.getLoc(), agreement.takeError());
  if (getCosine().holds(*agreement))
    takeFaster(candidates, std::move(*faster));
  return chooseAttentions(*found,
                          makeSwitches(activations, *found, candidates));
}

llvm::Expected<Measured>
StaticQuantizer::measureBest(Workspace &workspace,
                             SmallVector<Activation> &activations) {
  auto found = measureBytes(workspace, activations);
  if (!found)
    return found.takeError();
  auto [measured, weights] = std::move(*found);
  if (!isNear(measured)) {
    SmallVector<Activation> divided(activations);
    llvm::Expected<unsigned> changed = equalizeChannels(workspace, divided);
    if (!changed)
      return changed.takeError();
    if (*changed) {
      auto other = measureBytes(workspace, divided);
      if (!other)
        return other.takeError();
      if (other->first.getLeastCosine() > measured.getLeastCosine()) {
        std::tie(measured, weights) = std::move(*other);
        for (const Activation &activation : divided)
          if (!activation.scales.empty())
            equalised.insert({activation.value, activation});
      }
    }
  }
  chosen.bytes = std::move(weights);
  noteLayers(measured, activations, [](Operation *) { return true; });
  return std::move(measured);
}

llvm::Expected<std::vector<double>>
StaticQuantizer::estimateCosts(ArrayRef<Activation> activations) {
  std::vector<double> costs(activations.size(), 1);
  if (target.empty())
    return costs;
  auto found = getTargets(context).find(target);
  if (!found)
    return found.takeError();
  SmallVector<Operation *> layers;
  for (const Activation &activation : activations)
    llvm::append_range(layers, activation.layers);
  auto times =
      estimateTimes(module, layers, *found->first, found->second.front(),
                    getWorkspace(context)->getSamples());
  std::vector<double> gains(layers.size(), 1);
  double sum = 1;
  for (auto [i, gain] : llvm::enumerate(gains)) {
    if (times)
      gain = std::max((*times)[i].inFloats - (*times)[i].inIntegers, 0.0);
    sum += gain;
  }
  ArrayRef<double> left(gains);
  for (auto [activation, cost] : llvm::zip_equal(activations, costs)) {
    size_t count = activation.layers.size();
    cost = sum / 100;
    for (double gain : left.take_front(count))
      cost += gain;
    left = left.drop_front(count);
  }
  return costs;
}

llvm::Expected<std::pair<Measured, ChosenWeights>>
StaticQuantizer::measureBytes(Workspace &workspace,
                              ArrayRef<Activation> activations) {
  WeightChoices weights(pairsFit);
  auto found =
      ChosenWeights::chooseBytes(workspace, module, activations, pairsFit);
  if (!found)
    return found.takeError();
  weights.bytes = std::move(*found);
  SwitchedProducts products;
  products.attentions = attentions;
  auto measured = Measured::create(workspace, module, activations, weights,
                                   correctBias, products);
  if (!measured)
    return measured.takeError();
  return std::pair(std::move(*measured), std::move(weights.bytes));
}

void StaticQuantizer::noteLayers(
    Measured &measured, ArrayRef<Activation> activations,
    llvm::function_ref<bool(Operation *)> isConcerned) {
  size_t next = 0;
  for (const Activation &activation : activations)
    for (Operation *layer : activation.layers) {
      size_t number = next++;
      if (!isConcerned(layer))
        continue;
      notes.erase(layer);
      corrections.erase(layer);
      double error = measured.errors[number];
      if (std::optional<Correction> &found = measured.corrections[number]) {
        error = found->error;
        notes[layer] = llvm::formatv("bias corrected: error {0:f4} to {1:f4}",
                                     found->before, found->after);
        corrections[layer] = std::move(found->values);
      }
      noteError(layer, error);
    }
}

void StaticQuantizer::noteError(Operation *layer, double error) {
  Builder b(context);
  // Samples with infinities give none.
  if (std::isfinite(error))
    layer->setAttr(kLayerErrorAttr, b.getF32FloatAttr(float(error)));
}
