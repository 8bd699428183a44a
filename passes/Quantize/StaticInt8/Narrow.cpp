//===- Narrow.cpp - weights of 4 bits ---------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "StaticQuantizer.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

LogicalResult StaticQuantizer::narrowWeights(ArrayRef<Operation *> candidates,
                                             const KeepRules &rules) {
  // Without known ranges weights are for algorithms to choose, or none.
  if (!isNarrow() || budgets.any() || dynamic)
    return success();
  const Scheme *format = findScheme(module.getLoc(), scheme);
  if (!format)
    return failure();
  SmallVector<Activation> activations = collect(candidates);
  Workspace *workspace = getWorkspace(context);
  if (!workspace || !workspace->hasSamples()) {
    chosen.narrow = ChosenWeights::round(activations, pairsFit);
    return success();
  }
  SmallVector<MatMulOp> products;
  module.walk([&](MatMulOp op) {
    if (!isConstantExpression(op.getResult()) && rules.getReason(op).empty() &&
        qcc::getObstacle(op, *format).empty())
      products.push_back(op);
  });
  if (llvm::Error error =
          chooseNarrow(*workspace, activations, products, *format))
    return qcc::emitError(module.getLoc(), std::move(error));
  return success();
}

llvm::Error StaticQuantizer::chooseNarrow(Workspace &workspace,
                                          ArrayRef<Activation> activations,
                                          ArrayRef<MatMulOp> products,
                                          const Scheme &format) {
  auto found = ChosenWeights::choose(workspace, module, activations, products,
                                     format, pairsFit);
  if (!found)
    return found.takeError();
  chosen.narrow = std::move(*found);
  if (chosen.narrow.empty())
    return llvm::Error::success();
  auto measured = Measured::create(workspace, module, activations, chosen,
                                   correctBias, products);
  if (!measured)
    return measured.takeError();
  SmallVector<Operation *> layers;
  for (const Activation &activation : activations)
    llvm::append_range(layers, activation.layers);
  layers.append(products.begin(), products.end());
  bool isJudged = measured->model->hasOutputs() && minCosine > 0;
  double bound = leastCosine - (1 - minCosine) / 2;
  if (isJudged && measured->getLeastCosine() < bound) {
    llvm::Expected<std::vector<bool>> kept =
        keepWide(*measured, activations.size(), layers, bound);
    if (!kept)
      return kept.takeError();
    for (auto [layer, isWide] : llvm::zip_equal(layers, *kept))
      if (isWide)
        keepInBytes(layer);
  }
  noteLayers(*measured, activations,
             [&](Operation *layer) { return chosen.narrow.contains(layer); });
  for (auto [product, error] : llvm::zip_equal(
           products, ArrayRef(measured->errors).take_back(products.size())))
    if (chosen.narrow.contains(product)) {
      chosen.narrow.apply(product);
      noteError(product, error);
    }
  return llvm::Error::success();
}

void StaticQuantizer::keepInBytes(Operation *layer) {
  constexpr StringLiteral reason =
      "kept in int8: outputs would change too much";
  Builder b(context);
  if (!chosen.narrow.contains(layer))
    return;
  chosen.narrow.drop(layer);
  wide[layer] = reason.str();
  if (isa<MatMulOp>(layer)) {
    layer->setAttr(kAssignedAttr, b.getStringAttr("int8"));
    layer->setAttr(kAssignedReasonAttr, b.getStringAttr(reason));
  }
}

void StaticQuantizer::setWeights(Measured &measured,
                                 ArrayRef<Operation *> layers,
                                 const std::vector<bool> &narrow) {
  std::vector<std::optional<Correction>> own;
  for (auto [i, layer] : llvm::enumerate(layers)) {
    auto before = corrections.find(layer);
    if (narrow[i] && chosen.narrow.contains(layer))
      own.push_back(measured.corrections[i]);
    else if (before != corrections.end())
      own.push_back(Correction{before->second});
    else
      own.push_back(std::nullopt);
  }
  measured.model->setNarrow(narrow);
  measured.model->setCorrections(own);
}

llvm::Expected<std::vector<bool>>
StaticQuantizer::keepWide(Measured &measured, size_t activations,
                          ArrayRef<Operation *> layers, double bound) {
  SwitchedModel &model = *measured.model;
  // Twice the bits cost as much as the weight has elements. Some layers have no
  // form of 4 bits.
  std::vector<double> sizes;
  SmallVector<size_t> asked;
  for (auto [i, layer] : llvm::enumerate(layers)) {
    if (!chosen.narrow.contains(layer))
      continue;
    asked.push_back(i);
    sizes.push_back(double(std::max<int64_t>(
        cast<RankedTensorType>(layer->getOperand(1).getType()).getNumElements(),
        1)));
  }
  auto spread = [&](const std::vector<bool> &some) {
    std::vector<bool> all(layers.size());
    for (auto [i, value] : llvm::zip_equal(asked, some))
      all[i] = value;
    return all;
  };
  auto kept = keepWorst(sizes, model.getNumSamples(), Closeness{bound},
                        [&](const std::vector<bool> &some, size_t count) {
                          std::vector<bool> on = spread(some),
                                            switches(activations, true);
                          // Of products it is this switch that says.
                          for (auto [i, layer] : llvm::enumerate(layers))
                            if (isa<MatMulOp>(layer))
                              switches.push_back(on[i]);
                          setWeights(measured, layers, on);
                          return model.run(switches, count);
                        });
  if (!kept)
    return kept.takeError();
  return spread(*kept);
}
