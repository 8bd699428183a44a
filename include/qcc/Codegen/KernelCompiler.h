//===- KernelCompiler.h - kernels to objects, in parallel -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each kernel is a module of its own. Modules are compiled by worker processes
// (`qcc --worker`), so that an abort in LLVM is a diagnostic and not the end of
// the compiler, and kept in a cache that is addressed by content. The bytes do
// not depend on the number of workers, nor on what the cache holds.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CODEGEN_KERNELCOMPILER_H
#define QCC_CODEGEN_KERNELCOMPILER_H

#include "qcc/Codegen/KernelBuilder.h"
#include "llvm/Support/Error.h"

namespace qcc {

/// A module to be compiled.
struct KernelJob {
  std::string name; ///< for messages: the node or the kernel
  std::string code; ///< what `serializeKernel` returns
  Capabilities caps;
};

struct KernelCompilerOptions {
  unsigned jobs = 0;         ///< workers at most; 0: one per core
  std::string cacheDir;      ///< "": no cache
  std::string workerProgram; ///< answers `--worker`; "": this process compiles
};

/// What a kernel's function is called until nameKernel(): one name for all, so
/// that equal kernels are equal bytes, whatever their place in a model.
inline constexpr llvm::StringLiteral kKernelSymbol = "qcc_kernel";

/// A kernel's module (what an emitter built, before any lowering) as bytes;
/// drops locations, which would tell equal kernels of two layers apart.
std::string serializeKernel(mlir::ModuleOp module);

/// The object of a kernel with `symbol` in place of kKernelSymbol, also at the
/// beginning of other names. Errors: what is not an object.
llvm::Expected<std::string> nameKernel(llvm::StringRef object,
                                       llvm::StringRef symbol);

/// Compiles all jobs, equal ones once; `done` is told after each how many are
/// finished. The objects are in the order of the jobs. Errors: Internal with
/// the job's name and what the worker said, or that it crashed; the first in
/// order of the jobs.
llvm::Expected<std::vector<std::string>>
compileKernels(llvm::ArrayRef<KernelJob> jobs,
               const KernelCompilerOptions &options,
               llvm::function_ref<void(size_t done)> done = nullptr);

/// Compiles one job in this process. Errors: Internal.
llvm::Expected<std::string> compileKernel(const KernelJob &job);

/// What `qcc --worker` does: answers jobs on descriptor 0 until it is closed.
/// Returns the exit code.
int runKernelWorker();

} // namespace qcc

#endif // QCC_CODEGEN_KERNELCOMPILER_H
