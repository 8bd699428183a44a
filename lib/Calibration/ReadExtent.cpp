//===- ReadExtent.cpp - the part of a dimension that is read ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/ReadExtent.h"

using namespace mlir;
using namespace qcc;

std::optional<ReadExtent> qcc::getReadExtent(GenericOp op, AffineExpr expr) {
  ReadExtent extent;
  if (auto sum = dyn_cast<AffineBinaryOpExpr>(expr);
      sum && sum.getKind() == AffineExprKind::Add)
    if (auto shift = dyn_cast<AffineConstantExpr>(sum.getRHS())) {
      extent.start = shift.getValue();
      expr = sum.getLHS();
    }
  if (auto constant = dyn_cast<AffineConstantExpr>(expr)) {
    extent.start += constant.getValue();
    return extent;
  }
  if (auto product = dyn_cast<AffineBinaryOpExpr>(expr);
      product && product.getKind() == AffineExprKind::Mul)
    if (auto stride = dyn_cast<AffineConstantExpr>(product.getRHS());
        stride && stride.getValue() > 0) {
      extent.stride = stride.getValue();
      expr = product.getLHS();
    }
  auto dim = dyn_cast<AffineDimExpr>(expr);
  auto result = cast<RankedTensorType>(op.getResult().getType());
  // The loops of a reduction are more than the dimensions of its result.
  if (!dim || dim.getPosition() >= unsigned(result.getRank()) ||
      result.isDynamicDim(dim.getPosition()))
    return std::nullopt;
  extent.dim = dim.getPosition();
  extent.size = result.getDimSize(dim.getPosition());
  return extent;
}

std::optional<ReadExtent> qcc::getReadExtent(OpOperand &use, int64_t dim) {
  auto op = dyn_cast<GenericOp>(use.getOwner());
  if (!op || use.getOperandNumber() >= op.getInputs().size())
    return std::nullopt;
  AffineMap map = op.getMap(use.getOperandNumber());
  return getReadExtent(op, map.getResult(unsigned(dim)));
}
