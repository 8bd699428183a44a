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

/// What the host module says about the artifact besides the program itself.
struct HostOptions {
  std::string modelName, producer;
  std::array<uint8_t, 32> sourceSha256{};
  WeightsDesc weights;
  /// The weights' bytes when they are embedded, else empty.
  llvm::ArrayRef<char> embeddedWeights;
  /// Names of the levels and the features each needs, lowest first.
  std::vector<std::pair<std::string, uint64_t>> levels;
};

/// Name of the function of kernel `kernel` at a level.
std::string getKernelSymbol(llvm::StringRef kernel, llvm::StringRef level);

/// Builds the module (llvm dialect) of the host program: the blob, the tables
/// of kernels and entries, a function per entry. `planned` is a module after
/// Plan. Fails with a diagnostic only on an internal fault.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
buildHostModule(mlir::ModuleOp planned, const HostOptions &options);

} // namespace qcc

#endif // QCC_CODEGEN_HOSTEMITTER_H
