//===- Measure.cpp - what low bits cost a model -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Measure.h"

using namespace mlir;
using namespace qcc;

llvm::Expected<Measured> Measured::create(Workspace &workspace, ModuleOp module,
                                          ArrayRef<Activation> activations,
                                          const WeightChoices &weights,
                                          bool correctBias,
                                          const SwitchedProducts &products) {
  auto model =
      SwitchedModel::create(workspace, module, activations, weights, products);
  if (!model)
    return model.takeError();
  Measured result{std::move(*model), {}, {}, {}};
  llvm::Expected<std::vector<double>> errors = result.model->measureLayers();
  if (!errors)
    return errors.takeError();
  result.errors = std::move(*errors);
  result.corrections.resize(result.errors.size() - products.attentions.size());
  std::vector<bool> all(activations.size() + products.ops.size(), true);
  size_t count = result.model->getNumSamples();
  if (result.model->hasOutputs()) {
    llvm::Expected<Agreement> plain = result.model->run(all, count);
    if (!plain)
      return plain.takeError();
    result.whole = std::move(*plain);
  }
  if (!correctBias)
    return std::move(result);
  auto found = result.model->findCorrections();
  result.model->setCorrections(found);
  if (result.whole) {
    llvm::Expected<Agreement> better = result.model->run(all, count);
    if (!better)
      return better.takeError();
    if (better->getMeanError() > result.whole->getMeanError()) {
      result.model->setCorrections(result.corrections);
      return std::move(result);
    }
    result.whole = std::move(*better);
  }
  result.corrections = std::move(found);
  return std::move(result);
}
