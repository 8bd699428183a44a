//===- Calibrate.cpp - qcc calibrate, qcc merge-stats -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Commands.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/Support/Path.h"

using namespace llvm;

namespace qcc::driver {

/// Writes a shard's part of what a compile with the same flags and --shards
/// waits for.
static Error runShard(Session &session, CompileOptions options) {
  if (!session.line.has(OPT_shard))
    return makeError(Diag::Usage, "--checkpoint",
                     "expected --shard=I/N too: the shard whose part is "
                     "written there");
  if (session.line.has(OPT_output))
    return makeError(Diag::Usage, "-o",
                     "expected no file: with --checkpoint, statistics are "
                     "written there");
  options.isShard = true;
  options.stopAfter = Stage::Quantize;
  Expected<CompileResult> result = compileModel(session, std::move(options));
  if (!result)
    return result.takeError();
  for (const std::string &note : result->notes)
    session.sink.warn(note);
  return Error::success();
}

Error runCalibrate(Session &session) {
  const CommandLine &line = session.line;
  Expected<std::string> model = getOnlyPositional(line, "a model");
  if (!model)
    return model.takeError();
  if (!line.has(OPT_calib))
    return makeError(Diag::Usage, "",
                     "expected --calib=DATA; `qcc calibrate --help` shows the "
                     "flags");
  Expected<CompileOptions> options =
      makeCompileOptions(session, *model, session.self);
  if (!options)
    return options.takeError();
  SmallString<128> output(line.get(OPT_output));
  if (output.empty()) {
    // Beside the model, each shard in a file of its own.
    auto [number, count] = line.get(OPT_shard).split('/');
    output = *model;
    sys::path::replace_extension(
        output, line.has(OPT_shard) ? number + "-of-" + count + ".stats"
                                    : Twine("stats"));
  }
  if (Error error = checkResultPath(line, output))
    return error;
  session.sink.setFile(*model);
  if (!options->checkpoint.empty())
    return runShard(session, std::move(*options));
  mlir::DialectRegistry registry = makeRegistry(session);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  session.sink.attach(context);
  options->extensions = &session.extensions;
  CountProgress progress(session.progress, "calibrate");
  std::vector<std::string> warnings;
  Expected<Statistics> statistics = calibrate(
      *options, context,
      [&](size_t done, size_t all) { progress.update(done, all); }, warnings);
  progress.clear();
  for (const std::string &warning : warnings)
    session.sink.warn(warning);
  if (!statistics)
    return statistics.takeError();
  session.sink.setFile("");
  return writeResult(line, output, statistics->write());
}

Error runMergeStats(Session &session) {
  const CommandLine &line = session.line;
  if (line.positionals.empty())
    return makeError(Diag::Usage, "",
                     "expected files of `qcc calibrate --shard`: qcc "
                     "merge-stats FILE... -o FILE");
  Expected<NonFinitePolicy> policy =
      readNonFinitePolicy("--calib-nan", line.get(OPT_calib_nan, "tolerate"));
  if (!policy)
    return policy.takeError();
  // No name of one part is that of the whole; -o - is for pipes.
  if (!line.has(OPT_output))
    return makeError(Diag::Usage, "",
                     "expected -o FILE: where the statistics are written");
  std::vector<Statistics> parts;
  for (const std::string &path : line.positionals) {
    Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
    if (!file) {
      consumeError(file.takeError());
      return makeError(Diag::BadCalibration, path,
                       "expected a file of statistics that can be read, but "
                       "got none; check the path");
    }
    ArrayRef<char> bytes = (*file)->getBytes();
    auto part = Statistics::read(StringRef(bytes.data(), bytes.size()), path);
    if (!part)
      return part.takeError();
    parts.push_back(std::move(*part));
  }
  Expected<Statistics> whole = mergeShards(parts, line.positionals);
  if (!whole)
    return whole.takeError();
  std::vector<std::string> warnings;
  Error error = checkStatistics(*whole, *policy, warnings);
  for (const std::string &warning : warnings)
    session.sink.warn(warning);
  if (error)
    return error;
  return writeResult(line, line.get(OPT_output), whole->write());
}

} // namespace qcc::driver
