//===- KernelModules.cpp - a kernel's code as a module ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "KernelModules.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

OwningOpRef<ModuleOp> qcc::buildKernelModule(KernelOp kernel,
                                             const Target &target,
                                             const Capabilities &level,
                                             StringRef symbol) {
  StringRef name = kernel.getSchedule().getAs<StringAttr>("kernel").getValue();
  for (const auto &emitter : target.getEmitters()) {
    if (emitter->getName() != name)
      continue;
    OwningOpRef<ModuleOp> module = ModuleOp::create(kernel.getLoc());
    KernelBuilder builder(*module, symbol, kernel, level);
    if (failed(emitter->emit(builder)))
      return {};
    builder.finish();
    return module;
  }
  emitCoded(kernel.getLoc(), Diag::Internal)
      << "target '" << target.getName() << "' has no emitter '" << name << "'";
  return {};
}
