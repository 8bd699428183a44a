//===- Emulation.h - AVX-512 kernels on lesser machines ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_NUMERICS_EMULATION_H
#define QCC_TEST_NUMERICS_EMULATION_H

#include "mlir/IR/BuiltinOps.h"
#include "qcc/Target/Target.h"

namespace qcc::test {

/// True if this CPU lacks what kernels of these capabilities use.
bool needsEmulation(const Capabilities &caps);

/// Makes an emitted kernel (before its lowering) one for AVX2: intrinsics of
/// AVX-512 become the arithmetic that Intel's manual defines them by, and LLVM
/// splits what is left of 512 bits; AMX tiles become memory. Tiling, packing,
/// edges and order of sums are still those of the level, so that all levels are
/// tested on any machine; what stays untested is LLVM's choice of instructions.
/// Fails on an intrinsic that it does not know.
mlir::LogicalResult emulateOnAvx2(mlir::ModuleOp module, Capabilities &caps);

} // namespace qcc::test

#endif // QCC_TEST_NUMERICS_EMULATION_H
