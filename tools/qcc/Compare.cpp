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
#include "qcc/Support/TemporaryFolder.h"
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
  StringRef allowed = line.get(OPT_rtol, "1e-4");
  if (double value; allowed.getAsDouble(value) || !(value >= 0))
    return makeError(Diag::Usage, "--rtol",
                     "expected a number from 0 on, but got '" + allowed + "'");
  Expected<CompileOptions> options =
      makeCompileOptions(session, *model, session.self);
  if (!options)
    return options.takeError();
  session.sink.setFile(*model);

  auto folder = TemporaryFolder::create();
  if (!folder)
    return folder.takeError();
  std::string reference = (*folder)->getPath() + "/reference";
  std::string candidate = (*folder)->getPath() + "/candidate";

  CompileOptions base = *options;
  base.target = line.get(OPT_reference, "reference").str();
  base.precision = "f32";
  base.algorithms.clear();
  base.budgets = Budgets();
  base.outputDir = reference;
  options->outputDir = candidate;
  for (const CompileOptions &each : {base, *options}) {
    Expected<CompileResult> result = compileModel(session, each);
    if (!result)
      return result.takeError();
  }

  std::string inputs = ("--inputs=" + line.get(OPT_inputs)).str();
  std::string values = (*folder)->getPath() + "/values.npz";
  std::string other = (*folder)->getPath() + "/other.npz";
  std::vector<std::string> common = {inputs, "--dump=.*", "-q"};
  std::vector<std::string> words = {reference, "--dump-to=" + values,
                                    "--outputs=" + other};
  append_range(words, common);
  Expected<int> status = runRunner(session, words);
  if (!status)
    return status.takeError();
  if (*status == 0) {
    words = {candidate,  "--dump-to=" + other, "--expect-values=" + values,
             "--rtol=0", "--atol=0",           ("--rel-max=" + allowed).str()};
    append_range(words, common);
    if (line.has(OPT_json))
      words.push_back("--json");
    status = runRunner(session, words);
  }
  if (!status)
    return status.takeError();
  if (*status == 0)
    return Error::success();
  switch (*status) { // lib/Data/Array.h
  case 4:
    return makeError(Diag::UnsupportedTarget, options->target,
                     "this machine cannot run what was compiled: expected a "
                     "target that its CPU has");
  case 6:
    return makeError(Diag::AccuracyMissed, "",
                     "the targets differ by more than allowed");
  case 7:
    return makeError(Diag::LimitReached, "", "qcc-run reached a limit");
  case 8:
    return makeError(Diag::CannotWrite, "",
                     "qcc-run could not write; what it says above is the "
                     "reason");
  default:
    return makeError(Diag::BadCalibration, "",
                     "qcc-run ended with status " + Twine(*status) +
                         "; what it says above is the reason");
  }
}

} // namespace qcc::driver
