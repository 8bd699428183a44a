//===- RoundTrips.cpp - codes that are not stored ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RoundTrips.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
/// The least and the largest that an integer can be.
struct CodeRange {
  int64_t least, most;
};
} // namespace

/// A whole number that a constant of f32 is.
static std::optional<int64_t> getWhole(Value value) {
  APFloat number(0.0f);
  if (!matchPattern(value, m_ConstantFloat(&number)) ||
      !value.getType().isF32())
    return std::nullopt;
  float whole = number.convertToFloat();
  if (!(std::abs(whole) < 65536.0f) || whole != std::trunc(whole))
    return std::nullopt;
  return int64_t(whole);
}

static std::optional<int64_t> getInteger(Value value) {
  APInt number;
  if (!matchPattern(value, m_ConstantInt(&number)))
    return std::nullopt;
  return number.getSExtValue();
}

/// Of an i32 that is rounded from a float between two bounds, which a NaN
/// becomes one of, plus a constant at will.
static std::optional<CodeRange> getRange(Value value) {
  if (auto sum = value.getDefiningOp<arith::AddIOp>()) {
    std::optional<int64_t> shift = getInteger(sum.getRhs());
    // One addition: no chain of them to walk.
    auto code = sum.getLhs().getDefiningOp<arith::FPToSIOp>();
    std::optional<CodeRange> range =
        shift && code ? getRange(code.getResult()) : std::nullopt;
    if (!range)
      return std::nullopt;
    return CodeRange{range->least + *shift, range->most + *shift};
  }
  auto code = value.getDefiningOp<arith::FPToSIOp>();
  auto rounded =
      code ? code.getIn().getDefiningOp<math::RoundEvenOp>() : nullptr;
  auto below = rounded ? rounded.getOperand().getDefiningOp<arith::MinNumFOp>()
                       : nullptr;
  auto above =
      below ? below.getLhs().getDefiningOp<arith::MaxNumFOp>() : nullptr;
  if (!above)
    return std::nullopt;
  std::optional<int64_t> least = getWhole(above.getRhs()),
                         most = getWhole(below.getRhs());
  if (!least || !most || *least > *most)
    return std::nullopt;
  return CodeRange{*least, *most};
}

/// The i32 that `op` widens again after it was narrowed to a type that holds
/// it, else null.
static Value findSource(Operation *op) {
  if (!isa<arith::ExtSIOp, arith::ExtUIOp>(op) ||
      !op->getResult(0).getType().isInteger(32))
    return {};
  auto narrow = op->getOperand(0).getDefiningOp<arith::TruncIOp>();
  if (!narrow || !narrow.getIn().getType().isInteger(32))
    return {};
  std::optional<CodeRange> range = getRange(narrow.getIn());
  int64_t codes = int64_t(1) << narrow.getType().getIntOrFloatBitWidth();
  CodeRange held = isa<arith::ExtUIOp>(op)
                       ? CodeRange{0, codes - 1}
                       : CodeRange{-codes / 2, codes / 2 - 1};
  bool fits = range && held.least <= range->least && range->most <= held.most;
  return fits ? narrow.getIn() : Value();
}

/// What `op` takes a constant from if that was added to it just before.
static Value findSummand(Operation *op) {
  auto difference = dyn_cast<arith::SubIOp>(op);
  auto sum =
      difference ? difference.getLhs().getDefiningOp<arith::AddIOp>() : nullptr;
  if (!sum)
    return {};
  std::optional<int64_t> added = getInteger(sum.getRhs()),
                         taken = getInteger(difference.getRhs());
  return added && added == taken ? sum.getLhs() : Value();
}

void qcc::dropRoundTrips(GenericOp generic) {
  for (Operation &op : llvm::make_early_inc_range(*generic.getBlock())) {
    Value same = findSource(&op);
    if (!same)
      same = findSummand(&op);
    if (!same)
      continue;
    op.getResult(0).replaceAllUsesWith(same);
    op.erase();
  }
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(*generic.getBlock())))
    if (isOpTriviallyDead(&op))
      op.erase();
}
