//===- WithinBudgets.cpp - what budgets leave in integers -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "../../Precision/Assign/Planner.h"
#include "Budgeted.h"
#include "StaticQuantizer.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

/// Positions that whole choices are judged on: shares of classes to 0.1 %.
static constexpr uint64_t kPositions = 1024;

LogicalResult StaticQuantizer::checkBudgets() {
  if (!budgets.any())
    return success();
  Workspace *workspace = getWorkspace(context);
  if (!workspace || !workspace->hasSamples() || target.empty())
    return emitCoded(module.getLoc(), Diag::Usage)
           << "budgets are met by data: expected samples and a target";
  if (formats.empty())
    formats = scheme + ",f32";
  for (StringRef format : llvm::split(formats, ','))
    if (format != "f32" && format != "int8" && format != scheme)
      return emitCoded(module.getLoc(), Diag::Usage)
             << "expected f32, int8 and the scheme to choose from, but got '"
             << format << "'";
  return success();
}

/// What is left to do where nothing can be chosen: the model's own codes may be
/// within the budgets.
LogicalResult StaticQuantizer::chooseNothing() {
  if (budgets.size.empty() && budgets.latency.empty())
    return success();
  assign::OtherBytes bytes = assign::getOtherBytes(module, {});
  if (bytes.inFloats == bytes.stored || !budgets.latency.empty())
    return emitCoded(module.getLoc(), Diag::UnsupportedForm)
           << "expected layers that can run in int8 to choose from, but there "
              "are none";
  assign::Planner planner({}, bytes.stored, /*otherSeconds=*/0);
  planner.setFloatCosts(double(bytes.inFloats - bytes.stored), 0);
  llvm::Error error = planner.setBudgets(budgets);
  if (!error)
    error = planner.choose([](ArrayRef<unsigned>) { return OutputScore(); })
                .takeError();
  return error ? qcc::emitError(module.getLoc(), std::move(error)) : success();
}

/// The products that budgets choose for, with their formats; others say why
/// they stay float. None is an output head for which there is a rule: what it
/// costs is measured with the convolutions before it.
std::vector<assign::Layer>
StaticQuantizer::collectProducts(ArrayRef<const Scheme *> known,
                                 const KeepRules &rules,
                                 const OutputJudge &judge) {
  std::vector<assign::Layer> products;
  for (assign::Layer &layer :
       assign::collectLayers(module, known, rules, /*output=*/~0U)) {
    if (llvm::any_of(layer.candidates, [](const assign::Candidate &candidate) {
          return candidate.scheme != nullptr;
        }))
      products.push_back(std::move(layer));
    else
      keepFloat(layer.op, scheme, layer.explain(judge.getDivergenceName()));
  }
  return products;
}

llvm::Expected<Measured> StaticQuantizer::measureNarrow(
    Workspace &workspace, ArrayRef<Activation> activations,
    ArrayRef<assign::Layer> products, const Scheme &format) {
  SmallVector<MatMulOp> all, narrow;
  for (const assign::Layer &product : products) {
    all.push_back(product.op);
    if (llvm::any_of(product.candidates,
                     [&](const assign::Candidate &candidate) {
                       return candidate.scheme == &format;
                     }))
      narrow.push_back(product.op);
  }
  auto found = ChosenWeights::choose(workspace, module, activations, narrow,
                                     format, pairsFit);
  if (!found)
    return found.takeError();
  chosen.narrow = std::move(*found);
  return Measured::create(
      workspace, module, activations, chosen, correctBias,
      SwitchedProducts(all, &format, getSchemes(context).lookup("int8")));
}

