//===- Plugin.cpp - what extends the compiler -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Plugin/Plugin.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "qcc/Scheme/SchemeCheck.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/LibraryFile.h"
#include "llvm/BinaryFormat/Magic.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <dlfcn.h>
#include <set>

using namespace llvm;

namespace qcc {

void Extensions::buildPipeline(Stage stage,
                               mlir::OpPassManager &pipeline) const {
  for (const auto &[where, factory] : passes)
    if (where == stage)
      pipeline.addPass(factory());
}

bool Extensions::hasPasses(Stage stage) const {
  return any_of(passes, [&](const auto &pass) { return pass.first == stage; });
}

/// The name of an argument is one pass's.
static Error checkName(StringRef name, mlir::TypeID id,
                       StringMap<mlir::TypeID> &known) {
  auto [found, isNew] = known.try_emplace(name, id);
  // MLIR would end the process.
  if (isNew ? !mlir::PassInfo::lookup(name) : found->second == id)
    return Error::success();
  return makeError(Diag::BadPlugin, "pass '" + name + "'",
                   "expected an argument of its own, but another pass has it; "
                   "change what getArgument() returns");
}

Error Extensions::registerPasses() const {
  StringMap<mlir::TypeID> known;
  std::set<Stage> stages;
  for (const auto &[stage, factory] : passes) {
    std::unique_ptr<mlir::Pass> pass = factory();
    if (!pass->getArgument().empty()) {
      if (Error error =
              checkName(pass->getArgument(), pass->getTypeID(), known))
        return error;
      mlir::registerPass(factory);
    }
    if (!stages.insert(stage).second)
      continue;
    std::string name = ("plugin-" + getStageName(stage)).str();
    mlir::PassPipelineRegistration<>(
        name, ("passes of plugins at stage " + getStageName(stage)).str(),
        [this, stage](mlir::OpPassManager &pipeline) {
          buildPipeline(stage, pipeline);
        });
  }
  return Error::success();
}

void Extensions::registerDialects(mlir::DialectRegistry &registry) const {
  for (const DialectHook &hook : dialects)
    hook(registry);
}

//===----------------------------------------------------------------------===//
// Loading
//===----------------------------------------------------------------------===//

/// What the system's loader would say of no library in words of its own; "" if
/// it may be one.
static std::string describeFile(const std::string &path) {
  if (path.empty())
    return "expected the file of a plugin, but the name is empty";
  sys::fs::file_status status;
  (void)sys::fs::status(path, status);
  if (!sys::fs::exists(status))
    // A name alone may be one where the system has libraries.
    return sys::path::has_parent_path(path)
               ? "cannot be loaded: no such file; check the name"
               : "";
  if (sys::fs::is_directory(status))
    return "cannot be loaded: expected a shared library, but got a folder; "
           "name the file in it";
  // To read a pipe would wait for somebody to write.
  if (!sys::fs::is_regular_file(status))
    return "cannot be loaded: expected a shared library, but got no regular "
           "file; name what qcc_add_plugin built";
  file_magic kind;
  std::error_code error = identify_magic(path, kind);
  if (error)
    return "cannot be loaded: " + error.message() + "; check its permissions";
  if (kind != file_magic::elf_shared_object)
    return "cannot be loaded: expected a shared library, but the file is none; "
           "name what qcc_add_plugin built";
  // The system's loader would end the process with SIGBUS.
  if (std::string fault = findLibraryFault(path); !fault.empty())
    return "cannot be loaded: " + fault + "; build it again";
  return "";
}

/// The library's handle. It is never closed.
static Expected<void *> openLibrary(const std::string &path) {
  if (std::string problem = describeFile(path); !problem.empty())
    return makeError(Diag::BadPlugin, path.empty() ? "--load-plugin" : path,
                     problem);
  // A name without a folder would be looked for where the system has libraries.
  SmallString<128> absolute(path);
  if (sys::fs::exists(path))
    (void)sys::fs::make_absolute(absolute);
  // All symbols now: one that is missing would end the process when it is
  // called.
  if (void *library = dlopen(absolute.c_str(), RTLD_NOW | RTLD_GLOBAL))
    return library;
  const char *reason = dlerror();
  StringRef text = reason ? reason : "unknown reason";
  text.consume_front(absolute);
  text.consume_front(": ");
  return makeError(Diag::BadPlugin, path,
                   "cannot be loaded: " + text +
                       "; build the plugin with the headers of this qcc and "
                       "link what it uses");
}

static Error checkInfo(const PluginInfo &info, const std::string &path) {
  const char *again = "; build the plugin again with the headers of this qcc";
  if (info.api != kPluginApi)
    return makeError(Diag::BadPlugin, path,
                     "expected version " + Twine(kPluginApi) +
                         " of the plugin interface, but got version " +
                         Twine(info.api) + again);
  StringRef version = info.version ? info.version : "";
  if (version != QCC_VERSION_STRING)
    return makeError(
        Diag::BadPlugin, path,
        "expected a plugin for qcc " QCC_VERSION_STRING ", but got one for " +
            (info.version ? "qcc " + version : "no version") + again);
  if (!info.extend)
    return makeError(Diag::BadPlugin, path,
                     "expected a function `extend` in what qccGetPluginInfo "
                     "returns, but got null");
  return Error::success();
}

/// What recipes note of a plugin; `symbol` is in its library.
static Expected<LoadedPlugin> describePlugin(const PluginInfo &info,
                                             const void *symbol,
                                             const std::string &path) {
  // A name without a folder may have been found where the system has libraries.
  Dl_info where = {};
  std::string file =
      dladdr(symbol, &where) && where.dli_fname ? where.dli_fname : path;
  Expected<std::string> hash = hashFile(file);
  if (!hash)
    return makeError(Diag::BadPlugin, path,
                     "its file cannot be read: " + toString(hash.takeError()));
  std::string name =
      info.name && *info.name ? info.name : sys::path::stem(path).str();
  return LoadedPlugin{std::move(name), std::move(*hash)};
}

Error Extensions::check(const mlir::DialectRegistry &base, size_t firstPass,
                        size_t firstHook) const {
  for (const auto &[stage, factory] : ArrayRef(passes).drop_front(firstPass)) {
    if (stage > Stage::Plan)
      return makeError(Diag::BadPlugin, "",
                       "expected a pass at a stage from import to plan, but "
                       "got " +
                           getStageName(stage));
    if (!factory)
      return makeError(Diag::BadPlugin, "",
                       "expected a function that makes a pass at stage " +
                           getStageName(stage) +
                           ", but got null; see what is given to addPass");
    if (!factory())
      return makeError(Diag::BadPlugin, "",
                       "expected a pass at stage " + getStageName(stage) +
                           ", but its factory returned null; see what is given "
                           "to addPass");
  }
  if (!all_of(ArrayRef(dialects).drop_front(firstHook),
              [](const DialectHook &hook) { return bool(hook); }))
    return makeError(Diag::BadPlugin, "",
                     "expected a function that registers dialects, but got "
                     "null; see what is given to addDialects");
  mlir::DialectRegistry before, added;
  base.appendTo(before);
  for (auto [i, hook] : enumerate(dialects))
    hook(i < firstHook ? before : added);
  mlir::MLIRContext context(before, mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  const SchemeRegistry &schemes = getSchemes(&context);
  size_t known = schemes.all().size();
  context.appendDialectRegistry(added);
  context.loadAllAvailableDialects();
  if (!schemes.getRefused().empty())
    return makeError(Diag::BadPlugin, "", schemes.getRefused().front());
  for (const Scheme *scheme : schemes.all().drop_front(known))
    if (Error error = checkScheme(*scheme, context))
      return error;
  return Error::success();
}

Error Extensions::load(const std::string &path,
                       const mlir::DialectRegistry &base) {
  Expected<void *> library = openLibrary(path);
  if (!library)
    return library.takeError();
  void *symbol = dlsym(*library, "qccGetPluginInfo");
  if (!symbol)
    return makeError(Diag::BadPlugin, path,
                     "expected the function qccGetPluginInfo, but the library "
                     "has none");
  PluginInfo info = reinterpret_cast<decltype(&qccGetPluginInfo)>(symbol)();
  if (Error error = checkInfo(info, path))
    return error;
  Expected<LoadedPlugin> plugin = describePlugin(info, symbol, path);
  if (!plugin)
    return plugin.takeError();
  plugins.push_back(std::move(*plugin));
  size_t firstPass = passes.size(), firstHook = dialects.size();
  info.extend(*this);
  return handleErrors(
      check(base, firstPass, firstHook), [&](const CodedError &error) {
        std::string where = error.getWhere().str();
        return makeError(error.getDiag(), path,
                         where + (where.empty() ? "" : ": ") + error.getText());
      });
}

} // namespace qcc
