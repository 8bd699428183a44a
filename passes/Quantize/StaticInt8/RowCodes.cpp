//===- RowCodes.cpp - how sensitive activations are read --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "StaticQuantizer.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

using namespace mlir;
using namespace qcc;

/// Scales of rows are worth their time where the squared error of the outputs
/// with all of them is at most this share of that with none.
static constexpr double kWorthwhile = 0.7;

RowProducts::RowProducts(ArrayRef<Activation> activations,
                         const Scheme &scheme) {
  for (auto [i, activation] : llvm::enumerate(activations)) {
    bool areProducts = !activation.layers.empty() &&
                       llvm::all_of(activation.layers, [&](Operation *layer) {
                         auto product = dyn_cast<MatMulOp>(layer);
                         return product && getObstacle(product, scheme).empty();
                       });
    if (!areProducts)
      continue;
    for (Operation *layer : activation.layers) {
      ops.push_back(cast<MatMulOp>(layer));
      activationOf.push_back(i);
    }
    activationsRead.push_back(i);
  }
}

std::vector<bool> RowProducts::getGroups(ArrayRef<Reading> readings) const {
  std::vector<bool> groups;
  for (Reading reading : readings)
    groups.push_back(reading == Reading::Codes);
  for (size_t activation : activationOf)
    groups.push_back(readings[activation] == Reading::RowCodes);
  return groups;
}

/// Numbers of a row of an activation: that of rows is much the same for all
/// that products of one model read.
static double getRowLength(const Activation &activation) {
  auto product = cast<MatMulOp>(activation.layers.front());
  auto weight = cast<RankedTensorType>(product.getRhs().getType());
  return double(weight.getDimSize(product.getTransB() ? 1 : 0));
}

llvm::Error StaticQuantizer::chooseRowCodes(Measured &measured,
                                            const RowProducts &products,
                                            ArrayRef<Activation> activations,
                                            MutableArrayRef<Reading> readings) {
  SwitchedModel &model = *measured.model;
  ArrayRef<size_t> concerned = products.activationsRead;
  auto set = [&](const std::vector<bool> &inCodes) {
    for (auto [i, isOn] : llvm::zip_equal(concerned, inCodes))
      readings[i] = isOn ? Reading::Codes : Reading::RowCodes;
    return products.getGroups(readings);
  };
  auto run = [&](const std::vector<bool> &inCodes, size_t count) {
    return model.run(set(inCodes), count);
  };
  auto all = run(std::vector<bool>(concerned.size()), model.getNumSamples());
  if (!all)
    return all.takeError();
  if (all->getMeanError() > kWorthwhile * measured.whole->getMeanError()) {
    set(std::vector<bool>(concerned.size(), true));
    return llvm::Error::success();
  }
  // Fewer are not nearer.
  if (!getCloseness().holds(*all))
    return llvm::Error::success();
  std::vector<double> costs;
  for (size_t i : concerned)
    costs.push_back(getRowLength(activations[i]));
  auto kept = keepWorst(costs, model.getNumSamples(), getCloseness(), run);
  if (!kept)
    return kept.takeError();
  kept->flip();
  set(*kept);
  return llvm::Error::success();
}

void StaticQuantizer::giveRowScales(const Sensitive &found) {
  Builder b(context);
  ArrayRef<double> errors(found.measured.errors);
  errors = errors.drop_back(attentions.size());
  for (auto [product, activation, error] :
       llvm::zip_equal(found.products.ops, found.products.activationOf,
                       errors.take_back(found.products.ops.size()))) {
    if (found.readings[activation] != Reading::RowCodes)
      continue;
    product->setAttr(kAssignedAttr, b.getStringAttr(scheme));
    product->setAttr(
        kAssignedReasonAttr,
        b.getStringAttr("scales per row: with one for all rows outputs would "
                        "change too much"));
    noteError(product, error);
  }
}

llvm::Expected<double>
StaticQuantizer::chooseFloats(Measured &measured, const RowProducts &products,
                              ArrayRef<Activation> activations,
                              MutableArrayRef<Reading> readings) {
  llvm::Expected<std::vector<double>> costs = estimateCosts(activations);
  if (!costs)
    return costs.takeError();
  SwitchedModel &model = *measured.model;
  SmallVector<Reading> before(readings);
  auto set = [&](const std::vector<bool> &inCodes) {
    for (auto [i, isOn] : llvm::enumerate(inCodes))
      readings[i] = isOn ? before[i] : Reading::Floats;
    return products.getGroups(readings);
  };
  auto kept = keepWorst(*costs, model.getNumSamples(), getCosine(),
                        [&](const std::vector<bool> &inCodes, size_t count) {
                          return model.run(set(inCodes), count);
                        });
  if (!kept)
    return kept.takeError();
  double lost = 0;
  for (auto [isKept, cost] : llvm::zip_equal(*kept, *costs))
    lost += isKept ? cost : 0;
  kept->flip();
  set(*kept);
  return lost;
}

llvm::Expected<Sensitive>
StaticQuantizer::findSensitive(Workspace &workspace,
                               SmallVector<Activation> &activations) {
  auto found = measureBest(workspace, activations);
  if (!found)
    return found.takeError();
  Sensitive result{std::move(*found),
                   {},
                   SmallVector<Reading>(activations.size(), Reading::Codes)};
  Measured &measured = result.measured;
  leastCosine =
      std::max(measured.getLeastCosine(),
               measured.model->hasOutputs() ? getCloseness().leastCosine : -1);
  if (isNear(measured))
    return std::move(result);
  const Scheme *scheme =
      rowScales ? getSchemes(context).lookup(this->scheme) : nullptr;
  if (scheme)
    result.products = RowProducts(activations, *scheme);
  if (!result.products.ops.empty()) {
    llvm::for_each(activations,
                   [&](Activation &activation) { takeEqualised(activation); });
    SwitchedProducts products(result.products.ops, /*narrow=*/nullptr, scheme);
    products.attentions = attentions;
    auto more = Measured::create(workspace, module, activations, chosen,
                                 correctBias, products);
    if (!more)
      return more.takeError();
    measured = std::move(*more);
    if (llvm::Error error = chooseRowCodes(measured, result.products,
                                           activations, result.readings))
      return std::move(error);
  }
  auto agreement =
      measured.model->run(result.products.getGroups(result.readings),
                          measured.model->getNumSamples());
  if (!agreement)
    return agreement.takeError();
  if (getCosine().holds(*agreement))
    return std::move(result);
  bool hasRows = llvm::is_contained(result.readings, Reading::RowCodes);
  auto lost =
      chooseFloats(measured, result.products, activations, result.readings);
  if (!lost)
    return lost.takeError();
  if (!hasRows)
    return std::move(result);
  // What is left of a product's error with scales of rows ranks behind that of
  // layers that take longer in floats. Where floats are needed anyway, fewer of
  // them may do without.
  SmallVector<Reading> without(activations.size(), Reading::Codes);
  auto other = chooseFloats(measured, result.products, activations, without);
  if (!other)
    return other.takeError();
  if (*other < *lost)
    result.readings = without;
  return std::move(result);
}
