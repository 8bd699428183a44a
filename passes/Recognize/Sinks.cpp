//===- Sinks.cpp - attention with a score for nothing -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "Scores.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

/// What a softmax reads, before its rows' largest scores are taken off: that
/// changes nothing. Null where others read what is between.
static Value skipShift(Value value) {
  std::optional<BinaryElementwise> step = matchBinary(value);
  if (!step || !isa<arith::SubFOp>(step->op) || !step->operands[0] ||
      !step->operands[1] || !step->maps[0].isIdentity())
    return value;
  Value scores = step->operands[0], top = step->operands[1];
  if (auto reshape = top.getDefiningOp<ReshapeOp>())
    top = reshape.getInput();
  auto largest = top.getDefiningOp<GenericOp>();
  unsigned rank = cast<RankedTensorType>(scores.getType()).getRank();
  bool isLargest =
      largest && largest.getCombiner() == Combiner::Max &&
      largest.getInputs().size() == 1 && largest.getInputs()[0] == scores &&
      largest.getMap(0).isIdentity() && largest.getNumParallel() == rank - 1 &&
      largest.getYielded() == largest.getBlock()->getArgument(0);
  // Each row's own, in a column.
  AffineMap column = step->maps[1];
  bool isOwn = column.getNumResults() == rank;
  for (unsigned i = 0; isOwn && i + 1 < rank; ++i)
    isOwn = column.getResult(i) == getAffineDimExpr(i, value.getContext()) ||
            getConstantSize(getDims(scores.getType())[i]) == 1;
  if (!isLargest || !isOwn || !value.hasOneUse())
    return value;
  Operation *shift = value.getDefiningOp();
  bool isOnlyShifted = llvm::all_of(scores.getUsers(), [&](Operation *user) {
    return user == largest || user == shift;
  });
  return isOnlyShifted ? scores : Value();
}

/// The copy that `[B, H, S, 1]` is if rows and batches have the same; else
/// null.
static GenericOp getHeadCopy(Value column) {
  auto copy = column.getDefiningOp<GenericOp>();
  if (!copy || !copy.isCopy() || copy.getInputs().size() != 1 ||
      !copy.getWhole().empty())
    return {};
  AffineMap map = copy.getMap(0);
  // Of the last dimension there is one index.
  bool isPerHead = !map.isFunctionOfDim(0) && !map.isFunctionOfDim(2);
  return isPerHead ? copy : GenericOp();
}

Value qcc::makeSink(const SinkedScores &scores, PatternRewriter &rewriter) {
  GenericOp copy = getHeadCopy(scores.column);
  AffineExpr zero = rewriter.getAffineConstantExpr(0),
             head = rewriter.getAffineDimExpr(0),
             heads = getDims(scores.column.getType())[1];
  AffineMap own =
      copy.getMap(0).replaceDimsAndSymbols({zero, head, zero, zero}, {}, 1, 0);
  return createGeneric(
      rewriter, scores.column.getLoc(),
      makeTensorType(heads, rewriter.getF32Type()), Combiner::None,
      copy.getInputs(), own, {}, {},
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
}

std::optional<SinkedScores> qcc::matchSink(Value weights) {
  auto slice = weights.getDefiningOp<GenericOp>();
  if (!slice || !weights.hasOneUse() || !slice.isCopy() ||
      slice.getInputs().size() != 1 || !slice.getWhole().empty() ||
      !slice.getMap(0).isIdentity())
    return std::nullopt;
  auto softmax = slice.getInputs()[0].getDefiningOp<SoftmaxOp>();
  if (!softmax || !softmax->hasOneUse() || softmax.getLog())
    return std::nullopt;
  Value input = skipShift(softmax.getInput());
  auto joined = input ? input.getDefiningOp<ConcatOp>() : ConcatOp();
  if (!joined || joined.getAxis() != 3 || joined.getInputs().size() != 2 ||
      (input == softmax.getInput() && !joined->hasOneUse()))
    return std::nullopt;
  Value scores = joined.getInputs()[0], column = joined.getInputs()[1];
  // All scores but the last one stay.
  SmallVector<AffineExpr> dims = getDims(column.getType());
  if (getDims(weights.getType()) != getDims(scores.getType()) ||
      dims.size() != 4 || getConstantSize(dims[3]) != 1 || !getHeadCopy(column))
    return std::nullopt;
  return SinkedScores{softmax, scores, column};
}
