//===- CompiledHost.h - the host executor -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_COMPILEDHOST_H
#define QCC_LIB_PIPELINE_COMPILEDHOST_H

#include "Compilation.h"
#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Support/TemporaryFolder.h"

namespace qcc {

/// Compiles modules with this compiler for the machine it runs on, in a
/// temporary folder that is gone as soon as the library is loaded. Kernels that
/// modules share are compiled once, also without a kernel cache.
class CompiledHost : public HostExecutor {
public:
  CompiledHost(const CompileOptions &options, mlir::MLIRContext &context,
               std::shared_ptr<ParameterStore> parameters)
      : options(options), context(context), parameters(std::move(parameters)) {}

  llvm::Expected<std::unique_ptr<HostProgram>>
  compile(mlir::ModuleOp module) override;

private:
  /// The kernel cache asked for, or one for as long as this object lives.
  llvm::StringRef getCache();

  const CompileOptions &options;
  mlir::MLIRContext &context;
  std::shared_ptr<ParameterStore> parameters;
  std::unique_ptr<TemporaryFolder> ownCache;
};

} // namespace qcc

#endif // QCC_LIB_PIPELINE_COMPILEDHOST_H
