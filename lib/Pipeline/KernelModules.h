//===- KernelModules.h - a kernel's code as a module ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_KERNELMODULES_H
#define QCC_LIB_PIPELINE_KERNELMODULES_H

#include "mlir/IR/OwningOpRef.h"
#include "qcc/Target/Target.h"

namespace qcc {

/// The module with the function `symbol` of a scheduled kernel at a level,
/// built by the emitter that its schedule names. Null after a diagnostic.
mlir::OwningOpRef<mlir::ModuleOp> buildKernelModule(KernelOp kernel,
                                                    const Target &target,
                                                    const Capabilities &level,
                                                    llvm::StringRef symbol);

} // namespace qcc

#endif // QCC_LIB_PIPELINE_KERNELMODULES_H
