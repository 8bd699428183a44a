//===- Recognize.cpp - named operations from their parts --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Patterns.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "qcc/Dialect/QCC/Shape.h"

namespace qcc {
#define GEN_PASS_DEF_RECOGNIZE
#include "qcc/passes/Recognize.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

std::optional<double> qcc::getSplat(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense =
      constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
  if (!dense || !dense.isSplat() || !isa<FloatType>(dense.getElementType()))
    return std::nullopt;
  APFloat splat = dense.getSplatValue<APFloat>();
  bool lost = false;
  splat.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
  return splat.convertToDouble();
}

std::optional<double> qcc::getNumber(GenericOp generic, Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    return getSplat(generic.getInputs()[argument.getArgNumber()]);
  auto constant = value.getDefiningOp<arith::ConstantOp>();
  auto number =
      constant ? dyn_cast<FloatAttr>(constant.getValue()) : FloatAttr();
  return number ? std::optional(number.getValueAsDouble()) : std::nullopt;
}

/// The only operation of an elementwise body; null if there are more.
static Operation *getOnlyOp(GenericOp generic) {
  if (!generic || generic.isReduction() || !generic.getWhole().empty())
    return nullptr;
  Operation *only = nullptr;
  for (Operation &op : generic.getBlock()->without_terminator()) {
    if (isa<arith::ConstantOp>(op))
      continue;
    if (only)
      return nullptr;
    only = &op;
  }
  if (!only || only->getNumResults() != 1 ||
      generic.getYielded() != only->getResult(0))
    return nullptr;
  return only;
}

std::optional<BinaryElementwise> qcc::matchBinary(Value value) {
  auto generic = value.getDefiningOp<GenericOp>();
  Operation *op = getOnlyOp(generic);
  if (!op || op->getNumOperands() != 2)
    return std::nullopt;
  BinaryElementwise result{op, {}, {}, {}};
  for (unsigned i = 0; i < 2; ++i) {
    Value operand = op->getOperand(i);
    result.constants[i] = getNumber(generic, operand);
    if (result.constants[i])
      continue;
    auto arg = dyn_cast<BlockArgument>(operand);
    if (!arg)
      return std::nullopt;
    result.operands[i] = generic.getInputs()[arg.getArgNumber()];
    result.maps[i] = generic.getMap(arg.getArgNumber());
  }
  return result;
}

Value qcc::matchUnary(Value value, StringRef opName) {
  auto generic = value.getDefiningOp<GenericOp>();
  Operation *op = getOnlyOp(generic);
  if (!op || op->getName().getStringRef() != opName ||
      op->getNumOperands() != 1 || generic.getInputs().size() != 1 ||
      !generic.getMap(0).isIdentity())
    return {};
  return generic.getInputs()[0];
}

namespace {
struct RecognizePass : qcc::impl::RecognizeBase<RecognizePass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateAttentionPatterns(patterns);
    populateAttentionOperandPatterns(patterns);
    populateSoftmaxPatterns(patterns);
    populateNormPatterns(patterns);
    populateChannelScalePatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
