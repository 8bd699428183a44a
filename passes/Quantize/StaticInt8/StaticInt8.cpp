//===- StaticInt8.cpp - int8 with scales from calibration -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Activations.h"
#include "Bias.h"
#include "Budgeted.h"
#include "Collect.h"
#include "DynamicConv.h"
#include "Equalize.h"
#include "Measure.h"
#include "Speed.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>

namespace qcc {
#define GEN_PASS_DECL_STATICINT8
#define GEN_PASS_DEF_STATICINT8
#include "qcc/passes/StaticInt8.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

/// Fewer rows of a weight than this are not worth the codes of its input.
static constexpr int64_t kMinRows = 16;
/// Products of two bytes, one of them up to 255 away from its zero point, of
/// more rows may not fit 32 bits.
static constexpr int64_t kMaxRows = 33025;

/// Why an operation with a weight stays float whatever is known of its input;
/// empty if nothing speaks against it.
static std::string getObstacle(Operation *op) {
  Value weight = op->getOperand(1);
  auto type = cast<RankedTensorType>(weight.getType());
  auto matmul = dyn_cast<MatMulOp>(op);
  if (!isConstantExpression(weight))
    return "kept: both operands are activations";
  if (!isF32(weight) || !isF32(op->getOperand(0)))
    return "not supported: operands are not f32";
  if (!type.hasStaticShape() || type.getNumElements() == 0)
    return "not supported: the weight has no elements";
  if (matmul && (type.getRank() != 2 || matmul.getTransA()))
    return "not supported: the weight is not a matrix";
  if (isa<ConvTransposeOp>(op))
    return "not supported: transposed convolutions have no kernel for int8";
  if (!matmul && type.getRank() > 4)
    return "not supported: three spatial dimensions";
  int64_t channels = type.getDimSize(matmul && !matmul.getTransB() ? 1 : 0),
          rows = type.getNumElements() / channels;
  if (rows > kMaxRows)
    return "not supported: a sum may not fit 32 bits";
  bool isDepthwise = qcc::isDepthwise(op);
  if (isDepthwise &&
      type.getDimSize(0) != int64_t(cast<ConvOp>(op).getGroups()))
    return "not supported: several outputs per channel have no kernel for int8";
  return rows < kMinRows && !isDepthwise ? "kept: not faster" : "";
}

namespace {

struct StaticInt8Pass : qcc::impl::StaticInt8Base<StaticInt8Pass> {
  using StaticInt8Base::StaticInt8Base;

  void runOnOperation() override {
    if (scheme != "int8" && !isNarrow()) {
      emitCoded(getOperation().getLoc(), Diag::UnsupportedScheme)
          << "expected int8 or w4a8, but got '" << scheme << "'";
      return signalPassFailure();
    }
    budgets = {maxSize, maxDrop, maxLatency};
    KeepRules rules;
    if (failed(checkBudgets()) ||
        failed(rules.parse(getOperation().getLoc(), keep)))
      return signalPassFailure();
    SmallVector<Operation *> candidates, others;
    getOperation().walk([&](Operation *op) {
      if (!isa<MatMulOp, ConvOp, ConvTransposeOp>(op) ||
          (isNarrow() && isa<MatMulOp>(op)) ||
          isConstantExpression(op->getResult(0)))
        return;
      // Of products others find scales at run time.
      bool isKnown = getRange(op->getOperand(0)).has_value();
      if (!isKnown && budgets.any()) {
        if (choose(op, rules))
          keepFloat(op, scheme, "kept: the range of its input is not known");
        return;
      }
      if ((!dynamic || isKnown || !isa<MatMulOp>(op)) && choose(op, rules) &&
          (isKnown || (dynamic && isa<ConvOp>(op))))
        (isKnown ? candidates : others).push_back(op);
    });
    if (failed(dropSlow(candidates)) ||
        failed(budgets.any() ? keepWithinBudgets(candidates)
                             : keepSensitive(candidates)) ||
        failed(narrowWeights(candidates, rules)) ||
        failed(dropSlow(others, /*isDynamic=*/true)))
      return signalPassFailure();
    makeAllDynamic(others);
    for (const Activation &activation : collect(candidates))
      replaceActivation(activation);
    for (Operation *layer : candidates)
      if (auto found = corrections.find(layer); found != corrections.end())
        addToChannels(layer, found->second);
    dropRanges();
  }

