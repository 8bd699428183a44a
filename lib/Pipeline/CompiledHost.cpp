//===- CompiledHost.cpp - the host executor ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CompiledHost.h"
#include "States.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Pipeline/LoadedModel.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace qcc;

StringRef CompiledHost::getCache() {
  if (!options.cacheDir.empty())
    return options.cacheDir;
  if (ownCache.empty() &&
      llvm::sys::fs::createUniqueDirectory("qcc-kernels", ownCache))
    ownCache.clear(); // each module compiles its own
  return ownCache;
}

CompiledHost::~CompiledHost() {
  if (!ownCache.empty())
    llvm::sys::fs::remove_directories(ownCache);
}

llvm::Expected<std::unique_ptr<HostProgram>>
CompiledHost::compile(ModuleOp module) {
  llvm::SmallString<128> folder;
  if (std::error_code error =
          llvm::sys::fs::createUniqueDirectory("qcc-host", folder))
    return makeError(Diag::CannotWrite, folder, error.message());
  CompileOptions hostOptions;
  hostOptions.model = options.model;
  hostOptions.outputDir = (folder + "/model").str();
  hostOptions.jobs = options.jobs;
  hostOptions.cacheDir = getCache().str();
  hostOptions.workerProgram = options.workerProgram;
  hostOptions.extensions = options.extensions;
  Compilation compilation(hostOptions, context, [](Stage, bool, StringRef) {});
  // Samples have sizes of their own: copies for others are not made.
  OwningOpRef<ModuleOp> copy = module.clone();
  (*copy)->removeAttr(kSizesAttr);
  // Each sample is a run of its own, with the states that it names.
  turnStatesIntoInputs(*copy);
  auto result = compilation.runFrom(std::move(copy), parameters);
  if (!result)
    llvm::sys::fs::remove_directories(folder);
  if (!result)
    return result.takeError();
  llvm::Expected<std::unique_ptr<LoadedModel>> program =
      LoadedModel::open(hostOptions.outputDir);
  // What is mapped stays; nothing is left behind whatever happens next.
  llvm::sys::fs::remove_directories(folder);
  if (!program)
    return program.takeError();
  return std::move(*program);
}
