//===- Pairs.cpp - which codes of a model fit in pairs ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Codes that this compiler chooses fit in pairs where the target asks for it.
// Those that a model brings fit if it was quantized for such machines too, with
// 7 bits, or if it was written here: that is seen by looking.
//
//===----------------------------------------------------------------------===//
#include "Compilation.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

using namespace mlir;
using namespace qcc;

/// The groups of an operation whose weight may be packed in pairs, 0 for a
/// product of matrices; none if it is none.
static std::optional<int64_t> getGroups(Operation *op) {
  auto conv = dyn_cast<IntConvOp>(op);
  auto matmul = dyn_cast<IntMatMulOp>(op);
  if ((!conv && !matmul) || (conv && conv.getWeightZero()) ||
      (matmul && matmul.getRhsZero()) || op->hasAttr(kPairsFitAttr))
    return std::nullopt;
  return conv ? int64_t(conv.getGroups()) : 0;
}

/// True if a constant's codes are the model's own: none that are rounded while
/// the artifact is written, which fit or not as whoever chose them has noted.
static bool isOfModel(Value codes) {
  SmallVector<Operation *> left = {codes.getDefiningOp()};
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!left.empty()) {
    Operation *op = left.pop_back_val();
    if (!seen.insert(op).second)
      continue;
    if (isa<QuantizeOp>(op))
      return false;
    for (Value operand : op->getOperands())
      left.push_back(operand.getDefiningOp());
  }
  return true;
}

llvm::Error Compilation::notePairs() {
  if (llvm::all_of(levels,
                   [](const Capabilities &level) { return level.hasVnni; }))
    return llvm::Error::success();
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters->getBytes(key); };
  llvm::Error failure = llvm::Error::success();
  module->walk([&](Operation *op) {
    std::optional<int64_t> groups = getGroups(op);
    if (!groups)
      return WalkResult::advance();
    Value weight = op->getOperand(1);
    auto type = cast<RankedTensorType>(weight.getType());
    std::optional<uint64_t> bytes = getTensorBytes(type);
    // Depthwise kernels add no pairs.
    bool isDepthwise = *groups > 1 && type.getDimSize(1) == 1;
    if (!bytes || !type.getElementType().isSignlessInteger(8) ||
        !isConstantExpression(weight) || isDepthwise || !isOfModel(weight))
      return WalkResult::advance();
    std::vector<char> codes(*bytes);
    failure = evaluateConstant(weight, source, codes);
    if (!failure && pairsFit(codes, type, *groups))
      op->setAttr(kPairsFitAttr, UnitAttr::get(&context));
    return failure ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure;
}
