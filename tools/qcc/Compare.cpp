//===- Compare.cpp - qcc compare --------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiles a model for two targets, runs both on the same inputs with qcc-run,
// and lets it compare what they computed, value by value in the order in which
// the program computes them: the first one that differs is where to look.
//
//===----------------------------------------------------------------------===//
#include "Commands.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace qcc::driver {

/// Runs qcc-run, which lies beside this program, and returns its exit status.
static Expected<int> runRunner(const Session &session,
                               ArrayRef<std::string> words) {
  SmallString<128> runner(sys::path::parent_path(session.self));
  sys::path::append(runner, "qcc-run");
  SmallVector<StringRef> argv = {runner};
  append_range(argv, words);
  std::string problem;
  int status =
      sys::ExecuteAndWait(runner, argv, std::nullopt, {}, 0, 0, &problem);
  if (status < 0)
    return makeError(Diag::Internal, runner, problem);
  return status;
}

Error runCompare(Session &session) {
  const CommandLine &line = session.line;
  Expected<std::string> model = getOnlyPositional(line, "a model");
  if (!model)
    return model.takeError();
  if (!line.has(OPT_inputs))
    return makeError(Diag::Usage, "",
                     "expected --inputs=NPZ; `qcc compare --help` shows the "
                     "flags");
  Expected<CompileOptions> options =
      makeCompileOptions(line, *model, session.self);
  if (!options)
    return options.takeError();
  session.sink.setFile(*model);

  SmallString<128> folder;
  if (std::error_code error =
          sys::fs::createUniqueDirectory("qcc-compare", folder))
    return makeError(Diag::CannotWrite, "a temporary folder", error.message());
  scope_exit removeFolder([&] {
    std::error_code ignored = sys::fs::remove_directories(folder);
    (void)ignored;
  });
  std::string reference = (folder + "/reference").str();
  std::string candidate = (folder + "/candidate").str();

  CompileOptions base = *options;
  base.target = line.get(OPT_reference, "reference").str();
  base.precision = "f32";
  base.outputDir = reference;
  options->outputDir = candidate;
  for (const CompileOptions &each : {base, *options}) {
    Expected<CompileResult> result = compileModel(session, each);
    if (!result)
      return result.takeError();
  }

  std::string inputs = ("--inputs=" + line.get(OPT_inputs)).str();
  std::string values = (folder + "/values.npz").str();
  std::string other = (folder + "/other.npz").str();
  std::vector<std::string> common = {inputs, "--dump=.*", "-q"};
  std::vector<std::string> words = {reference, "--dump-to=" + values,
                                    "--outputs=" + other};
  append_range(words, common);
  Expected<int> status = runRunner(session, words);
  if (!status)
    return status.takeError();
  if (*status == 0) {
    words = {candidate,
             "--dump-to=" + other,
             "--expect-values=" + values,
             "--rtol=0",
             "--atol=0",
             ("--rel-max=" + line.get(OPT_rtol, "1e-4")).str()};
    append_range(words, common);
    if (line.has(OPT_json))
      words.push_back("--json");
    status = runRunner(session, words);
  }
  if (!status)
    return status.takeError();
  if (*status == 0)
    return Error::success();
  Diag id = *status == 6 ? Diag::AccuracyMissed : Diag::BadCalibration;
  return makeError(id, "",
                   *status == 6
                       ? "the targets differ by more than allowed"
                       : "qcc-run ended with status " + Twine(*status));
}

} // namespace qcc::driver
