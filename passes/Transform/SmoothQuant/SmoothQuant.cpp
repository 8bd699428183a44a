//===- SmoothQuant.cpp - large activations moved into weights ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "SmoothQuantMath.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/ScaleFold.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/SchemeGrid.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Format.h"

namespace qcc {
#define GEN_PASS_DECL_SMOOTHQUANT
#define GEN_PASS_DEF_SMOOTHQUANT
#include "qcc/passes/SmoothQuant.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {

struct SmoothQuantPass : qcc::impl::SmoothQuantBase<SmoothQuantPass> {
  using SmoothQuantBase::SmoothQuantBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    ModuleOp module = getOperation();
    scheme_ = findScheme(module.getLoc(), scheme);
    if (!scheme_)
      return failure();
    if (scheme_->getCompute() != SchemeCompute::Integer)
      return emitCoded(module.getLoc(), Diag::UnsupportedScheme)
             << "expected a scheme that rounds activations (integer compute), "
                "but got '"
             << scheme << "'";
    if (!(alpha <= 1))
      return emitCoded(module.getLoc(), Diag::Usage)
             << "expected an alpha of at most 1, but got "
             << std::to_string(alpha);
    KeepRules rules;
    if (failed(rules.parse(module.getLoc(), keep)))
      return failure();
    workspace = requireWorkspace(module, "smoothquant");
    if (!workspace)
      return failure();
    auto take = [&](MatMulOp op) {
      return rules.getReason(op).empty() && getObstacle(op, *scheme_).empty();
    };
    SmallVector<LinearGroup> groups =
        collectScaledGroups(*module.getOps<func::FuncOp>().begin(), take);
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
    ScaleFold fold(group);
    if (fold.getObstacle().empty())
      fold.apply(choice.scales);
    else
      divideInput(group, choice.scales);
    scaleWeightRows(group, choice.scales);
  }

  llvm::Expected<ScaleChoice> find(const LinearGroup &group,
                                   const InputData &data) {
    auto leave = [](const llvm::Twine &why) {
      return ScaleChoice{{}, ("smoothquant: not scaled: " + why).str()};
    };
    ScaleFold fold(group);
    bool folds = fold.getObstacle().empty();
    if (!folds && !divide)
      return leave(fold.getObstacle());
    std::vector<std::vector<float>> values;
    std::vector<LayerWeights> layers;
    for (MatMulOp layer : getJudgedLayers(group)) {
      auto weights = readWeight(*workspace, layer);
      if (!weights)
        return weights.takeError();
      values.push_back(std::move(*weights));
      layers.push_back(
          {getWeightRows(layer), getWeightColumns(layer), values.back()});
    }
    std::vector<double> alphas;
    if (alpha >= 0)
      alphas.push_back(alpha);
    else
      for (int i = 2; i <= 19; ++i)
        alphas.push_back(i * 0.05);
    smoothquant::Result found = smoothquant::search(
        SchemeGrid(*scheme_), layers, data.range.largest, data.sampled,
        data.gram.getMeans(), scheme_->getGroup(), alphas,
        folds ? fold.getClasses() : ArrayRef<int64_t>(), alpha >= 0);
    if (found.alpha < 0)
      return leave("no alpha is better");
    std::string text;
    llvm::raw_string_ostream(text)
        << "smoothquant: alpha " << llvm::format("%.2f", found.alpha)
        << (folds ? "" : " by an operation of its own") << ", error "
        << llvm::format("%.3g", found.errorBefore) << " to "
        << llvm::format("%.3g", found.errorAfter);
    return ScaleChoice{std::move(found.scales), std::move(text)};
  }

  const Scheme *scheme_ = nullptr;
  Workspace *workspace = nullptr;
};

} // namespace
