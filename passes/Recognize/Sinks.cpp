//===- Sinks.cpp - attention with a score for nothing -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "Scores.h"
#include "qcc/Dialect/QCC/Decompose.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

/// The copy that `[B, H, S, 1]` is if rows and batches have the same; else
/// null.
static GenericOp getHeadCopy(Value column) {
  auto copy = column.getDefiningOp<GenericOp>();
  if (!copy || !copy.isCopy() || copy.getInputs().size() != 1 ||
      !copy.getWhole().empty())
    return {};
  AffineMap map = copy.getMap(0);
  // Of the last dimension there is one index.
  bool isPerHead = map.getNumSymbols() == 0 && !map.isFunctionOfDim(0) &&
                   !map.isFunctionOfDim(2);
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
  auto joined = softmax.getInput().getDefiningOp<ConcatOp>();
  if (!joined || !joined->hasOneUse() || joined.getAxis() != 3 ||
      joined.getInputs().size() != 2)
    return std::nullopt;
  Value scores = joined.getInputs()[0], column = joined.getInputs()[1];
  // All scores but the last one stay.
  SmallVector<AffineExpr> dims = getDims(column.getType());
  if (getDims(weights.getType()) != getDims(scores.getType()) ||
      dims.size() != 4 || getConstantSize(dims[3]) != 1 || !getHeadCopy(column))
    return std::nullopt;
  return SinkedScores{softmax, scores, column};
}