  /// Leaves the candidates that integers make faster, where size does not
  /// count.
  LogicalResult dropSlow(SmallVector<Operation *> &candidates,
                         bool isDynamic = false) {
    if (target.empty() || candidates.empty() || !budgets.size.empty())
      return success();
    auto found = getTargets(&getContext()).find(target);
    if (!found)
      return qcc::emitError(getOperation().getLoc(), found.takeError());
    ArrayRef<Sample> samples;
    if (Workspace *workspace = getWorkspace(&getContext()))
      samples = workspace->getSamples();
    SmallVector<Operation *> faster =
        chooseFaster(getOperation(), candidates, *found->first,
                     found->second.front(), samples, isDynamic);
    llvm::SmallPtrSet<Operation *, 16> kept(faster.begin(), faster.end());
    for (Operation *op : candidates)
      if (!kept.contains(op))
        noteOutcome(op, scheme, "f32", "kept: not faster");
    candidates = std::move(faster);
    return success();
  }

  /// Convolutions get codes of their inputs with scales of samples; those of
  /// one value read the same.
  void makeAllDynamic(ArrayRef<Operation *> layers) {
    llvm::DenseMap<Value, SampleCodes> codes;
    for (Operation *layer : layers) {
      auto conv = cast<ConvOp>(layer);
      Value value = conv.getInput();
      auto [found, isNew] = codes.try_emplace(value);
      if (isNew) {
        OpBuilder b(layer->getContext());
        b.setInsertionPointAfterValue(value);
        found->second = createSampleCodes(b, value);
      }
      makeDynamic(conv, found->second, pairsFit);
    }
  }

  LogicalResult checkBudgets() {
    if (!budgets.any())
      return success();
    Location loc = getOperation().getLoc();
    if (isNarrow())
      return emitCoded(loc, Diag::Usage)
             << "expected int8 to choose within budgets, but got '" << scheme
             << "'";
    Workspace *workspace = getWorkspace(&getContext());
    if (!workspace || !workspace->hasSamples() || target.empty())
      return emitCoded(loc, Diag::Usage)
             << "budgets are met by data: expected samples and a target";
    return success();
  }

  /// Leaves an operation with a weight in f32, whatever passes behind may do.
  void keepFloat(Operation *op, StringRef requested, StringRef reason) {
    noteOutcome(op, requested, "f32", reason);
    Builder b(&getContext());
    op->setAttr(kAssignedAttr, b.getStringAttr("f32"));
    op->setAttr(kAssignedReasonAttr, b.getStringAttr(reason));
  }

  /// Leaves the candidates that run in integers within the budgets.
  LogicalResult keepWithinBudgets(SmallVector<Operation *> &candidates) {
    Location loc = getOperation().getLoc();
    if (candidates.empty()) {
      if (budgets.size.empty() && budgets.latency.empty())
        return success();
      return emitCoded(loc, Diag::UnsupportedForm)
             << "expected layers that can run in int8 to choose from, but "
                "there are none";
    }
    auto found = getTargets(&getContext()).find(target);
    if (!found)
      return qcc::emitError(loc, found.takeError());
    Workspace &workspace = *getWorkspace(&getContext());
    SmallVector<Activation> activations = collect(candidates);
    auto measured = measureBest(workspace, activations);
    if (!measured)
      return qcc::emitError(loc, measured.takeError());
    BudgetRequest request = {
        workspace, getOperation(), *found->first, found->second.front(),
        budgets,   minCosine,      "int8,f32"};
    auto plan = planWithin(request, *measured->model, activations);
    if (!plan)
      return qcc::emitError(loc, plan.takeError());
    getOperation()->setAttr(kAssignmentAttr,
                            StringAttr::get(&getContext(), plan->assignment));
    candidates.clear();
    size_t next = 0;
    for (auto [activation, inCodes] :
         llvm::zip_equal(activations, plan->inCodes.activations)) {
      if (!inCodes)
        keptFloat.insert(activation.value);
      for (Operation *layer : activation.layers) {
        const std::string &reason = plan->reasons[next];
        bool isRule = StringRef(reason).starts_with("kept");
        if (!plan->inCodes.layers[next++]) {
          keepFloat(layer, isRule ? StringRef(scheme) : "f32", reason);
          continue;
        }
        candidates.push_back(layer);
        assigned[layer] = reason;
      }
    }
    return success();
  }

