//===- StaticInt8.cpp - int8 with scales from calibration -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Activations.h"
#include "Bias.h"
#include "DynamicConv.h"
#include "Equalize.h"
#include "Sensitivity.h"
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

/// Copies, concatenations and poolings between integers and an average.
static constexpr unsigned kMaxMoves = 4;

/// Samples on which activations are ranked.
static constexpr size_t kRankedSamples = 4;

static bool isF32(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getElementType().isF32();
}

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
  bool isDepthwise = isa<ConvOp>(op) && type.getDimSize(1) == 1 &&
                     cast<ConvOp>(op).getGroups() > 1;
  if (isDepthwise &&
      type.getDimSize(0) != int64_t(cast<ConvOp>(op).getGroups()))
    return "not supported: several outputs per channel have no kernel for int8";
  return rows < kMinRows && !isDepthwise ? "kept: not faster" : "";
}

namespace {

using Adder = llvm::function_ref<Activation &(Value, qcc::Range)>;

struct StaticInt8Pass : qcc::impl::StaticInt8Base<StaticInt8Pass> {
  using StaticInt8Base::StaticInt8Base;

  void runOnOperation() override {
    KeepRules rules;
    if (failed(rules.parse(getOperation().getLoc(), keep)))
      return signalPassFailure();
    SmallVector<Operation *> candidates, others;
    getOperation().walk([&](Operation *op) {
      if (!isa<MatMulOp, ConvOp, ConvTransposeOp>(op) ||
          isConstantExpression(op->getResult(0)))
        return;
      // Of products others find scales at run time.
      bool isKnown = getRange(op->getOperand(0)).has_value();
      if ((!dynamic || isKnown || !isa<MatMulOp>(op)) && choose(op, rules) &&
          (isKnown || (dynamic && isa<ConvOp>(op))))
        (isKnown ? candidates : others).push_back(op);
    });
    if (failed(dropSlow(candidates)) || failed(keepSensitive(candidates)) ||
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

  /// Leaves the candidates that integers make faster.
  LogicalResult dropSlow(SmallVector<Operation *> &candidates,
                         bool isDynamic = false) {
    if (target.empty() || candidates.empty())
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
    llvm::SmallPtrSet<Operation *, 16> chosen(faster.begin(), faster.end());
    for (Operation *op : candidates)
      if (!chosen.contains(op))
        noteOutcome(op, "int8", "f32", "kept: not faster");
    candidates = std::move(faster);
    return success();
  }

  /// Convolutions get codes of their inputs with scales of samples; those of
  /// one value read the same.
  static void makeAllDynamic(ArrayRef<Operation *> layers) {
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
      makeDynamic(conv, found->second);
    }
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
      if (isKept && activation.layers.empty())
        keptFloat.insert(activation.value);
      else if (isKept)
        for (Operation *layer : activation.layers) {
          noteOutcome(layer, "int8", "f32", sensitiveReason);
          dropped.insert(layer);
        }
    if (dropped.empty())
      return success();
    llvm::erase_if(candidates,
                   [&](Operation *op) { return dropped.contains(op); });
    // What is left between them may not be worth the conversions.
    return dropSlow(candidates);
  }

  /// Which activations stay float, by what their codes do to the outputs.
  /// Channels are equalised first where that makes them better.
  llvm::Expected<std::vector<bool>>
  findSensitive(Workspace &workspace, SmallVector<Activation> &activations) {
    std::vector<bool> none(activations.size());
    auto found = measure(workspace, activations);
    if (!found)
      return found.takeError();
    Measured measured = std::move(*found);
    bool isJudged = measured.model->hasOutputs() && minCosine > 0;
    // Other samples are worse than those of which the ranges are.
    double bound = isJudged ? 1 - (1 - minCosine) / 2 : -1;
    if (measured.getLeastCosine() < bound) {
      SmallVector<Activation> divided(activations);
      llvm::Expected<unsigned> changed = equalizeChannels(workspace, divided);
      if (!changed)
        return changed.takeError();
      if (*changed) {
        auto other = measure(workspace, divided);
        if (!other)
          return other.takeError();
        if (other->getLeastCosine() > measured.getLeastCosine()) {
          measured = std::move(*other);
          for (const Activation &activation : divided)
            if (!activation.scales.empty())
              equalised.insert({activation.value, activation});
        }
      }
    }
    noteLayers(measured, activations);
    if (measured.getLeastCosine() >= bound)
      return none;
    return keepWorst(*measured.model, activations.size(), bound);
  }

  /// The model with switches and what was found with it.
  struct Measured {
    std::unique_ptr<SwitchedModel> model;
    std::vector<double> errors; ///< of each layer alone
    std::vector<std::optional<Correction>> corrections;
    std::optional<Agreement> whole; ///< all in int8; none without outputs

    double getLeastCosine() const {
      return whole ? whole->getLeastCosine() : 1;
    }
  };

  /// Compiles the model with switches and runs it. Corrections are those that
  /// do not change the outputs more than none do.
  llvm::Expected<Measured> measure(Workspace &workspace,
                                   ArrayRef<Activation> activations) {
    auto model = SwitchedModel::create(workspace, getOperation(), activations);
    if (!model)
      return model.takeError();
    Measured result{std::move(*model), {}, {}, {}};
    llvm::Expected<std::vector<double>> errors = result.model->measureLayers();
    if (!errors)
      return errors.takeError();
    result.errors = std::move(*errors);
    result.corrections.resize(result.errors.size());
    std::vector<bool> all(activations.size(), true);
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

  /// Keeps the error of each layer alone and its correction.
  void noteLayers(Measured &measured, ArrayRef<Activation> activations) {
    Builder b(&getContext());
    size_t next = 0;
    for (const Activation &activation : activations)
      for (Operation *layer : activation.layers) {
        double error = measured.errors[next];
        if (std::optional<Correction> &found = measured.corrections[next++]) {
          error = found->error;
          notes[layer] = llvm::formatv("bias corrected: error {0:f4} to {1:f4}",
                                       found->before, found->after);
          corrections[layer] = std::move(found->values);
        }
        // Samples with infinities give none.
        if (std::isfinite(error))
          layer->setAttr(kLayerErrorAttr, b.getF32FloatAttr(float(error)));
      }
  }

  /// Those that alone change the outputs most, as few as the bound needs.
  static llvm::Expected<std::vector<bool>>
  keepWorst(SwitchedModel &model, size_t count, double bound) {
    std::vector<double> alone;
    for (size_t i = 0; i < count; ++i) {
      std::vector<bool> one(count);
      one[i] = true;
      llvm::Expected<Agreement> agreement = model.run(one, kRankedSamples);
      if (!agreement)
        return agreement.takeError();
      alone.push_back(agreement->getMeanError());
    }
    auto holds = [&](const std::vector<bool> &on) -> llvm::Expected<bool> {
      llvm::Expected<Agreement> agreement =
          model.run(on, model.getNumSamples());
      if (!agreement)
        return agreement.takeError();
      return agreement->getLeastCosine() >= bound;
    };
    llvm::Expected<std::vector<bool>> kept = chooseKept(alone, holds);
    if (!kept)
      return kept.takeError();
    // As long again as the ranking took, within limits.
    size_t questions = std::clamp<size_t>(
        kRankedSamples * count / model.getNumSamples(), 8, 24);
    return releaseKept(alone, std::move(*kept), questions, holds);
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
    addSummands(layers, add);
    addAveraged(layers, add);
    addPooled(activations, add);
    SmallVector<Activation> result;
    for (auto &[value, activation] : activations) {
      if (auto found = equalised.find(value); found != equalised.end()) {
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
      noteOutcome(op, "int8", "f32", "kept: matches --keep=" + rule);
      return false;
    }
    std::string obstacle = getObstacle(op);
    if (!obstacle.empty()) {
      noteOutcome(op, "int8", "f32", obstacle);
      return false;
    }
    return true;
  }

  /// The earlier operands of sums of several activations, if integers give
  /// them: they are stored until the last one is there. That one is in
  /// registers and stays as it is.
  void addSummands(ArrayRef<Operation *> layers, Adder add) {
    llvm::SmallPtrSet<Operation *, 16> integers(layers.begin(), layers.end());
    SmallVector<Value> found;
    getOperation().walk([&](GenericOp op) {
      if (op.isReduction() || isConstantExpression(op.getResult()))
        return;
      SmallVector<Value> summands;
      for (auto [i, input] : llvm::enumerate(op.getInputs()))
        if (isF32(input) && !isConstantExpression(input) &&
            op.getMap(i).isIdentity() && input.getDefiningOp() &&
            input.getDefiningOp()->getBlock() == op->getBlock() &&
            getDims(input.getType()) == getDims(op.getResult().getType()))
          summands.push_back(input);
      if (summands.size() < 2)
        return;
      llvm::sort(summands, [](Value a, Value b) {
        return a.getDefiningOp()->isBeforeInBlock(b.getDefiningOp());
      });
      summands.pop_back();
      llvm::append_range(found, summands);
    });
    for (Value value : found)
      if (std::optional<qcc::Range> range = getRange(value))
        if (feedsFrom(integers, value) && !keptFloat.contains(value))
          add(value, *range);
  }

  /// What the maximum of a window is taken of gets the same codes as the
  /// maximum: its codes are found among them.
  void addPooled(const llvm::MapVector<Value, Activation> &activations,
                 Adder add) {
    SmallVector<std::pair<Value, qcc::Range>> found;
    for (const auto &[value, activation] : activations) {
      auto pool = value.getDefiningOp<PoolOp>();
      if (pool && pool.getKind() == PoolKind::Max && isF32(pool.getInput()) &&
          !isa<BlockArgument>(pool.getInput()))
        found.push_back({pool.getInput(), activation.range});
    }
    for (auto &[value, range] : found)
      add(value, range);
  }

  /// What averages are taken of, if integers give it: their sums are exact. It
  /// has a scale of its own, for an average's range is narrower.
  void addAveraged(ArrayRef<Operation *> layers, Adder add) {
    llvm::SmallPtrSet<Operation *, 16> integers(layers.begin(), layers.end());
    SmallVector<Value> found;
    getOperation().walk([&](Operation *op) {
      if (!isa<PoolOp, GenericOp>(op) || !hasExactAverage(op))
        return;
      Value input = op->getOperand(0);
      if (isF32(input) && !isConstantExpression(input) &&
          movesFrom(integers, input))
        found.push_back(input);
    });
    for (Value value : found)
      if (std::optional<qcc::Range> range = getRange(value))
        if (!keptFloat.contains(value))
          add(value, *range);
  }

  /// True if a value is that of one of the operations, after elementwise ones:
  /// others are float whatever is stored of them.
  static bool feedsFrom(const llvm::SmallPtrSetImpl<Operation *> &operations,
                        Value value) {
    for (unsigned depth = 0; depth < 8; ++depth) {
      Operation *op = value.getDefiningOp();
      if (operations.contains(op))
        return true;
      auto generic = dyn_cast_or_null<GenericOp>(op);
      if (!generic || generic.isReduction() || generic.getInputs().empty())
        return false;
      value = generic.getInputs()[0];
    }
    return false;
  }

  /// As feedsFrom, also after what moves elements or joins tensors.
  static bool movesFrom(const llvm::SmallPtrSetImpl<Operation *> &operations,
                        Value value, unsigned depth = 0) {
    if (feedsFrom(operations, value))
      return true;
    if (depth == kMaxMoves || !value.getDefiningOp())
      return false;
    Operation *op = value.getDefiningOp();
    if (auto generic = dyn_cast<GenericOp>(op))
      if (generic.isReduction() || generic.getInputs().size() != 1 ||
          !generic.getWhole().empty())
        return false;
    return isa<ConcatOp, GenericOp, PoolOp, ReshapeOp>(op) &&
           llvm::all_of(op->getOperands(), [&](Value operand) {
             return movesFrom(operations, operand, depth + 1);
           });
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
      layer->setOperand(1, quantizeWeight(b, layer, activation.scales));
      noteOutcome(layer, "int8", "int8", "as asked");
      std::string note = notes.lookup(layer);
      if (!activation.scales.empty())
        note = "channels equalised" + (note.empty() ? "" : "; " + note);
      if (!note.empty())
        layer->setAttr(kTransformAttr, b.getStringAttr(note));
    }
  }

  /// Summands that stay float although integers give them.
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
