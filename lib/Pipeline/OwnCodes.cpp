//===- OwnCodes.cpp - scales and zero points that models have ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights in codes stay in them with scales as exact as the model's. Those of
// models that were in half precision once are halves, though stored as f32, and
// zero points may all say what signed codes mean without any: that is seen by
// looking, and takes less room and time.
//
//===----------------------------------------------------------------------===//
#include "Compilation.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Products.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;

/// True if all floats are halves that scales can be.
static bool areHalves(ArrayRef<char> bytes) {
  constexpr float kLimit = 65504; // the schemes' own
  for (size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
    float scale;
    std::memcpy(&scale, bytes.data() + at, sizeof(float));
    if (!(std::fabs(scale) < kLimit) || roundToHalf(scale) != scale)
      return false;
  }
  return true;
}

llvm::Error Compilation::noteOwnCodes() {
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters->getBytes(key); };
  llvm::Error failure = llvm::Error::success();
  auto evaluate = [&](Value table) {
    std::vector<char> bytes(getTensorBytes(table.getType()).value_or(0));
    failure = evaluateConstant(table, source, bytes);
    return bytes;
  };
  auto haveHalves = [&](Value scales) {
    return cast<RankedTensorType>(scales.getType()).getElementType().isF32() &&
           areHalves(evaluate(scales)) && !failure;
  };
  module->walk([&](GenericOp op) {
    std::optional<NormalFloats> table = findNormalFloats(op.getResult());
    if (table && isConstantExpression(op.getResult()) &&
        haveHalves(table->scales))
      op->setAttr(kHalfScalesAttr, UnitAttr::get(&context));
    return failure ? WalkResult::interrupt() : WalkResult::advance();
  });
  if (failure)
    return failure;
  module->walk([&](DequantizeOp op) {
    auto codes =
        dyn_cast<IntegerType>(op.getInput().getType().getElementType());
    if (!codes || codes.getWidth() > 8 || op.getBlock() == 0 ||
        !isConstantExpression(op.getResult()))
      return WalkResult::advance();
    if (haveHalves(op.getScale()))
      op->setAttr(kHalfScalesAttr, UnitAttr::get(&context));
    if (failure || !op.getZero() ||
        op.getZero().getType().getElementType() != codes)
      return failure ? WalkResult::interrupt() : WalkResult::advance();
    auto middle = char(codes.isUnsigned() ? 1 << (codes.getWidth() - 1) : 0);
    std::vector<char> zeros = evaluate(op.getZero());
    if (!failure &&
        llvm::all_of(zeros, [&](char zero) { return zero == middle; }))
      op->setAttr(kMiddleZerosAttr, UnitAttr::get(&context));
    return failure ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure;
}
