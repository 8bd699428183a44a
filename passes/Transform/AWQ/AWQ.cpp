//===- AWQ.cpp - scales that protect important channels ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "AWQMath.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/ScaleFold.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Scheme/GPTQ.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/SchemeGrid.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Format.h"

namespace qcc {
#define GEN_PASS_DECL_AWQ
#define GEN_PASS_DEF_AWQ
#include "qcc/passes/AWQ.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {

struct AWQPass : qcc::impl::AWQBase<AWQPass> {
  using AWQBase::AWQBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    ModuleOp module = getOperation();
    scheme_ = findScheme(module.getLoc(), scheme);
    if (!scheme_)
      return failure();
    if (judge != "rtn" && judge != "gptq")
      return emitCoded(module.getLoc(), Diag::Usage)
             << "expected rtn or gptq, but got '" << judge << "'";
    KeepRules rules;
    if (failed(rules.parse(module.getLoc(), keep)))
      return failure();
    workspace = requireWorkspace(module, "awq");
    if (!workspace)
      return failure();
    auto take = [&](MatMulOp op) {
      return rules.match(getNodeName(op.getLoc())).empty() &&
             getAssignedScheme(op, scheme_) &&
             getObstacle(op, *getAssignedScheme(op, scheme_)).empty();
    };
    SmallVector<LinearGroup> groups =
        collectLinearGroups(*module.getOps<func::FuncOp>().begin(), take);
    if (onlyChanged)
      llvm::erase_if(groups, [&](const LinearGroup &group) {
        return llvm::all_of(group.layers, [&](MatMulOp layer) {
          return getAssignedScheme(layer, scheme_) == scheme_;
        });
      });
    OwningOpRef<ModuleOp> before = module.clone();
    SmallVector<Value> inputs;
    for (const LinearGroup &group : groups)
      inputs.push_back(group.input);
    if (llvm::Error error =
            workspace->gather(module, inputs, [&](size_t i, InputData &data) {
              return scale(groups[i], data);
            }))
      return qcc::emitError(module.getLoc(), std::move(error));
    return checkSameOutputs(*workspace, *before, module);
  }

private:
  llvm::Error scale(const LinearGroup &group, const InputData &data) {
    auto note = [&](const Twine &text) {
      Builder b(&getContext());
      for (MatMulOp layer : group.layers)
        layer->setAttr(kTransformAttr, b.getStringAttr(text));
      return llvm::Error::success();
    };
    ScaleFold fold(group);
    if (!fold.getObstacle().empty())
      return note("awq: not scaled: " + fold.getObstacle());
    std::vector<std::vector<float>> values;
    std::vector<LayerWeights> layers;
    // Errors are those of the fewest bits: others hardly count beside them.
    const Scheme *narrowest = getAssignedScheme(group.layers[0], scheme_);
    for (MatMulOp layer : group.layers)
      if (const Scheme *scheme = getAssignedScheme(layer, scheme_);
          scheme->getWeightBits() < narrowest->getWeightBits())
        narrowest = scheme;
    for (MatMulOp layer : group.layers) {
      if (getAssignedScheme(layer, scheme_) != narrowest)
        continue;
      auto weights = readWeight(*workspace, layer);
      if (!weights)
        return weights.takeError();
      values.push_back(std::move(*weights));
      layers.push_back(
          {getWeightRows(layer), getWeightColumns(layer), values.back()});
    }
    SchemeGrid grid(*narrowest);
    auto solve = [&](LayerWeights weights, ArrayRef<double> gram) {
      return gptq::solve(grid, weights, gram).weights.values;
    };
    awq::Options options;
    options.threads = workspace->getThreads();
    awq::Result found =
        awq::search(grid, layers, data.gram.getMeanAbs(), data.gram.getMeans(),
                    fold.getClasses(), options,
                    judge == "gptq" ? awq::Rounder(solve) : awq::Rounder());
    if (found.isIdentity())
      return note("awq: not scaled: no scale is better");
    fold.apply(found.scales);
    for (MatMulOp layer : group.layers)
      scaleWeightRows(layer, found.scales);
    std::string text;
    llvm::raw_string_ostream(text)
        << "awq: exponent " << llvm::format("%.2f", found.exponent)
        << (found.byWeights ? " by weights" : "") << ", error "
        << llvm::format("%.3g", found.errorBefore) << " to "
        << llvm::format("%.3g", found.errorAfter);
    return note(text);
  }

  const Scheme *scheme_ = nullptr;
  Workspace *workspace = nullptr;
};

} // namespace
