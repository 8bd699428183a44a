//===- ZeroPoints.cpp - weights whose zero points fit in codes --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Codes less their zero points may fit signed bytes, as those of 7 bits do:
// that is seen by looking, and saves the sums of the inputs.
//
//===----------------------------------------------------------------------===//
#include "Compilation.h"
#include "qcc/Dialect/QCC/ConstEval.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

using namespace mlir;
using namespace qcc;

namespace {
/// Codes with zero points, one for all or one per index of `axis`.
struct Points {
  Value codes, zero;
  int64_t axis;

  RankedTensorType type() const {
    return cast<RankedTensorType>(codes.getType());
  }
  bool isUnsigned() const {
    return type().getElementType().isUnsignedInteger();
  }
};
} // namespace

/// The constant weight of bytes that an operation has or dequantizes, if it has
/// a zero point.
static std::optional<Points> getPoints(Operation *op) {
  Points points;
  if (auto conv = dyn_cast<IntConvOp>(op))
    points = {conv.getWeight(), conv.getWeightZero(), 0};
  else if (auto matmul = dyn_cast<IntMatMulOp>(op))
    points = {matmul.getRhs(), matmul.getRhsZero(), 1};
  else if (auto source = dyn_cast<DequantizeOp>(op);
           source && source.getBlock() == 0)
    points = {source.getInput(), source.getZero(), int64_t(source.getAxis())};
  if (!points.zero)
    return std::nullopt;
  RankedTensorType type = points.type(),
                   zero = cast<RankedTensorType>(points.zero.getType());
  if (!type.hasStaticShape() || !zero.hasStaticShape() || type.getRank() < 2 ||
      points.axis < 0 || points.axis >= type.getRank() ||
      type.getElementType() != zero.getElementType() ||
      !(type.getElementType().isSignlessInteger(8) ||
        type.getElementType().isUnsignedInteger(8)) ||
      (zero.getNumElements() != 1 &&
       zero.getNumElements() != type.getDimSize(points.axis)) ||
      (isa<IntMatMulOp>(op) && type.getRank() != 2) ||
      !isConstantExpression(points.codes) || !isConstantExpression(points.zero))
    return std::nullopt;
  return points;
}

/// True if all codes less their zero points fit signed bytes.
static bool fits(const Points &points, ArrayRef<char> codes,
                 ArrayRef<char> zeros) {
  bool isUnsigned = points.isUnsigned();
  auto read = [&](char byte) {
    return isUnsigned ? int(uint8_t(byte)) : int(int8_t(byte));
  };
  size_t stride = 1;
  for (int64_t size : points.type().getShape().drop_front(points.axis + 1))
    stride *= size_t(size);
  for (size_t i = 0; i < codes.size(); ++i) {
    int code = read(codes[i]) - read(zeros[i / stride % zeros.size()]);
    if (code < -128 || code > 127)
      return false;
  }
  return true;
}

llvm::Error Compilation::noteZeroPoints() {
  ConstSource source;
  source.parameter = [&](StringRef key) { return parameters->getBytes(key); };
  llvm::Error failure = llvm::Error::success();
  module->walk([&](Operation *op) {
    std::optional<Points> points = getPoints(op);
    if (!points)
      return WalkResult::advance();
    std::optional<uint64_t> codeBytes = getTensorBytes(points->type()),
                            zeroBytes = getTensorBytes(points->zero.getType());
    if (!codeBytes || !zeroBytes || !*codeBytes)
      return WalkResult::advance();
    std::vector<char> codes(*codeBytes), zeros(*zeroBytes);
    failure = evaluateConstant(points->zero, source, zeros);
    // The middle of codes needs no look at them.
    auto center = char(points->isUnsigned() ? 128 : 0);
    if (!failure &&
        llvm::all_of(zeros, [&](char zero) { return zero == center; }))
      return WalkResult::advance();
    if (!failure)
      failure = evaluateConstant(points->codes, source, codes);
    if (!failure && fits(*points, codes, zeros))
      op->setAttr(kZerosFitAttr, UnitAttr::get(&context));
    return failure ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure;
}
