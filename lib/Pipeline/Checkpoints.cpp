//===- Checkpoints.cpp - work that outlives a compile -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Compilation.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/Version.h"
#include "llvm/ADT/StringExtras.h"
#include <dlfcn.h>

using namespace mlir;
using namespace qcc;

/// The statistics of the float model.
static constexpr StringRef kStatistics = "statistics";

/// The file that holds this code: another compiler may choose other weights,
/// whatever its version says.
static std::string getOwnLibrary() {
  Dl_info info = {};
  return dladdr(reinterpret_cast<void *>(&getOwnLibrary), &info) &&
                 info.dli_fname
             ? info.dli_fname
             : "/proc/self/exe";
}

llvm::Expected<CheckpointFolder::Origin> Compilation::getOrigin() {
  CheckpointFolder::Origin origin = {{"qcc", QCC_VERSION_STRING}};
  std::vector<SourceFile> files = getSources();
  files.insert(files.begin(), {"compiler", getOwnLibrary()});
  for (const std::string &plugin : options.plugins)
    files.push_back({"plugin", plugin});
  for (const SourceFile &file : files) {
    llvm::Expected<std::string> hash = hashFile(file.path);
    if (!hash)
      return hash.takeError();
    origin.emplace_back(file.name, std::move(*hash));
  }
  auto native = getTargets(&context).find("native");
  if (!native)
    return native.takeError();
  // What runs on samples is compiled for the machine.
  for (const Capabilities &level : native->second)
    origin.emplace_back("machine", level.level);
  Recipe recipe = getRecipe();
  // These say what becomes of weights, not which are chosen.
  recipe.requireFused = false;
  recipe.embedWeights = std::nullopt;
  std::string text = writeRecipe(recipe);
  for (StringRef line : llvm::split(text, '\n'))
    if (!line.empty())
      origin.emplace_back("recipe", line.str());
  return std::move(origin);
}

llvm::Error Compilation::openCheckpoints(size_t samples) {
  if (options.checkpoint.empty() || rounds)
    return llvm::Error::success();
  auto origin = getOrigin();
  if (!origin)
    return origin.takeError();
  auto folder = CheckpointFolder::open(
      options.checkpoint, *origin,
      [&](const std::string &text) { result.notes.push_back(text); });
  if (!folder)
    return folder.takeError();
  checkpoints = std::move(*folder);
  auto role = options.isShard  ? Rounds::Role::Shard
              : options.shards ? Rounds::Role::Collector
                               : Rounds::Role::Alone;
  Shard shard = options.shard;
  if (role == Rounds::Role::Collector)
    shard.count = options.shards;
  rounds = std::make_unique<Rounds>(*checkpoints, role, shard, samples);
  return llvm::Error::success();
}

llvm::Expected<Statistics> Compilation::gatherInRounds(
    llvm::function_ref<llvm::Expected<Statistics>()> gather) {
  auto read = [&](const CheckpointRecord &record) {
    return Statistics::read(record.getText(kStatistics).value_or(""),
                            options.checkpoint);
  };
  auto write = [](const Statistics &statistics) {
    CheckpointRecord record;
    record.setText(kStatistics, statistics.write());
    return record;
  };
  if (auto record = checkpoints->read(kStatistics))
    return read(*record);
  if (rounds->getRole() == Rounds::Role::Shard)
    return rounds->contribute(kStatistics,
                              [&]() -> llvm::Expected<CheckpointRecord> {
                                llvm::Expected<Statistics> part = gather();
                                if (!part)
                                  return part.takeError();
                                return write(*part);
                              });
  llvm::Expected<Statistics> whole = Statistics();
  if (rounds->getRole() == Rounds::Role::Collector) {
    std::vector<Statistics> parts;
    std::vector<std::string> names;
    auto take = [&](unsigned i, const CheckpointRecord &record) -> llvm::Error {
      llvm::Expected<Statistics> part = read(record);
      if (!part)
        return part.takeError();
      parts.push_back(std::move(*part));
      names.push_back("shard " + std::to_string(i + 1));
      return llvm::Error::success();
    };
    if (llvm::Error error = rounds->collect(kStatistics, take))
      return std::move(error);
    // One shard of one is no shard.
    whole = parts.size() == 1 ? std::move(parts[0]) : mergeShards(parts, names);
  } else {
    whole = gather();
  }
  if (!whole)
    return whole;
  if (llvm::Error error = checkpoints->write(kStatistics, write(*whole)))
    return std::move(error);
  return whole;
}
