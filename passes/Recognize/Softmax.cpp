//===- Softmax.cpp - softmax of shifted rows --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Shape.h"

using namespace mlir;
using namespace qcc;

/// True if `top` has the largest of each row of `rows` in a column, which
/// `column` reads.
static bool isLargestOfRows(Value top, Value rows, AffineMap column) {
  if (auto reshape = top.getDefiningOp<ReshapeOp>())
    top = reshape.getInput();
  auto largest = top.getDefiningOp<GenericOp>();
  SmallVector<AffineExpr> dims = getDims(rows.getType());
  size_t rank = dims.size();
  if (!largest || largest.getCombiner() != Combiner::Max ||
      largest.getInputs().size() != 1 || largest.getInputs()[0] != rows ||
      !largest.getMap(0).isIdentity() || largest.getNumParallel() + 1 != rank ||
      largest.getYielded() != largest.getBlock()->getArgument(0) ||
      column.getNumResults() != rank || column.getNumSymbols() != 0)
    return false;
  for (unsigned i = 0; i + 1 < rank; ++i)
    if (column.getResult(i) != getAffineDimExpr(i, rows.getContext()) &&
        getConstantSize(dims[i]) != 1)
      return false;
  return true;
}

namespace {
/// `softmax(x - max(x))`, as some write it against overflow, is `softmax(x)`,
/// which takes the largest off itself.
struct DropShift : OpRewritePattern<SoftmaxOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(SoftmaxOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<BinaryElementwise> shift = matchBinary(op.getInput());
    if (!shift || !isa<arith::SubFOp>(shift->op) || !shift->operands[0] ||
        !shift->operands[1] || !shift->maps[0].isIdentity() ||
        shift->operands[0].getType() != op.getInput().getType() ||
        !isLargestOfRows(shift->operands[1], shift->operands[0],
                         shift->maps[1]))
      return failure();
    rewriter.modifyOpInPlace(
        op, [&] { op.getInputMutable().assign(shift->operands[0]); });
    return success();
  }
};
} // namespace

void qcc::populateSoftmaxPatterns(RewritePatternSet &patterns) {
  patterns.add<DropShift>(patterns.getContext());
}
