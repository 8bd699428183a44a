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
      return rules.getReason(op).empty() && getAssignedScheme(op, scheme_) &&
             getObstacle(op, *getAssignedScheme(op, scheme_)).empty();
    };
    SmallVector<LinearGroup> groups =
        collectScaledGroups(*module.getOps<func::FuncOp>().begin(), take);
    if (onlyChanged)
      llvm::erase_if(groups, [&](const LinearGroup &group) {
        return llvm::all_of(group.layers, [&](MatMulOp layer) {
          return getAssignedScheme(layer, scheme_) == scheme_;
        });
      });
    OwningOpRef<ModuleOp> before = module.clone();
    if (llvm::Error error = scaleGroups(
            *workspace, *this, module, groups,
            [&](const LinearGroup &group, InputData &data) {
              return find(group, data);
            },
            [&](const LinearGroup &group, const ScaleChoice &choice) {
              apply(group, choice);
            }))
      return qcc::emitError(module.getLoc(), std::move(error));
    return checkSameOutputs(*workspace, *before, module);
  }

private:
  static void apply(const LinearGroup &group, const ScaleChoice &choice) {
    for (MatMulOp layer : group.layers)
      addTransformNote(layer, choice.note);
    if (choice.scales.empty())
      return;
    ScaleFold(group).apply(choice.scales);
    scaleWeightRows(group, choice.scales);
  }

  llvm::Expected<ScaleChoice> find(const LinearGroup &group, InputData &data) {
    auto leave = [](const llvm::Twine &why) {
      return ScaleChoice{{}, ("awq: not scaled: " + why).str()};
    };
    ScaleFold fold(group);
    if (!fold.getObstacle().empty())
      return leave(fold.getObstacle());
    std::vector<std::vector<float>> values;
    std::vector<LayerWeights> layers;
    // Errors are those of the fewest bits: others hardly count beside them.
    const Scheme *narrowest = getAssignedScheme(group.layers[0], scheme_);
    for (MatMulOp layer : group.layers)
      if (const Scheme *scheme = getAssignedScheme(layer, scheme_);
          scheme->getWeightBits() < narrowest->getWeightBits())
        narrowest = scheme;
    LinearGroup judged = group;
    llvm::erase_if(judged.layers, [&](MatMulOp layer) {
      return getAssignedScheme(layer, scheme_) != narrowest;
    });
    for (MatMulOp layer : getJudgedLayers(judged)) {
      auto weights = readWeight(*workspace, layer);
      if (!weights)
        return weights.takeError();
      values.push_back(std::move(*weights));
      layers.push_back(
          {getWeightRows(layer), getWeightColumns(layer), values.back()});
    }
    SchemeGrid grid(*narrowest);
    std::vector<double> gram = data.gram.getMeans();
    std::vector<float> meanAbs = data.gram.getMeanAbs();
    data.gram = Gram();
    awq::Options options;
    options.threads = workspace->getThreads();
    auto solve = [&](ArrayRef<float> scales) -> awq::ColumnJudge {
      auto factor = std::make_shared<gptq::Factor>(gram, int64_t(scales.size()),
                                                   gptq::Options(), scales,
                                                   options.threads);
      return [=, &grid, &gram](LayerWeights weights, LayerWeights scaled) {
        gptq::Solution solution = factor->solve(grid, scaled);
        return solution.error
                   ? *solution.error
                   : awq::getScaledError(weights,
                                         std::move(solution.weights.values),
                                         gram, scales);
      };
    };
    awq::Result found =
        awq::search(grid, layers, meanAbs, gram, fold.getClasses(), options,
                    judge == "gptq" ? awq::Judge(solve) : awq::Judge());
    if (found.isIdentity())
      return leave("no scale is better");
    std::string text;
    llvm::raw_string_ostream(text)
        << "awq: exponent " << llvm::format("%.2f", found.exponent)
        << (found.byWeights ? " by weights" : "") << ", error "
        << llvm::format("%.3g", found.errorBefore) << " to "
        << llvm::format("%.3g", found.errorAfter);
    return ScaleChoice{std::move(found.scales), std::move(text)};
  }

  const Scheme *scheme_ = nullptr;
  Workspace *workspace = nullptr;
};

} // namespace
