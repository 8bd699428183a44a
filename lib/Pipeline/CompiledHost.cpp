//===- CompiledHost.cpp - the host executor ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CompiledHost.h"
#include "States.h"
#include "qcc/Dialect/QCC/Symbols.h"
#include "qcc/Pipeline/LoadedModel.h"
#include "qcc/Support/Diagnostics.h"

using namespace mlir;
using namespace qcc;

StringRef CompiledHost::getCache() {
  if (!options.cacheDir.empty())
    return options.cacheDir;
  if (!ownCache) {
    auto folder = TemporaryFolder::create();
    if (!folder) {
      llvm::consumeError(folder.takeError());
      return ""; // each module compiles its own
    }
    ownCache = std::move(*folder);
  }
  return ownCache->getPath();
}

llvm::Expected<std::unique_ptr<HostProgram>>
CompiledHost::compile(ModuleOp module) {
  // What is mapped stays when the folder goes, at the end of this function.
  auto folder = TemporaryFolder::create();
  if (!folder)
    return folder.takeError();
  CompileOptions hostOptions;
  hostOptions.model = options.model;
  hostOptions.outputDir = (*folder)->getPath() + "/model";
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
    return result.takeError();
  llvm::Expected<std::unique_ptr<LoadedModel>> program =
      LoadedModel::open(hostOptions.outputDir);
  if (!program)
    return program.takeError();
  return std::move(*program);
}
