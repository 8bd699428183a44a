//===- ReportedSizes.cpp - sizes at which work is counted -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Work depends on sizes that are known when a model runs. A report tells it for
// sizes that are common, and at which the model's operations have something to
// do. They do not depend on calibration data, so that reports of one model in
// several precisions compare.
//
//===----------------------------------------------------------------------===//
#include "ReportedSizes.h"
#include "Compilation.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Dialect/QCC/Symbols.h"

using namespace mlir;
using namespace qcc;

/// Texts are not longer, and neither are seconds of sound.
static constexpr int64_t kMaxSize = 1 << 20;

/// True if what an operation does at some sizes is more than nothing: sizes in
/// the middle of a model that make no sense come out negative.
static bool isWork(AffineMapAttr map, ArrayRef<int64_t> sizes) {
  if (!map)
    return true;
  AffineExpr sum = map.getValue().getResult(0);
  return isa<AffineConstantExpr>(sum) ||
         evaluateSize(sum, sizes).value_or(1) > 0;
}

/// True if that holds for every operation of a planned module.
static bool haveWork(ModuleOp module, ArrayRef<int64_t> sizes) {
  auto found = module.walk([&](host::DispatchOp op) {
    return isWork(op->getAttrOfType<AffineMapAttr>("qcc.flops"), sizes) &&
                   isWork(op->getAttrOfType<AffineMapAttr>("qcc.bytes"), sizes)
               ? WalkResult::advance()
               : WalkResult::interrupt();
  });
  return !found.wasInterrupted();
}

AssumedSizes qcc::assumeSizes(ModuleOp module, ArrayRef<Type> inputs) {
  size_t count = getSymbolNames(module).size();
  AssumedSizes sizes{std::vector<int64_t>(count, kAssumedSize),
                     std::vector<bool>(count)};
  for (Type type : inputs) {
    SmallVector<AffineExpr> dims = getDims(type);
    if (dims.empty())
      continue;
    auto batch = dyn_cast<AffineSymbolExpr>(dims.front());
    if (!batch || batch.getPosition() >= count)
      continue;
    sizes.values[batch.getPosition()] = kAssumedBatch;
    sizes.isBatch[batch.getPosition()] = true;
  }
  return sizes;
}

void qcc::clampSizes(ModuleOp module, std::vector<int64_t> &sizes) {
  for (const auto &[symbol, bounds] : getSymbolBounds(module))
    if (uint64_t(symbol) < sizes.size())
      sizes[symbol] = std::clamp(sizes[symbol], bounds.first, bounds.second);
}

std::vector<int64_t> Compilation::getReportedSizes() {
  SmallVector<Type> inputs;
  for (auto entry : module->getOps<host::EntryOp>())
    for (auto input : entry.getInputs().getAsRange<host::TensorAttr>())
      inputs.push_back(input.getType());
  auto [sizes, isBatch] = assumeSizes(*module, inputs);
  clampSizes(*module, sizes);
  std::vector<int64_t> first = sizes;
  for (int64_t size = kAssumedSize; !haveWork(*module, sizes); size *= 2) {
    if (size == kMaxSize)
      return first; // it is not for their size
    for (auto [isFixed, value] : llvm::zip_equal(isBatch, sizes))
      if (!isFixed)
        value = 2 * size;
    clampSizes(*module, sizes);
  }
  return sizes;
}