  /// Leaves the candidates with which the outputs on the calibration samples
  /// have the cosine that is asked for.
  LogicalResult keepSensitive(SmallVector<Operation *> &candidates) {
    Workspace *workspace = getWorkspace(&getContext());
    if (!workspace || !workspace->hasSamples() || candidates.empty())
      return success();
    SmallVector<Activation> activations = collect(candidates);
    llvm::Expected<std::vector<bool>> kept =
        findSensitive(*workspace, activations);
    if (!kept)
      return qcc::emitError(getOperation().getLoc(), kept.takeError());
    llvm::SmallPtrSet<Operation *, 16> dropped;
    for (auto [activation, isKept] : llvm::zip_equal(activations, *kept))
      if (isKept) {
        keptFloat.insert(activation.value);
        for (Operation *layer : activation.layers) {
          noteOutcome(layer, scheme, "f32", sensitiveReason);
          dropped.insert(layer);
        }
      }
    if (dropped.empty())
      return success();
    llvm::erase_if(candidates,
                   [&](Operation *op) { return dropped.contains(op); });
    // What is left between them may not be worth the conversions.
    return dropSlow(candidates);
  }

  /// The least cosine of the outputs on the samples: others are worse than
  /// those of which the ranges are.
  double getBound() const { return 1 - (1 - minCosine) / 2; }

