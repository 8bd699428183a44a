//===- StaticInt8.cpp - int8 with scales from calibration -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "StaticQuantizer.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Pass/Pass.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {
#define GEN_PASS_DECL_STATICINT8
#define GEN_PASS_DEF_STATICINT8
#include "qcc/passes/StaticInt8.h.inc"
} // namespace qcc

using namespace mlir;
using namespace qcc;

namespace {

struct StaticInt8Pass : qcc::impl::StaticInt8Base<StaticInt8Pass> {
  using StaticInt8Base::StaticInt8Base;

  void runOnOperation() override {
    StaticInt8Settings settings;
    llvm::append_range(settings.keep, keep);
    settings.scheme = scheme;
    settings.target = target;
    settings.formats = formats;
    settings.minCosine = minCosine;
    settings.budgets = {maxSize, maxDrop, maxLatency};
    settings.dynamic = dynamic;
    settings.pairsFit = pairsFit;
    settings.correctBias = correctBias;
    settings.rowScales = rowScales;
    settings.onlyAttentions = onlyAttentions;
    if (failed(StaticQuantizer(getOperation(), std::move(settings)).run()))
      signalPassFailure();
  }
};

} // namespace
