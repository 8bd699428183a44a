//===- GPTQ.cpp - weights chosen by their effect on outputs -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/GPTQ.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Calibration/ScaleFold.h"
#include "qcc/Calibration/Sequence.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Scheme/SchemeGrid.h"
#include "qcc/Support/Diagnostics.h"
#include <cmath>

namespace qcc {
#define GEN_PASS_DECL_GPTQ
#define GEN_PASS_DEF_GPTQ
#include "qcc/passes/GPTQ.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {

/// A layer's weights by some method.
struct Choice {
  std::string method;
  RoundedWeights weights;
  double error = 0;
};

struct GPTQPass : qcc::impl::GPTQBase<GPTQPass> {
  using GPTQBase::GPTQBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    ModuleOp module = getOperation();
    scheme_ = findScheme(module.getLoc(), scheme);
    if (!scheme_)
      return failure();
    for (StringRef method : methods)
      if (!llvm::is_contained({"clip", "gptq", "gptq-clip"}, method))
        return emitCoded(module.getLoc(), Diag::Usage)
               << "expected clip, gptq or gptq-clip, but got '" << method
               << "'";
    KeepRules rules;
    if (failed(rules.parse(module.getLoc(), keep)))
      return failure();
    workspace = requireWorkspace(
        module, llvm::is_contained(methods, "gptq") ? "gptq" : "clip");
    if (!workspace)
      return failure();
    auto take = [&](MatMulOp op) {
      return rules.match(getNodeName(op.getLoc())).empty() &&
             getAssignedScheme(op, scheme_) &&
             getObstacle(op, *getAssignedScheme(op, scheme_)).empty();
    };
    groups = collectLinearGroups(*module.getOps<func::FuncOp>().begin(), take);
    if (llvm::Error error = sequential ? runSequential() : runParallel())
      return qcc::emitError(module.getLoc(), std::move(error));
    return success();
  }

private:
  llvm::Error runParallel() {
    SmallVector<Value> inputs;
    for (const LinearGroup &group : groups)
      inputs.push_back(group.input);
    return workspace->gather(
        getOperation(), inputs,
        [&](size_t i, InputData &data) { return solve(groups[i], data, {}); });
  }

  /// Group after group, on the module as it has become.
  llvm::Error runSequential() {
    IRMapping mapping;
    OwningOpRef<ModuleOp> original =
        cast<ModuleOp>(getOperation()->clone(mapping));
    SmallVector<Value> inputs;
    for (const LinearGroup &group : groups)
      inputs.push_back(group.input);
    Sequence sequence(*workspace, getOperation()), exact(*workspace, *original);
    bool corrects = correct > 0;
    for (size_t i = 0; i < groups.size(); ++i) {
      std::vector<std::vector<float>> rows, exactRows;
      llvm::Expected<InputData> data =
          sequence.next(inputs[i], corrects ? &rows : nullptr);
      if (!data)
        return data.takeError();
      std::vector<double> cross;
      if (corrects) {
        llvm::Expected<InputData> exactData =
            exact.next(mapping.lookup(inputs[i]), &exactRows);
        if (!exactData)
          return exactData.takeError();
        size_t k = data->range.largest.size();
        cross.resize(k * k);
        for (auto [y, x] : llvm::zip_equal(rows, exactRows))
          addCrossProducts(y, x, k, cross);
        for (double &sum : cross)
          sum /= double(std::max<uint64_t>(data->range.rows, 1));
      }
      if (llvm::Error error = solve(groups[i], *data, cross))
        return error;
    }
    return llvm::Error::success();
  }

  /// Chooses the weights of a group's layers.
  llvm::Error solve(const LinearGroup &group, const InputData &data,
                    ArrayRef<double> cross) {
    std::vector<double> gram = data.gram.getMeans();
    for (MatMulOp layer : group.layers) {
      auto weights = readWeight(*workspace, layer);
      if (!weights)
        return weights.takeError();
      LayerWeights original = {getWeightRows(layer), getWeightColumns(layer),
                               *weights};
      current = getAssignedScheme(layer, scheme_);
      Choice chosen = choose(original, gram, cross);
      if (llvm::Error error = replace(layer, original, chosen, gram))
        return error;
    }
    return llvm::Error::success();
  }

