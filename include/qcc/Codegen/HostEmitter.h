//===- HostEmitter.h - the native host program ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CODEGEN_HOSTEMITTER_H
#define QCC_CODEGEN_HOSTEMITTER_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "qcc/Runtime/ProgramWriter.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace qcc {

/// A feature level of the artifact: its name and the features it needs, bits
/// 1 << qcc_cpu_feature.
struct ProgramLevel {
  std::string name;
  uint64_t features;
};

/// DLPack's code and bits of an element type as it lies in memory.
std::pair<uint8_t, uint8_t> getDLType(mlir::Type elementType);

/// Name of the function of kernel `kernel` at a level.
std::string getKernelSymbol(llvm::StringRef kernel, llvm::StringRef level);

/// Builds the module (llvm dialect) of the host program: a function per entry
/// and the tables of kernels and entries. `planned` is a module after Plan;
/// levels go from the least to the most demanding.
mlir::OwningOpRef<mlir::ModuleOp>
buildHostModule(mlir::ModuleOp planned, llvm::ArrayRef<ProgramLevel> levels);

/// Adds everything of a planned module to the description of the program:
/// levels, symbols, kernels, states, entries, and a site for each operation of
/// each entry, in the order in which the host module numbers them.
void describeProgram(mlir::ModuleOp planned,
                     llvm::ArrayRef<ProgramLevel> levels,
                     ProgramWriter &writer);

} // namespace qcc

#endif // QCC_CODEGEN_HOSTEMITTER_H
