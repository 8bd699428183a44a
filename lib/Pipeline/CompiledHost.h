//===- CompiledHost.h - the host executor -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_COMPILEDHOST_H
#define QCC_LIB_PIPELINE_COMPILEDHOST_H

#include "Compilation.h"
#include "qcc/Calibration/HostExecutor.h"

namespace qcc {

/// Compiles modules with this compiler for the machine it runs on, in a
/// temporary folder that is gone as soon as the library is loaded.
class CompiledHost : public HostExecutor {
public:
  CompiledHost(const CompileOptions &options, mlir::MLIRContext &context,
               std::shared_ptr<ParameterStore> parameters)
      : options(options), context(context), parameters(std::move(parameters)) {}

  llvm::Expected<std::unique_ptr<HostProgram>>
  compile(mlir::ModuleOp module) override;

private:
  const CompileOptions &options;
  mlir::MLIRContext &context;
  std::shared_ptr<ParameterStore> parameters;
};

} // namespace qcc

#endif // QCC_LIB_PIPELINE_COMPILEDHOST_H
