//===- FloatWeights.cpp - what weights take in f32 --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "mlir/IR/IRMapping.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Scheme/Products.h"
#include "qcc/Target/Target.h"

using namespace mlir;
using namespace qcc;

/// Bytes of the weight of a convolution as its kernel in f32 stores it; none
/// where that takes it as it is.
static std::optional<int64_t> getPackedBytes(ConvOp conv, const Target &target,
                                             ArrayRef<Capabilities> levels) {
  OpBuilder b(conv);
  auto dispatch =
      DispatchOp::create(b, conv.getLoc(), conv->getResultTypes(),
                         ValueRange{conv.getInput(), conv.getWeight()});
  Block *body = b.createBlock(&dispatch.getBody());
  IRMapping mapping;
  for (Value operand : conv->getOperands())
    mapping.map(operand, body->addArgument(operand.getType(), conv.getLoc()));
  Operation *copy = b.clone(*conv, mapping);
  YieldOp::create(b, conv.getLoc(), copy->getResults());
  KernelChoices found = findKernel(target, dispatch, levels);
  dispatch.erase();
  if (!found.emitter || found.schedules.front().packs.empty())
    return std::nullopt;
  const PackRequest &pack = found.schedules.front().packs.front();
  RankedTensorType packed = packedType(conv.getWeight().getType(), pack.layout,
                                       pack.nr, pack.transposed);
  return packed ? std::optional(packed.getNumElements() * 4) : std::nullopt;
}

void Compilation::noteFloatWeights() {
  if (!options.budgets.any())
    return;
  SmallVector<ConvOp> convs;
  module->walk([&](ConvOp conv) {
    if (conv.getInput() != conv.getWeight() &&
        isConstantExpression(conv.getWeight()) &&
        getElementTypeOrSelf(conv.getWeight().getType()).isF32())
      convs.push_back(conv);
  });
  Builder b(&context);
  for (ConvOp conv : convs)
    if (auto bytes = getPackedBytes(conv, *target, levels))
      conv->setAttr(kFloatBytesAttr, b.getI64IntegerAttr(*bytes));
}
