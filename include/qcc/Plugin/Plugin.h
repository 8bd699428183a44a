//===- Plugin.h - what extends the compiler ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A plugin is a shared library that links libQCC and defines one C function:
//
//   extern "C" qcc::PluginInfo qccGetPluginInfo() {
//     return {qcc::kPluginApi, QCC_VERSION_STRING, "name",
//             [](qcc::Extensions &extensions) { ... }};
//   }
//
// It is loaded by `--load-plugin=LIB`. The interface is C++: a plugin works
// with the version of qcc that it was built with, and is refused by others.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PLUGIN_PLUGIN_H
#define QCC_PLUGIN_PLUGIN_H

#include "mlir/Pass/Pass.h"
#include "qcc/Pipeline/Stage.h"
#include "qcc/Support/Version.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mlir {
class DialectRegistry;
class OpPassManager;
} // namespace mlir

namespace qcc {

/// Version of PluginInfo itself: what is read before anything else.
inline constexpr uint32_t kPluginApi = 1;

/// A plugin that was loaded.
struct LoadedPlugin {
  std::string name; ///< that it gives itself, or its file's
  std::string hash; ///< "sha256:..." of its file
};

/// What plugins bring to a compile; no global state. Schemes and dialects are
/// registered in each context, passes run at a stage.
class Extensions {
public:
  using PassFactory = std::function<std::unique_ptr<mlir::Pass>()>;
  using DialectHook = std::function<void(mlir::DialectRegistry &)>;

  /// Runs a pass on the module after the passes of a stage from Import to
  /// Plan, and before the stage's invariant is checked. Passes of one stage run
  /// in the order in which they were added. A plugin that names a later stage
  /// is refused: there is no module of qcc's operations any more. So is one
  /// that gives null, here, as a pass or as a hook of dialects.
  void addPass(Stage stage, PassFactory factory) {
    passes.emplace_back(stage, std::move(factory));
  }
  /// Adds the passes for a stage to a pipeline.
  void buildPipeline(Stage stage, mlir::OpPassManager &pipeline) const;
  bool hasPasses(Stage stage) const;

  /// Registers the passes with MLIR, for programs that run them by name: each
  /// by its argument, and those of a stage, in order, as the pipeline
  /// `plugin-STAGE`. Errors: BadPlugin: a name is taken.
  llvm::Error registerPasses() const;

  /// Registers dialects, interfaces of them, schemes or targets in each
  /// context, for example `addDialects(qcc::registerScheme<MyScheme>)`.
  void addDialects(DialectHook hook) { dialects.push_back(std::move(hook)); }
  void registerDialects(mlir::DialectRegistry &registry) const;

  /// Loads a plugin, lets it register and checks its schemes (checkScheme) in a
  /// context with the dialects of `base` and of the plugins before it. The
  /// library stays loaded: what it registered refers to it. Errors: BadPlugin.
  llvm::Error load(const std::string &path, const mlir::DialectRegistry &base);

  /// Those that were loaded, in order.
  llvm::ArrayRef<LoadedPlugin> getPlugins() const { return plugins; }

private:
  llvm::Error check(const mlir::DialectRegistry &base, size_t firstPass,
                    size_t firstHook) const;

  std::vector<std::pair<Stage, PassFactory>> passes;
  std::vector<DialectHook> dialects;
  std::vector<LoadedPlugin> plugins;
};

/// What qccGetPluginInfo returns.
struct PluginInfo {
  uint32_t api;        ///< kPluginApi
  const char *version; ///< QCC_VERSION_STRING
  const char *name;    ///< for messages and recipes
  void (*extend)(Extensions &extensions);
};

} // namespace qcc

extern "C" qcc::PluginInfo qccGetPluginInfo();

#endif // QCC_PLUGIN_PLUGIN_H
