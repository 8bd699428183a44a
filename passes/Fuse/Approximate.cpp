//===- Approximate.cpp - floats that are rounded to codes -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Approximate.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace qcc;

/// The float that the 8-bit codes `value` are rounded from, half to even, with
/// limits and a zero point at will; else null.
static Value findRounded(Value value) {
  if (!value.getType().isInteger(8))
    return {};
  while (Operation *op = value.getDefiningOp()) {
    if (auto rounded = dyn_cast<math::RoundEvenOp>(op))
      return rounded.getOperand();
    if (!isa<arith::TruncIOp, arith::AddIOp, arith::FPToSIOp, arith::FPToUIOp,
             arith::MaxSIOp, arith::MinSIOp>(op))
      return {};
    value = op->getOperand(0);
  }
  return {};
}

/// A constant that is an ordinary number.
static std::optional<APFloat> getNumber(Value value) {
  APFloat number(0.0f);
  if (!matchPattern(value, m_ConstantFloat(&number)) || !number.isNormal())
    return std::nullopt;
  return number;
}

/// The operand of `op` that is not a constant, and the constant.
static std::optional<std::pair<Value, APFloat>> splitProduct(Operation *op) {
  if (!isa_and_nonnull<arith::MulFOp>(op))
    return std::nullopt;
  for (unsigned i : {0, 1})
    if (std::optional<APFloat> number = getNumber(op->getOperand(i)))
      return std::pair(op->getOperand(1 - i), *number);
  return std::nullopt;
}

namespace {
/// Rewrites of one operation, each of which returns what replaces it, or null.
class Approximation {
public:
  explicit Approximation(Operation *op) : b(op), op(op) {}

  Value run() {
    if (auto quotient = dyn_cast<arith::DivFOp>(op))
      return multiplyByReciprocal(quotient);
    if (auto product = dyn_cast<arith::MulFOp>(op)) {
      if (Value joined = joinConstants())
        return joined;
      return addProduct(product);
    }
    return {};
  }

private:
  Value constant(const APFloat &value) {
    return arith::ConstantOp::create(
        b, op->getLoc(), b.getFloatAttr(op->getResult(0).getType(), value));
  }

  Value multiply(Value lhs, Value rhs) {
    return arith::MulFOp::create(b, op->getLoc(), lhs, rhs);
  }

  /// x / c = x * (1 / c)
  Value multiplyByReciprocal(arith::DivFOp quotient) {
    std::optional<APFloat> divisor = getNumber(quotient.getRhs());
    if (!divisor)
      return {};
    APFloat reciprocal(divisor->getSemantics(), 1);
    reciprocal.divide(*divisor, APFloat::rmNearestTiesToEven);
    return reciprocal.isNormal()
               ? multiply(quotient.getLhs(), constant(reciprocal))
               : Value();
  }

  /// (x * c) * d = x * (c * d), and fma(x, y, x) * d = fma(x * d, y, x * d).
  Value joinConstants() {
    auto outer = splitProduct(op);
    if (!outer)
      return {};
    auto sum = outer->first.getDefiningOp<math::FmaOp>();
    if (sum && sum->hasOneUse() && sum.getA() == sum.getC()) {
      Value scaled = multiply(sum.getA(), constant(outer->second));
      return math::FmaOp::create(b, op->getLoc(), scaled, sum.getB(), scaled);
    }
    auto inner = splitProduct(outer->first.getDefiningOp());
    if (!inner)
      return {};
    APFloat both = inner->second;
    both.multiply(outer->second, APFloat::rmNearestTiesToEven);
    return both.isNormal() ? multiply(inner->first, constant(both)) : Value();
  }

  /// x * (y + 1) = fma(x, y, x)
  Value addProduct(arith::MulFOp product) {
    for (unsigned i : {0, 1}) {
      auto sum = product->getOperand(i).getDefiningOp<arith::AddFOp>();
      if (!sum || !sum->hasOneUse())
        continue;
      Value x = product->getOperand(1 - i);
      for (unsigned j : {0, 1}) {
        std::optional<APFloat> one = getNumber(sum->getOperand(j));
        if (one && one->isExactlyValue(1.0))
          return math::FmaOp::create(b, op->getLoc(), x, sum->getOperand(1 - j),
                                     x);
      }
    }
    return {};
  }

  OpBuilder b;
  Operation *op;
};
} // namespace

/// Operations of f32 that lead to `rounded`, in order. Regions in bodies are
/// left as they are.
static SmallVector<Operation *> getFloatOps(Block &body, Value rounded) {
  SmallVector<Value> open = {rounded};
  llvm::SmallPtrSet<Operation *, 16> found;
  while (!open.empty()) {
    Operation *op = open.pop_back_val().getDefiningOp();
    if (!op || op->getBlock() != &body || op->getNumRegions() ||
        !op->getResult(0).getType().isF32() || !found.insert(op).second)
      continue;
    llvm::append_range(open, op->getOperands());
  }
  SmallVector<Operation *> ordered;
  for (Operation &op : body)
    if (found.contains(&op))
      ordered.push_back(&op);
  return ordered;
}

void qcc::approximateRounded(GenericOp generic) {
  // A model's own integers may lie in the middle of two codes by intent.
  bool hasSums = llvm::any_of(generic.getInputs(), [](Value input) {
    return isa_and_nonnull<IntMatMulOp, IntConvOp>(input.getDefiningOp());
  });
  if (!hasSums || generic.isReduction())
    return;
  Block &body = *generic.getBlock();
  // What one rewrite makes another may join: each makes a chain shorter.
  bool changed = true;
  while (changed) {
    changed = false;
    Value rounded = findRounded(generic.getYielded());
    for (Operation *op :
         rounded ? getFloatOps(body, rounded) : SmallVector<Operation *>()) {
      if (auto erf = dyn_cast<math::ErfOp>(op))
        erf.setFastmath(erf.getFastmath() | arith::FastMathFlags::afn);
      Value replacement = Approximation(op).run();
      if (!replacement)
        continue;
      op->getResult(0).replaceAllUsesWith(replacement);
      op->erase();
      changed = true;
    }
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body)))
    if (isOpTriviallyDead(&op))
      op.erase();
}