  Choice choose(LayerWeights original, ArrayRef<double> gram,
                ArrayRef<double> cross) {
    SchemeGrid grid(*current);
    Choice best;
    best.method = "rtn";
    best.weights =
        roundToNearest(grid, original, getImportance(gram, original.k));
    // Where earlier errors are made up for, the target is another one: its
    // distance, measured with the inputs as they are, is the error up to what
    // no weights can change.
    std::vector<float> corrected;
    LayerWeights target = original;
    if (!cross.empty()) {
      corrected = gptq::correctTarget(original, gram, cross, correct, damping);
      target.values = corrected;
    }
    nearest = getOutputError(target, best.weights.values, gram);
    best.error = nearest;
    auto offer = [&](StringRef method, RoundedWeights weights) {
      double error = getOutputError(target, weights.values, gram);
      if (error < best.error)
        best = {method.str(), std::move(weights), error};
    };
    gptq::Options options;
    options.damping = damping;
    RoundedWeights clipped;
    if (llvm::is_contained(methods, "clip") ||
        llvm::is_contained(methods, "gptq-clip"))
      clipped = searchClip(grid, target, gram);
    if (llvm::is_contained(methods, "gptq"))
      offer("gptq", gptq::solve(grid, target, gram, options).weights);
    if (llvm::is_contained(methods, "gptq-clip"))
      offer("gptq-clip",
            gptq::solve(grid, target, gram, options, clipped.affines).weights);
    if (llvm::is_contained(methods, "clip"))
      offer("clip", std::move(clipped));
    return best;
  }

  /// Puts the chosen weights in place of the layer's.
  llvm::Error replace(MatMulOp layer, LayerWeights original,
                      const Choice &choice, ArrayRef<double> gram) {
    OpBuilder b(layer);
    Location loc = layer.getRhs().getLoc();
    std::string key = getNodeName(layer.getLoc()).str();
    auto values = workspace->addParameter(b, loc, key + "." + choice.method,
                                          choice.weights.values,
                                          {original.k, original.n});
    if (!values)
      return values.takeError();
    int64_t groupCount = countGroups(SchemeGrid(*current), original.k);
    std::vector<float> scales;
    std::vector<int32_t> zeros;
    for (GridAffine affine : choice.weights.affines) {
      scales.push_back(affine.scale);
      zeros.push_back(affine.zero);
    }
    // Only keys stay in the module: the parameters are read when the weight is
    // encoded.
    auto store = [&](StringRef attribute, StringRef suffix,
                     auto array) -> llvm::Error {
      auto param = workspace->addParameter(b, loc, key + suffix.str(), array,
                                           {groupCount, original.n});
      if (!param)
        return param.takeError();
      auto op = param->template getDefiningOp<ParamOp>();
      layer->setAttr(attribute, op.getKeyAttr());
      op.erase();
      return llvm::Error::success();
    };
    if (llvm::Error error = store(kScalesAttr, ".scales", ArrayRef(scales)))
      return error;
    if (!current->getZero())
      if (llvm::Error error = store(kZerosAttr, ".zeros", ArrayRef(zeros)))
        return error;
    layer.getRhsMutable().set(*values);
    layer.setTransB(false);
    double power = getOutputPower(original, gram);
    auto relative = [&](double error) {
      double ratio = power > 0 ? error / power : 0;
      return std::isfinite(ratio) ? float(ratio) : 0.0f;
    };
    layer->setAttr(kAlgorithmAttr, b.getStringAttr(choice.method));
    layer->setAttr(kErrorAttr, b.getF32ArrayAttr({relative(nearest),
                                                  relative(choice.error)}));
    return llvm::Error::success();
  }

  const Scheme *scheme_ = nullptr;
  const Scheme *current = nullptr; ///< of the layer at hand
  Workspace *workspace = nullptr;
  SmallVector<LinearGroup> groups;
  double nearest = 0;
};

} // namespace
