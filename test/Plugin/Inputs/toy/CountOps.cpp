//===- CountOps.cpp - a pass of a plugin ------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Toy.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace {
struct CountOps
    : mlir::PassWrapper<CountOps, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CountOps)

  llvm::StringRef getArgument() const override { return "toy-count-ops"; }

  void runOnOperation() override {
    int64_t count = 0;
    getOperation().walk([&](qcc::MatMulOp) { ++count; });
    getOperation()->setAttr(
        "toy.matmuls", mlir::Builder(&getContext()).getI64IntegerAttr(count));
  }
};
} // namespace

std::unique_ptr<mlir::Pass> toy::createCountOps() {
  return std::make_unique<CountOps>();
}