LogicalResult
StaticQuantizer::keepWithinBudgets(SmallVector<Operation *> &candidates,
                                   const KeepRules &rules) {
  if (candidates.empty() && !isNarrow())
    return chooseNothing();
  Location loc = module.getLoc();
  auto found = getTargets(context).find(target);
  if (!found)
    return qcc::emitError(loc, found.takeError());
  auto known = findFormats(context, formats);
  if (!known)
    return qcc::emitError(loc, known.takeError());
  Workspace &workspace = *getWorkspace(context);
  auto judge = OutputJudge::make(workspace, module, kPositions);
  if (!judge)
    return qcc::emitError(loc, judge.takeError());
  std::vector<assign::Layer> products;
  if (isNarrow())
    products = collectProducts(*known, rules, *judge);
  if (candidates.empty() && products.empty())
    return chooseNothing();

  SmallVector<Activation> activations = collect(candidates);
  BudgetRequest request = {workspace,     module,
                           *found->first, found->second.front(),
                           budgets,       getCosine().leastCosine,
                           *judge,        *known,
                           formats};
  // Which layers have weights of 4 bits is known once those are chosen.
  if (!isNarrow())
    if (llvm::Error error = checkLimits(request, activations))
      return qcc::emitError(loc, std::move(error));
  auto measured = measureBest(workspace, activations);
  if (!measured)
    return qcc::emitError(loc, measured.takeError());
  SmallVector<Operation *> layers;
  auto setNarrow = [&](const std::vector<bool> &narrow) {
    setWeights(*measured, layers, narrow);
  };
  if (isNarrow()) {
    const Scheme *format = findScheme(loc, scheme);
    if (!format)
      return failure();
    activations = collect(candidates); // their channels may be divided
    measured = measureNarrow(workspace, activations, products, *format);
    if (!measured)
      return qcc::emitError(loc, measured.takeError());
    for (const Activation &activation : activations)
      llvm::append_range(layers, activation.layers);
    for (const assign::Layer &product : products)
      layers.push_back(product.op);
    request.narrow = {format, products, &chosen.narrow, setNarrow};
    if (llvm::Error error = checkLimits(request, activations))
      return qcc::emitError(loc, std::move(error));
  }
  auto plan = planWithin(request, *measured->model, activations);
  if (!plan)
    return qcc::emitError(loc, plan.takeError());
  module->setAttr(kAssignmentAttr, StringAttr::get(context, plan->assignment));
  candidates = takePlan(*plan, activations);
  takeProducts(*plan, products, *measured);
  if (isNarrow())
    noteLayers(*measured, activations,
               [&](Operation *layer) { return chosen.narrow.contains(layer); });
  return success();
}

SmallVector<Operation *>
StaticQuantizer::takePlan(const BudgetedPlan &plan,
                          ArrayRef<Activation> activations) {
  SmallVector<Operation *> candidates;
  size_t next = 0;
  for (auto [number, activation] : llvm::enumerate(activations)) {
    if (!plan.inCodes.activations[number])
      keptFloat.insert(activation.value);
    for (Operation *layer : activation.layers) {
      size_t at = next++;
      if (isNarrow() && !plan.narrow[at])
        chosen.narrow.drop(layer);
      if (!takeReason(layer, plan, at))
        continue;
      candidates.push_back(layer);
      assigned[layer] = plan.reasons[at];
    }
  }
  return candidates;
}

void StaticQuantizer::takeProducts(const BudgetedPlan &plan,
                                   ArrayRef<assign::Layer> products,
                                   const Measured &measured) {
  Builder b(context);
  size_t next = plan.reasons.size() - products.size();
  for (const assign::Layer &product : products) {
    size_t at = next++;
    if (!takeReason(product.op, plan, at))
      continue;
    MatMulOp op = product.op;
    op->setAttr(kAssignedAttr,
                b.getStringAttr(plan.narrow[at] ? StringRef(scheme) : "int8"));
    op->setAttr(kAssignedReasonAttr, b.getStringAttr(plan.reasons[at]));
    if (!plan.narrow[at])
      continue;
    chosen.narrow.apply(op);
    noteError(op, measured.errors[at]);
  }
}

/// True if a layer runs in codes; else it says why not.
bool StaticQuantizer::takeReason(Operation *layer, const BudgetedPlan &plan,
                                 size_t at) {
  const std::string &reason = plan.reasons[at];
  if (!plan.inCodes.layers[at])
    keepFloat(layer,
              StringRef(reason).starts_with("kept") ? StringRef(scheme) : "f32",
              reason);
  return plan.inCodes.layers[at];
}