  /// Measures what codes do to the outputs. Channels are equalised where that
  /// makes them better and they are not good enough.
  llvm::Expected<Measured> measureBest(Workspace &workspace,
                                       SmallVector<Activation> &activations) {
    auto found = measureBytes(workspace, activations);
    if (!found)
      return found.takeError();
    auto [measured, weights] = std::move(*found);
    if (measured.model->hasOutputs() && minCosine > 0 &&
        measured.getLeastCosine() < getBound()) {
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
    chosen = std::move(weights);
    noteLayers(measured, activations, [](Operation *) { return true; });
    return std::move(measured);
  }

  /// Which activations stay float, by what their codes do to the outputs.
  llvm::Expected<std::vector<bool>>
  findSensitive(Workspace &workspace, SmallVector<Activation> &activations) {
    auto found = measureBest(workspace, activations);
    if (!found)
      return found.takeError();
    Measured measured = std::move(*found);
    double bound =
        measured.model->hasOutputs() && minCosine > 0 ? getBound() : -1;
    leastCosine = std::max(measured.getLeastCosine(), bound);
    if (measured.getLeastCosine() >= bound)
      return std::vector<bool>(activations.size());
    SwitchedModel &model = *measured.model;
    llvm::Expected<std::vector<double>> costs = estimateCosts(activations);
    if (!costs)
      return costs.takeError();
    return keepWorst(*costs, model.getNumSamples(), bound,
                     [&](const std::vector<bool> &on, size_t n) {
                       return model.run(on, n);
                     });
  }

  /// What the layers of each activation take longer in f32. Borders, and what
  /// has no layer, are a hundredth of all layers together.
  llvm::Expected<std::vector<double>>
  estimateCosts(ArrayRef<Activation> activations) {
    std::vector<double> costs(activations.size(), 1);
    if (target.empty())
      return costs;
    auto found = getTargets(&getContext()).find(target);
    if (!found)
      return found.takeError();
    SmallVector<Operation *> layers;
    for (const Activation &activation : activations)
      llvm::append_range(layers, activation.layers);
    auto times = estimateTimes(getOperation(), layers, *found->first,
                               found->second.front(),
                               getWorkspace(&getContext())->getSamples());
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

  /// What 8 bits do to the model, and the weights for that: chosen on the
  /// samples where all bits stay.
  llvm::Expected<std::pair<Measured, ChosenWeights>>
  measureBytes(Workspace &workspace, ArrayRef<Activation> activations) {
    ChosenWeights weights(pairsFit);
    if (!isNarrow()) {
      auto found = ChosenWeights::chooseBytes(workspace, getOperation(),
                                              activations, pairsFit);
      if (!found)
        return found.takeError();
      weights = std::move(*found);
    }
    auto measured = Measured::create(workspace, getOperation(), activations,
                                     weights, correctBias);
    if (!measured)
      return measured.takeError();
    return std::pair(std::move(*measured), std::move(weights));
  }

  /// True if weights get 4 bits.
  bool isNarrow() const { return StringRef(scheme).split(':').first == "w4a8"; }

  /// Gives weights 4 bits where the outputs bear it.
  LogicalResult narrowWeights(ArrayRef<Operation *> candidates,
                              const KeepRules &rules) {
    if (!isNarrow())
      return success();
    const Scheme *format = findScheme(getOperation().getLoc(), scheme);
    if (!format)
      return failure();
    SmallVector<Activation> activations = collect(candidates);
    Workspace *workspace = getWorkspace(&getContext());
    if (!workspace || !workspace->hasSamples()) {
      chosen = ChosenWeights::round(activations, pairsFit);
      return success();
    }
    SmallVector<MatMulOp> products;
    getOperation().walk([&](MatMulOp op) {
      if (!isConstantExpression(op.getResult()) &&
          rules.match(getNodeName(op.getLoc())).empty() &&
          qcc::getObstacle(op, *format).empty())
        products.push_back(op);
    });
    if (llvm::Error error =
            chooseNarrow(*workspace, activations, products, *format))
      return qcc::emitError(getOperation().getLoc(), std::move(error));
    return success();
  }

  /// Chooses weights of convolutions, and which of them and of the products
  /// have 8 bits: those that change the outputs most, if all together change
  /// them by more than int8 may besides what codes of activations do.
  llvm::Error chooseNarrow(Workspace &workspace,
                           ArrayRef<Activation> activations,
                           ArrayRef<MatMulOp> products, const Scheme &format) {
    auto found = ChosenWeights::choose(workspace, getOperation(), activations,
                                       products, format, pairsFit);
    if (!found)
      return found.takeError();
    chosen = std::move(*found);
    if (chosen.empty())
      return llvm::Error::success();
    auto measured = Measured::create(workspace, getOperation(), activations,
                                     chosen, correctBias, products);
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
               [&](Operation *layer) { return chosen.contains(layer); });
    for (auto [product, error] : llvm::zip_equal(
             products, ArrayRef(measured->errors).take_back(products.size())))
      if (chosen.contains(product)) {
        chosen.apply(product);
        noteError(product, error);
      }
    return llvm::Error::success();
  }

  /// Keeps a layer's weight at 8 bits because of the outputs.
  void keepInBytes(Operation *layer) {
    constexpr StringLiteral reason =
        "kept in int8: outputs would change too much";
    Builder b(&getContext());
    if (!chosen.contains(layer))
      return;
    chosen.drop(layer);
    wide[layer] = reason.str();
    if (isa<MatMulOp>(layer)) {
      layer->setAttr(kAssignedAttr, b.getStringAttr("int8"));
      layer->setAttr(kAssignedReasonAttr, b.getStringAttr(reason));
    }
  }

  /// Which layers' weights stay at 8 bits, with their corrections from before,
  /// by what 4 bits do to the outputs.
  llvm::Expected<std::vector<bool>> keepWide(Measured &measured,
                                             size_t activations,
                                             ArrayRef<Operation *> layers,
                                             double bound) {
    SwitchedModel &model = *measured.model;
    // Twice the bits cost as much as the weight has elements.
    std::vector<double> sizes;
    for (Operation *layer : layers)
      sizes.push_back(double(std::max<int64_t>(
          cast<RankedTensorType>(layer->getOperand(1).getType())
              .getNumElements(),
          1)));
    return keepWorst(sizes, model.getNumSamples(), bound,
                     [&](const std::vector<bool> &on, size_t count) {
                       std::vector<std::optional<Correction>> own;
                       std::vector<bool> switches(activations, true);
                       for (auto [i, layer] : llvm::enumerate(layers)) {
                         auto before = corrections.find(layer);
                         if (on[i] && chosen.contains(layer))
                           own.push_back(measured.corrections[i]);
                         else if (before != corrections.end())
                           own.push_back(Correction{before->second});
                         else
                           own.push_back(std::nullopt);
                         // Of products it is this switch that says.
                         if (isa<MatMulOp>(layer))
                           switches.push_back(on[i]);
                       }
                       model.setNarrow(on);
                       model.setCorrections(own);
                       return model.run(switches, count);
                     });
  }

  /// Keeps the error of each layer alone and its correction, of those that are
  /// concerned.
  void noteLayers(Measured &measured, ArrayRef<Activation> activations,
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

  void noteError(Operation *layer, double error) {
    Builder b(&getContext());
    // Samples with infinities give none.
    if (std::isfinite(error))
      layer->setAttr(kLayerErrorAttr, b.getF32FloatAttr(float(error)));
  }

  /// The activations that become codes for the sake of the layers.
  SmallVector<Activation> collect(ArrayRef<Operation *> layers) {
    llvm::MapVector<Value, Activation> activations;
    auto add = [&](Value value, qcc::Range range) -> Activation & {
      return activations.insert({value, Activation{value, range, {}}})
          .first->second;
    };
    for (Operation *op : layers)
      add(op->getOperand(0), *getRange(op->getOperand(0))).layers.push_back(op);
    addSummands(getOperation(), layers, keptFloat, add);
    addAveraged(getOperation(), layers, keptFloat, add);
    addPooled(activations, add);
    SmallVector<Activation> result;
    for (auto &[value, activation] : activations) {
      // Without layers there are no weights that make up for it.
      if (auto found = equalised.find(value);
          found != equalised.end() && !activation.layers.empty()) {
        activation.scales = found->second.scales;
        activation.range = found->second.range;
      }
      result.push_back(std::move(activation));
    }
    return result;
  }

  /// Kernels of equal work are shared whatever their ranges were.
  void dropRanges() {
    getOperation().walk([](Operation *op) {
      op->removeAttr("qcc.range");
      op->removeAttr(kChannelsAttr);
      if (auto func = dyn_cast<func::FuncOp>(op))
        for (unsigned i = 0; i < func.getNumArguments(); ++i)
          for (StringRef name :
               {StringRef("qcc.range"), StringRef(kChannelsAttr)})
            func.removeArgAttr(i, name);
    });
  }

  /// True if an operation with a weight may be quantized; else notes why not.
  bool choose(Operation *op, const KeepRules &rules) {
    StringRef rule = rules.match(getNodeName(op->getLoc()));
    if (!rule.empty()) {
      noteOutcome(op, scheme, "f32", "kept: matches --keep=" + rule);
      return false;
    }
    std::string obstacle = getObstacle(op);
    if (!obstacle.empty()) {
      // What other passes made of it would not be measured.
      if (budgets.any())
        keepFloat(op, scheme, obstacle);
      else
        noteOutcome(op, scheme, "f32", obstacle);
      return false;
    }
    return true;
  }

  void replaceActivation(const Activation &activation) {
    OpBuilder b(&getContext());
    Value value = activation.value;
    b.setInsertionPointAfterValue(value);
    ActivationCodes codes = createCodes(b, value, activation);
    value.replaceUsesWithIf(codes.forOthers, [&](OpOperand &use) {
      return use.getOwner() != codes.first && readsCodes(use);
    });
    for (Operation *layer : activation.layers) {
      b.setInsertionPoint(layer);
      layer->setOperand(0, codes.forLayers);
      layer->setOperand(1, createWeight(b, layer, activation.scales));
      noteWeight(layer);
      std::string note = notes.lookup(layer);
      if (chosen.contains(layer))
        note = "weights by " + chosen.getMethod(layer).str() +
               (note.empty() ? "" : "; " + note);
      if (!activation.scales.empty())
        note = "channels equalised" + (note.empty() ? "" : "; " + note);
      if (!note.empty())
        layer->setAttr(kTransformAttr, b.getStringAttr(note));
    }
  }

  Value createWeight(OpBuilder &b, Operation *layer, ArrayRef<float> scales) {
    return chosen.contains(layer)
               ? chosen.create(b, layer, layer, scales)
               : quantizeWeight(b, layer, scales, {8, pairsFit});
  }

  void noteWeight(Operation *layer) {
    if (auto found = assigned.find(layer); found != assigned.end())
      return noteOutcome(layer, scheme, scheme, found->second);
    if (!isNarrow() || chosen.contains(layer))
      return noteOutcome(layer, scheme, scheme, "as asked");
    std::string reason = wide.lookup(layer);
    noteOutcome(layer, scheme, "int8",
                reason.empty() ? "kept in int8: depthwise" : reason);
  }

  /// What a user limits, and why layers have codes then.
  Budgets budgets;
  llvm::DenseMap<Operation *, std::string> assigned;
  /// Of the outputs on the samples, with the weights at 8 bits.
  double leastCosine = 1;
  /// Weights that the samples chose, and why others have 8 bits.
  ChosenWeights chosen;
  llvm::DenseMap<Operation *, std::string> wide;
  /// Activations that stay float although integers give them.
  llvm::DenseSet<Value> keptFloat;
  /// Activations whose channels are divided.
  llvm::DenseMap<Value, Activation> equalised;
  /// What is added to the channels of layers that stay in int8, and what is
  /// told of it.
  llvm::DenseMap<Operation *, std::vector<float>> corrections;
  llvm::DenseMap<Operation *, std::string> notes;
  std::string sensitiveReason = "kept: outputs would change too much";
};

} // namespace
