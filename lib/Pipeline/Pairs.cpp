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
#include "qcc/Scheme/Products.h"

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

/// True if some of the levels that are compiled for multiply bytes in pairs.
static bool havePairs(ArrayRef<Capabilities> levels) {
  return !llvm::all_of(levels,
                       [](const Capabilities &level) { return level.hasVnni; });
}

llvm::Error Compilation::notePairs() {
  if (!havePairs(levels))
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

/// True if the codes that a layer's weight is dequantized from fit in pairs,
/// with a zero point in their middle if they have one.
static llvm::Expected<bool> fitsInPairs(Operation *layer,
                                        const ConstSource &source) {
  auto weight = layer->getOperand(1).getDefiningOp<DequantizeOp>();
  auto type = cast<RankedTensorType>(weight.getInput().getType());
  auto evaluate = [&](Value value) -> llvm::Expected<std::vector<char>> {
    std::vector<char> bytes(value ? getTensorBytes(value.getType()).value_or(0)
                                  : 0);
    if (value)
      if (llvm::Error error = evaluateConstant(value, source, bytes))
        return std::move(error);
    return bytes;
  };
  auto codes = evaluate(weight.getInput()), zeros = evaluate(weight.getZero());
  if (!codes || !zeros)
    return llvm::joinErrors(codes.takeError(), zeros.takeError());
  bool isUnsigned = type.getElementType().isUnsignedInteger();
  auto middle = char(isUnsigned ? 128 : 0);
  if ((isUnsigned && zeros->empty()) ||
      llvm::any_of(*zeros, [&](char zero) { return zero != middle; }))
    return false;
  for (char &code : *codes)
    code = char(code ^ middle);
  auto conv = dyn_cast<ConvOp>(layer);
  SmallVector<int64_t> shape(type.getShape());
  int64_t groups = conv ? int64_t(conv.getGroups()) : 0;
  if (!conv && cast<MatMulOp>(layer).getTransB()) {
    shape.push_back(1); // as a convolution of one tap has its weight
    groups = 1;
  }
  auto bytes = IntegerType::get(layer->getContext(), 8);
  return pairsFit(*codes, RankedTensorType::get(shape, bytes), groups);
}

/// AVX2 widens bytes as it reads them, VNNI multiplies them.
static bool haveWords(ArrayRef<Capabilities> levels) {
  auto is = [&](bool Capabilities::*feature) {
    return llvm::any_of(
        levels, [&](const Capabilities &level) { return level.*feature; });
  };
  return is(&Capabilities::hasAvx512) && !is(&Capabilities::hasVnni);
}

llvm::Error Compilation::noteWords() {
  if (!options.budgets.any() || !haveWords(levels))
    return llvm::Error::success();
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters->getBytes(key); };
  llvm::Error failure = llvm::Error::success();
  module->walk([&](Operation *op) {
    if (!isOfCodes(op) || isDepthwise(op))
      return WalkResult::advance();
    llvm::Expected<bool> fits = fitsInPairs(op, source);
    if (!fits) {
      failure = fits.takeError();
      return WalkResult::interrupt();
    }
    if (!*fits)
      op->setAttr(kWordsAttr, UnitAttr::get(&context));
    return WalkResult::advance();
  });
  return failure;
}
