//===- Attentions.cpp - attentions with products of codes -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Collect.h"
#include "Speed.h"
#include "StaticQuantizer.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

/// True if kernels of a target may take products of codes: operands are f32,
/// and sizes of heads are known.
static bool mayHaveCodes(AttentionOp op) {
  return !op.getInt8() && llvm::all_of(op->getOperands(), isF32) &&
         !op.getQuery().getType().isDynamicDim(3) &&
         !op.getValue().getType().isDynamicDim(3);
}

LogicalResult StaticQuantizer::collectAttentions(const KeepRules &rules) {
  Workspace *workspace = getWorkspace(context);
  // Nothing says what codes would do to the outputs.
  if (!workspace || !workspace->hasSamples())
    return success();
  SmallVector<AttentionOp> all;
  module.walk([&](AttentionOp op) {
    if (std::string reason = rules.getReason(op); !reason.empty())
      noteOutcome(op, scheme, "f32", reason);
    else if (mayHaveCodes(op))
      all.push_back(op);
  });
  attentions = all;
  if (target.empty())
    return success();
  auto found = getTargets(context).find(target);
  if (!found)
    return qcc::emitError(module.getLoc(), found.takeError());
  attentions = chooseFaster(module, all, *found->first, found->second.front(),
                            workspace->getSamples());
  for (AttentionOp op : all)
    if (!llvm::is_contained(attentions, op))
      noteOutcome(op, scheme, "f32", "kept: not faster");
  return success();
}

LogicalResult StaticQuantizer::chooseAttentions(Sensitive &found,
                                                const Switches &layers) {
  if (attentions.empty())
    return success();
  SwitchedModel &model = *found.measured.model;
  size_t count = model.getNumSamples();
  auto run = [&](const std::vector<bool> &inCodes, size_t samples) {
    model.setAttentions(inCodes);
    return model.run(layers, samples);
  };
  auto without = run(std::vector<bool>(attentions.size()), count);
  if (!without)
    return qcc::emitError(module.getLoc(), without.takeError());
  Closeness bound = getCloseness();
  bound.divergence += without->getDivergence();
  auto all = run(std::vector<bool>(attentions.size(), true), count);
  if (!all)
    return qcc::emitError(module.getLoc(), all.takeError());
  std::vector<bool> kept(attentions.size());
  if (!bound.holds(*all)) {
    auto worst =
        keepWorst(std::vector<double>(attentions.size(), 1), count, bound, run);
    if (!worst)
      return qcc::emitError(module.getLoc(), worst.takeError());
    kept = std::move(*worst);
  }
  ArrayRef<double> errors(found.measured.errors);
  for (auto [op, isKept, error] :
       llvm::zip_equal(attentions, kept, errors.take_back(attentions.size()))) {
    op.setInt8(!isKept);
    noteOutcome(op, scheme, isKept ? "f32" : "int8",
                isKept       ? "kept: outputs would change too much"
                : isNarrow() ? "kept in int8: attention"
                             : "as asked");
    noteError(op, error);
  }
  return success();
}

LogicalResult StaticQuantizer::chooseAttentions(Workspace &workspace) {
  if (attentions.empty())
    return success();
  SwitchedProducts products;
  products.attentions = attentions;
  auto measured =
      Measured::create(workspace, module, /*activations=*/{}, chosen,
                       /*correctBias=*/false, products);
  if (!measured)
    return qcc::emitError(module.getLoc(), measured.takeError());
  Sensitive alone{std::move(*measured), {}, {}};
  return chooseAttentions(alone, {});
}
