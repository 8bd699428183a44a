//===- StaticQuantizer.cpp - int8 with known scales -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "StaticQuantizer.h"
#include "Bias.h"
#include "Collect.h"
#include "DynamicConv.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace qcc;

/// Fewer rows of a weight than this are not worth the codes of its input.
static constexpr int64_t kMinRows = 16;
/// Products of two bytes, one of them up to 255 away from its zero point, of
/// more rows may not fit 32 bits.
static constexpr int64_t kMaxRows = 33025;

/// Why an operation with a weight stays float whatever is known of its input;
/// empty if nothing speaks against it.
static std::string findObstacle(Operation *op) {
  Value weight = op->getOperand(1);
  auto type = cast<RankedTensorType>(weight.getType());
  auto matmul = dyn_cast<MatMulOp>(op);
  if (std::string obstacle = getWeightObstacle(op); !obstacle.empty())
    return obstacle;
  if (op->hasAttr(kPartAttr))
    return "not supported: its node has several weights";
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

LogicalResult StaticQuantizer::run() {
  if (scheme != "int8" && !isNarrow())
    return emitCoded(module.getLoc(), Diag::UnsupportedScheme)
           << "expected int8 or w4a8, but got '" << scheme << "'";
  KeepRules rules;
  if (failed(checkBudgets()) || failed(rules.parse(module.getLoc(), keep)))
    return failure();
  if (onlyAttentions) {
    Workspace *workspace = getWorkspace(context);
    return workspace ? success(succeeded(collectAttentions(rules)) &&
                               succeeded(chooseAttentions(*workspace)))
                     : success();
  }
  SmallVector<Operation *> candidates, others;
  module.walk([&](Operation *op) {
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
  if (rowScales && !budgets.any() && failed(collectAttentions(rules)))
    return failure();
  if (failed(dropSlow(candidates)) ||
      failed(budgets.any() ? keepWithinBudgets(candidates, rules)
                           : keepSensitive(candidates)) ||
      failed(narrowWeights(candidates, rules)) ||
      failed(dropSlow(others, /*isDynamic=*/true)))
    return failure();
  makeAllDynamic(others);
  for (const Activation &activation : collect(candidates))
    replaceActivation(activation);
  for (Operation *layer : candidates)
    if (auto found = corrections.find(layer); found != corrections.end())
      addToChannels(layer, found->second);
  dropRanges();
  return success();
}

bool StaticQuantizer::choose(Operation *op, const KeepRules &rules) {
  if (std::string reason = rules.getReason(op); !reason.empty()) {
    noteOutcome(op, scheme, "f32", reason);
    return false;
  }
  // Within budgets there is no f32 to choose for them.
  if ((!isNarrow() || budgets.any() || dynamic) && isOfCodes(op))
    return false;
  // What integers are rounded to in 16 bits is worth more than 8 of them.
  if (!isNarrow() && !budgets.any() && isOfWideCodes(op))
    return false;
  std::string obstacle = findObstacle(op);
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

void StaticQuantizer::keepFloat(Operation *op, StringRef requested,
                                StringRef reason) {
  noteOutcome(op, requested, "f32", reason);
  Builder b(context);
  op->setAttr(kAssignedAttr, b.getStringAttr("f32"));
  op->setAttr(kAssignedReasonAttr, b.getStringAttr(reason));
}

SmallVector<Activation> StaticQuantizer::collect(ArrayRef<Operation *> layers) {
  llvm::MapVector<Value, Activation> activations;
  auto add = [&](Value value, qcc::Range range) -> Activation & {
    return activations.insert({value, Activation{value, range, {}}})
        .first->second;
  };
  for (Operation *op : layers)
    add(op->getOperand(0), *getRange(op->getOperand(0))).layers.push_back(op);
  addSummands(module, layers, keptFloat, add);
  addAveraged(module, layers, keptFloat, add);
  addPooled(activations, keptFloat, add);
  SmallVector<Activation> result;
  for (auto &[value, activation] : activations) {
    takeEqualised(activation);
    result.push_back(std::move(activation));
  }
  return result;
}

void StaticQuantizer::takeEqualised(Activation &activation) const {
  // Without layers there are no weights that make up for it.
  auto found = equalised.find(activation.value);
  if (found == equalised.end() || activation.layers.empty())
    return;
  activation.scales = found->second.scales;
  activation.range = found->second.range;
}

void StaticQuantizer::makeAllDynamic(ArrayRef<Operation *> layers) {
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
    IntConvOp sums = makeDynamic(conv, found->second, pairsFit);
    // Without samples nothing chooses codes of 4 bits; with them algorithms
    // choose, those of products alone.
    noteOutcome(sums, scheme, "int8",
                isNarrow() ? "kept in int8: 4 bits take calibration data and "
                             "no --algo"
                           : "as asked");
  }
}

void StaticQuantizer::replaceActivation(const Activation &activation) {
  OpBuilder b(context);
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
    if (StringRef method = chosen.getMethod(layer); !method.empty())
      note = ("weights by " + method).str() + (note.empty() ? "" : "; " + note);
    if (!activation.scales.empty())
      note = "channels equalised" + (note.empty() ? "" : "; " + note);
    if (!note.empty())
      layer->setAttr(kTransformAttr, b.getStringAttr(note));
  }
}

Value StaticQuantizer::createWeight(OpBuilder &b, Operation *layer,
                                    ArrayRef<float> scales) {
  return chosen.narrow.contains(layer)
             ? chosen.narrow.create(b, layer, layer, scales)
             : chosen.createBytes(b, layer, layer, scales);
}

void StaticQuantizer::noteWeight(Operation *layer) {
  bool isWide = isNarrow() && !chosen.narrow.contains(layer);
  StringRef executed = isWide ? "int8" : StringRef(scheme);
  if (auto found = assigned.find(layer); found != assigned.end())
    return noteOutcome(layer, executed, executed, found->second);
  if (!isWide)
    return noteOutcome(layer, scheme, scheme, "as asked");
  std::string reason = wide.lookup(layer);
  noteOutcome(layer, scheme, "int8",
              reason.empty() ? "kept in int8: depthwise" : reason);
}

void StaticQuantizer::dropRanges() {
  module.walk([](Operation *op) {
    op->removeAttr("qcc.range");
    op->removeAttr(kChannelsAttr);
    if (auto func = dyn_cast<func::FuncOp>(op))
      for (unsigned i = 0; i < func.getNumArguments(); ++i)
        for (StringRef name :
             {StringRef("qcc.range"), StringRef(kChannelsAttr)})
          func.removeArgAttr(i, name);
  });
}
