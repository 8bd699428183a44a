//===- AttentionOperands.cpp - attention reads what there is ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Exporters of scaled_dot_product_attention multiply queries and keys by the
// root of the scale each, and repeat keys and values for the queries' heads
// that share them. Both are passes over all that a cache has, for what
// qcc.attention does while it reads.
//
//===----------------------------------------------------------------------===//
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "qcc/Dialect/QCC/Shape.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
/// What an operand `[B, H, S, D]` is made of.
struct Source {
  Value value;      ///< of as many heads, or of some that are each repeated
  double scale = 1; ///< the operand is that many times it
};

/// Follows an operand back through products with numbers, reshapes of all but
/// the last two dimensions and transposes of these two.
class OperandWalk {
public:
  explicit OperandWalk(Value operand)
      : operand(operand), dims(getDims(operand.getType())), best{operand} {}

  Source follow();

private:
  bool step(Value &value);
  Value matchRepeated(Value value) const;

  Value operand;
  SmallVector<AffineExpr> dims;
  Source best;
  double scale = 1;
  bool isSwapped = false;
};
} // namespace

/// True for a copy that swaps the last two dimensions and does nothing else.
static bool swapsLast(GenericOp copy) {
  if (!copy.isCopy() || copy.getInputs().size() != 1 ||
      !copy.getWhole().empty())
    return false;
  SmallVector<AffineExpr> from = getDims(copy.getInputs()[0].getType()),
                          to = getDims(copy.getResult().getType());
  size_t rank = to.size();
  if (rank < 2 || from.size() != rank)
    return false;
  auto order = llvm::to_vector(llvm::seq<unsigned>(0, unsigned(rank)));
  std::swap(order[rank - 1], order[rank - 2]);
  std::swap(from[rank - 1], from[rank - 2]);
  return from == to && copy.getMap(0) == AffineMap::getPermutationMap(
                                             order, copy.getContext());
}

/// One step back; false if there is none.
bool OperandWalk::step(Value &value) {
  if (auto reshape = value.getDefiningOp<ReshapeOp>()) {
    SmallVector<AffineExpr> to = getDims(value.getType()),
                            from = getDims(reshape.getInput().getType());
    if (to.size() < 3 || from.size() < 3 ||
        ArrayRef(to).take_back(2) != ArrayRef(from).take_back(2))
      return false;
    value = reshape.getInput();
    return true;
  }
  auto generic = value.getDefiningOp<GenericOp>();
  if (generic && swapsLast(generic)) {
    isSwapped = !isSwapped;
    value = generic.getInputs()[0];
    return true;
  }
  std::optional<BinaryElementwise> product = matchBinary(value);
  if (!product || !isa<arith::MulFOp>(product->op))
    return false;
  for (unsigned at : {0u, 1u})
    if (Value scaled = product->operands[at];
        scaled && product->constants[1 - at] &&
        product->maps[at].isIdentity() && scaled.getType() == value.getType()) {
      scale *= *product->constants[1 - at];
      value = scaled;
      return true;
    }
  return false;
}

/// `[B, G, S, D]` of a copy of `[B, G, 1, S, D]` that has R of each head, where
/// the operand has G * R; null if `value` is something else.
Value OperandWalk::matchRepeated(Value value) const {
  auto copy = value.getDefiningOp<GenericOp>();
  if (!copy || isSwapped || !copy.isCopy() || copy.getInputs().size() != 1 ||
      !copy.getWhole().empty() || copy.getNumParallel() != 5)
    return {};
  auto split = copy.getInputs()[0].getDefiningOp<ReshapeOp>();
  if (!split)
    return {};
  SmallVector<AffineExpr> all = getDims(copy.getResult().getType()),
                          one = getDims(split.getResult().getType());
  if (one.size() != 5 || getConstantSize(one[2]) != 1)
    return {};
  // All dimensions but the repeated one stay.
  for (unsigned i : {0u, 1u, 3u, 4u}) {
    bool isRead = copy.getMap(0).getResult(i) ==
                      getAffineDimExpr(i, value.getContext()) ||
                  getConstantSize(all[i]) == 1;
    if (!isRead || one[i] != all[i])
      return {};
  }
  bool isOurs = all[0] == dims[0] && all[3] == dims[2] && all[4] == dims[3] &&
                simplifySize(all[1] * all[2]) == dims[1];
  one.erase(one.begin() + 2);
  return isOurs && getDims(split.getInput().getType()) == one ? split.getInput()
                                                              : Value();
}

Source OperandWalk::follow() {
  constexpr unsigned kMaxSteps = 16;
  Value value = operand;
  for (unsigned i = 0; i < kMaxSteps && step(value); ++i)
    if (!isSwapped && getDims(value.getType()) == dims)
      best = {value, scale};
  if (Value shared = matchRepeated(value))
    best = {shared, scale};
  return best;
}

namespace {
struct SimplifyOperands : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AttentionOp op,
                                PatternRewriter &rewriter) const override {
    Source query = OperandWalk(op.getQuery()).follow(),
           key = OperandWalk(op.getKey()).follow(),
           value = OperandWalk(op.getValue()).follow();
    auto countHeads = [](Value tensor) { return getDims(tensor.getType())[1]; };
    AffineExpr heads = countHeads(op.getQuery());
    // Keys and values have equal heads; queries have all.
    if (countHeads(query.value) != heads)
      query = {op.getQuery()};
    if (countHeads(key.value) != countHeads(value.value) || value.scale != 1) {
      value = {op.getValue()};
      if (countHeads(key.value) != countHeads(op.getKey()))
        key = {op.getKey()};
    }
    double scale = op.getScale().convertToDouble() * query.scale * key.scale;
    bool isScale = std::isnormal(static_cast<float>(scale));
    bool isSame = query.value == op.getQuery() && key.value == op.getKey() &&
                  value.value == op.getValue();
    if (isSame || !isScale)
      return failure();
    rewriter.modifyOpInPlace(op, [&] {
      op.getQueryMutable().assign(query.value);
      op.getKeyMutable().assign(key.value);
      op.getValueMutable().assign(value.value);
      op.setScaleAttr(rewriter.getF32FloatAttr(static_cast<float>(scale)));
    });
    return success();
  }
};
} // namespace

void qcc::populateAttentionOperandPatterns(RewritePatternSet &patterns) {
  patterns.add<SimplifyOperands>(patterns.getContext());
}
