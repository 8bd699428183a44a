//===- Sources.cpp - what went into an artifact -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "qcc/Plugin/Plugin.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace qcc;
using llvm::StringRef;

/// Adds a file, or the files of a folder in the order of their names.
static void addSources(StringRef path, std::vector<SourceFile> &sources) {
  if (path.empty())
    return;
  StringRef name = llvm::sys::path::filename(path);
  if (!llvm::sys::fs::is_directory(path)) {
    sources.push_back({name.str(), path.str()});
    return;
  }
  std::vector<std::string> files;
  std::error_code error;
  for (llvm::sys::fs::recursive_directory_iterator it(path, error), end;
       !error && it != end; it.increment(error))
    if (llvm::sys::fs::is_regular_file(it->path()))
      files.push_back(it->path());
  llvm::sort(files);
  for (const std::string &file : files)
    sources.push_back({name.str() + file.substr(path.size()), file});
}

std::vector<SourceFile> Compilation::getModelFiles() {
  std::vector<SourceFile> sources;
  addSources(options.model, sources);
  llvm::StringSet<> external;
  for (const Parameter &parameter : *parameters) {
    const std::shared_ptr<const MappedFile> &file = parameter.file;
    if (file && file->getPath() != options.model &&
        external.insert(file->getPath()).second)
      sources.push_back({llvm::sys::path::filename(file->getPath()).str(),
                         file->getPath().str(), file});
  }
  return sources;
}

llvm::Expected<std::string> Compilation::hashModel() {
  std::vector<SourceFile> files = getModelFiles();
  if (files.size() == 1)
    return hashFile(options.model);
  std::string all;
  for (const SourceFile &file : files) {
    llvm::Expected<std::string> hash = hashFile(file.path);
    if (!hash)
      return hash.takeError();
    all += file.name + " " + *hash + "\n";
  }
  return hashBytes(all);
}

std::vector<SourceFile> Compilation::getSources() {
  std::vector<SourceFile> sources = getModelFiles();
  addSources(options.calibration, sources);
  addSources(options.statistics, sources);
  // There is none where nothing could be timed.
  if (llvm::sys::fs::exists(options.tuning))
    addSources(options.tuning, sources);
  return sources;
}

llvm::Expected<std::string> Compilation::hashTuning() {
  // As getSources.
  if (!llvm::sys::fs::exists(options.tuning))
    return std::string();
  return hashFile(options.tuning);
}

Recipe Compilation::getRecipe() {
  Recipe recipe;
  recipe.target = options.target;
  recipe.precision = options.precision;
  recipe.algorithms = options.algorithms;
  recipe.sequential = options.sequential;
  recipe.dims = options.dims;
  recipe.states = options.states;
  recipe.dropOutputs = options.dropOutputs;
  recipe.keep = options.keep;
  recipe.minCosine = options.minCosine;
  recipe.correctBias = options.correctBias;
  recipe.requireFused = options.requireFused;
  recipe.embedWeights = options.embedWeights;
  recipe.rangeMethod =
      describeRangeMethod(options.rangeMethod, options.rangeParameter);
  recipe.nonFinite = getPolicyName(options.nonFinite);
  recipe.budgets = options.budgets;
  recipe.sensitivity = options.sensitivity;
  if (options.extensions)
    for (const LoadedPlugin &plugin : options.extensions->getPlugins())
      recipe.plugins.push_back({plugin.name, plugin.hash});
  // What this machine is decides the bytes; another one must get the same.
  if (recipe.target == "native")
    recipe.target = llvm::join(
        llvm::map_range(levels,
                        [](const Capabilities &level) { return level.level; }),
        "+");
  return recipe;
}

llvm::Error Compilation::checkFused() {
  llvm::Error errors = llvm::Error::success();
  if (!options.requireFused)
    return errors;
  for (const OpReport &op : getOpReports())
    if (StringRef(op.reason).starts_with("not supported"))
      errors = llvm::joinErrors(
          std::move(errors),
          makeError(Diag::NotFused, "node '" + op.node + "'",
                    "expected '" + op.op + "' to run in " + op.requested +
                        ", but got " + op.executed + " (" + op.reason + ")"));
  return errors;
}
