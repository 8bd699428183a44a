//===- Scores.cpp - what lies before the softmax of attention ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Scores.h"
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Shape.h"
#include <cfloat>
#include <cmath>

using namespace mlir;
using namespace qcc;

Value qcc::matchRegrouped(Value value) {
  auto reshape = value.getDefiningOp<ReshapeOp>();
  if (!reshape)
    return {};
  SmallVector<AffineExpr> to = getDims(value.getType()),
                          from = getDims(reshape.getInput().getType());
  auto isRank = [](ArrayRef<AffineExpr> dims) {
    return dims.size() == 3 || dims.size() == 4;
  };
  return isRank(to) && isRank(from) &&
                 ArrayRef(to).take_back(2) == ArrayRef(from).take_back(2)
             ? reshape.getInput()
             : Value();
}

namespace {
/// A walk from the softmax to the product.
class ScoreWalk {
public:
  bool follow(Value scores);

  ScoreChain chain;

private:
  bool noteHeads(Value scores);
  bool takeCap(Value capped);
  bool takeStep(Value scores, const BinaryElementwise &step, unsigned at);
  bool takeHidden(Value scores, GenericOp choice);
  bool mayAdd(Value mask, AffineMap map, Value scores) const;

  unsigned left = 20; ///< steps
};
} // namespace

/// Scores of rank 4 say what batches and heads are; false if they say something
/// else than others did.
bool ScoreWalk::noteHeads(Value scores) {
  SmallVector<AffineExpr> dims = getDims(scores.getType());
  if (dims.size() != 4)
    return dims.size() == 3;
  std::pair<AffineExpr, AffineExpr> heads(dims[0], dims[1]);
  if (!chain.heads)
    chain.heads = heads;
  return chain.heads == heads;
}

/// True if what is read so may be added here: what is added is multiplied with
/// what multiplies the sum, but a cap of the sum is another function. Kernels
/// take a mask whose broadcast sizes are known to be 1.
bool ScoreWalk::mayAdd(Value mask, AffineMap map, Value scores) const {
  return chain.scale > 0 && chain.scale <= FLT_MAX && chain.softcap == 0 &&
         map.getNumSymbols() == 0 &&
         map == getBroadcastMap(getDims(mask.getType()),
                                getDims(scores.getType()), scores.getContext());
}

/// `capped` is what tanh is applied to; what has been multiplied with so far is
/// the cap.
bool ScoreWalk::takeCap(Value capped) {
  if (chain.softcap != 0 || !(chain.scale > 0 && chain.scale <= FLT_MAX))
    return false;
  chain.softcap = chain.scale;
  return follow(capped);
}

/// A product with a number or a sum with a mask; operand `at` is the scores.
bool ScoreWalk::takeStep(Value scores, const BinaryElementwise &step,
                         unsigned at) {
  Value next = step.operands[at], other = step.operands[1 - at];
  // Scores are the operand that has the shape of the result.
  if (!next || !step.maps[at].isIdentity() ||
      next.getType() != scores.getType())
    return false;
  std::optional<double> constant = step.constants[1 - at];
  if (isa<arith::MulFOp>(step.op) && constant) {
    chain.scale *= *constant;
  } else if (isa<arith::DivFOp>(step.op) && constant && at == 0) {
    chain.scale /= *constant;
  } else if (isa<arith::AddFOp>(step.op) && other &&
             mayAdd(other, step.maps[1 - at], scores)) {
    chain.masks.push_back({other, step.maps[at].getNumDims(), /*hidden=*/0,
                           /*hidesSet=*/false, chain.scale});
  } else if (isa<arith::MaximumFOp, arith::MaxNumFOp>(step.op) && constant &&
             *constant <= -FLT_MAX && std::isfinite(*constant) &&
             chain.scale > 0 && chain.softcap == 0 && chain.masks.empty()) {
    // No score is below it but one that masks, all further down, have made
    // infinite.
    chain.least = std::max(*constant * chain.scale, double(-FLT_MAX));
  } else {
    return false;
  }
  return follow(next);
}

/// `isSeen ? scores : number`, or the other way round, for a number below which
/// f32 has no other scores: as added to them.
bool ScoreWalk::takeHidden(Value scores, GenericOp generic) {
  constexpr double kSwallows = -1e9;
  auto choice = generic.getYielded().getDefiningOp<arith::SelectOp>();
  auto bit =
      choice ? dyn_cast<BlockArgument>(choice.getCondition()) : BlockArgument();
  if (!bit || generic.isReduction() || !generic.getWhole().empty())
    return false;
  for (bool hidesSet : {false, true}) {
    auto kept = dyn_cast<BlockArgument>(hidesSet ? choice.getFalseValue()
                                                 : choice.getTrueValue());
    std::optional<double> hidden = getNumber(
        generic, hidesSet ? choice.getTrueValue() : choice.getFalseValue());
    Value bits = generic.getInputs()[bit.getArgNumber()];
    if (!kept || !hidden || !(*hidden <= kSwallows) ||
        !generic.getMap(kept.getArgNumber()).isIdentity() ||
        !mayAdd(bits, generic.getMap(bit.getArgNumber()), scores))
      continue;
    chain.masks.push_back({bits,
                           cast<RankedTensorType>(scores.getType()).getRank(),
                           *hidden * chain.scale, hidesSet});
    return follow(generic.getInputs()[kept.getArgNumber()]);
  }
  return false;
}

bool ScoreWalk::follow(Value scores) {
  if (!scores.hasOneUse() || left-- == 0 || !noteHeads(scores))
    return false;
  if (auto product = scores.getDefiningOp<MatMulOp>()) {
    chain.product = product;
    return true;
  }
  if (Value other = matchRegrouped(scores))
    return follow(other);
  if (Value capped = matchUnary(scores, "math.tanh"))
    return takeCap(capped);
  std::optional<BinaryElementwise> step = matchBinary(scores);
  if (!step) {
    auto generic = scores.getDefiningOp<GenericOp>();
    return generic && takeHidden(scores, generic);
  }
  // A mask may have the shape of the scores as well.
  ScoreChain before = chain;
  if (takeStep(scores, *step, 0))
    return true;
  chain = std::move(before);
  return takeStep(scores, *step, 1);
}

std::optional<ScoreChain> qcc::followScores(Value scores) {
  ScoreWalk walk;
  if (!walk.follow(scores))
    return std::nullopt;
  return walk.chain;
}
