//===- Plugin.cpp - what extends the compiler -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Plugin/Plugin.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassManager.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/DynamicLibrary.h"
#include "llvm/Support/FileSystem.h"

using namespace llvm;

namespace qcc {

void Extensions::buildPipeline(Stage stage,
                               mlir::OpPassManager &pipeline) const {
  for (const auto &[where, factory] : passes)
    if (where == stage)
      pipeline.addPass(factory());
}

void Extensions::registerDialects(mlir::DialectRegistry &registry) const {
  for (const DialectHook &hook : dialects)
    hook(registry);
}

Error Extensions::load(const std::string &path) {
  // A name without a folder would be looked for where the system has libraries.
  SmallString<128> absolute(path);
  if (sys::fs::exists(path))
    (void)sys::fs::make_absolute(absolute);
  std::string problem;
  auto library =
      sys::DynamicLibrary::getPermanentLibrary(absolute.c_str(), &problem);
  if (!library.isValid())
    return makeError(Diag::BadPlugin, path, "cannot be loaded: " + problem);
  void *symbol = library.getAddressOfSymbol("qccGetPluginInfo");
  if (!symbol)
    return makeError(Diag::BadPlugin, path,
                     "expected the function qccGetPluginInfo, but the library "
                     "has none");
  PluginInfo info = reinterpret_cast<decltype(&qccGetPluginInfo)>(symbol)();
  if (info.api != kPluginApi)
    return makeError(Diag::BadPlugin, path,
                     "expected version " + Twine(kPluginApi) +
                         " of the plugin interface, but got version " +
                         Twine(info.api));
  if (StringRef(info.version) != QCC_VERSION_STRING)
    return makeError(Diag::BadPlugin, path,
                     "expected a plugin for qcc " QCC_VERSION_STRING
                     ", but got one for qcc " +
                         Twine(info.version));
  info.extend(*this);
  return Error::success();
}

} // namespace qcc
