//===- main.cpp - the qcc program -------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Commands.h"
#include "Signals.h"
#include "qcc/Codegen/KernelCompiler.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Version.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"
#include <fcntl.h>
#include <unistd.h>

using namespace llvm;
using namespace qcc;
using namespace qcc::driver;

/// `--color`, or colours where a person watches that did not ask for none.
static Expected<bool> chooseColor(const CommandLine &line) {
  StringRef when = line.get(OPT_color, "auto");
  if (when == "always" || when == "never")
    return when == "always";
  if (when != "auto")
    return makeError(Diag::Usage, "--color",
                     "expected auto, always or never, but got '" + when + "'");
  std::optional<std::string> none = sys::Process::GetEnv("NO_COLOR");
  return sys::Process::StandardErrIsDisplayed() && (!none || none->empty());
}

static Expected<Progress::Mode> chooseProgress(const CommandLine &line) {
  if (line.has(OPT_quiet))
    return Progress::Mode::None;
  StringRef when = line.get(OPT_progress, "auto");
  if (when == "auto")
    return sys::Process::StandardErrIsDisplayed() ? Progress::Mode::Bar
                                                  : Progress::Mode::Plain;
  if (when == "bar")
    return Progress::Mode::Bar;
  if (when == "plain")
    return Progress::Mode::Plain;
  if (when == "none")
    return Progress::Mode::None;
  return makeError(Diag::Usage, "--progress",
                   "expected auto, plain, bar or none, but got '" + when + "'");
}

static Error runVerb(Session &session) {
  switch (session.line.verb) {
  case Verb::Compile:
    return runCompile(session);
  case Verb::Check:
    return runCheck(session);
  case Verb::Inspect:
    return runInspect(session);
  case Verb::Calibrate:
    return runCalibrate(session);
  case Verb::MergeStats:
    return runMergeStats(session);
  case Verb::Compare:
    return runCompare(session);
  case Verb::Eval:
    return runEval(session);
  case Verb::Report:
    return runReport(session);
  case Verb::Verify:
    return runVerify(session);
  case Verb::Targets:
    return runTargets(session);
  case Verb::Schemes:
    return runSchemes(session);
  case Verb::Explain:
    return runExplain(session);
  }
  return Error::success();
}

static Error loadPlugins(Session &session) {
  std::vector<std::string> paths =
      session.line.args.getAllArgValues(OPT_load_plugin);
  if (!paths.empty())
    notePlugins(paths);
  mlir::DialectRegistry base;
  registerDialects(base);
  for (const std::string &path : paths)
    if (Error error = session.extensions.load(path, base))
      return error;
  return Error::success();
}

static int fail(Error error) {
  ErrorSink sink(/*useColor=*/false);
  sink.report(std::move(error));
  return sink.getExitCode();
}

/// Writes what is left of the results; an error if they have no room.
static Error flushResults() {
  outs().flush();
  if (!outs().has_error())
    return Error::success();
  std::error_code error = outs().error();
  outs().clear_error();
  return makeError(Diag::CannotWrite, "stdout", error.message());
}

/// Files must not be opened as 0, 1 or 2, where results would be written.
static void openStandardFiles() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor)
    if (fcntl(descriptor, F_GETFD) < 0)
      (void)!open("/dev/null", O_RDWR);
}

int main(int argc, char **argv) {
  // Started by another qcc: compiles kernels for it.
  if (argc == 2 && StringRef(argv[1]) == "--worker") {
    handleOutOfMemory();
    return runKernelWorker();
  }
  openStandardFiles();
  handleCrashes();
  std::string self =
      sys::fs::getMainExecutable(argv[0], reinterpret_cast<void *>(&main));
  ArrayRef<const char *> words(argv + std::min(argc, 1), argv + argc);
  Expected<CommandLine> line = parseCommandLine(words);
  if (!line)
    return fail(line.takeError());
  if (line->has(OPT_version)) {
    outs() << "qcc " QCC_VERSION_STRING " (LLVM " LLVM_VERSION_STRING ")\n";
    Error error = flushResults();
    return error ? fail(std::move(error)) : 0;
  }
  if (line->has(OPT_help) || line->has(OPT_help_advanced) || argc <= 1) {
    // Asked for, it is a result; unasked, it is a complaint.
    printHelp(argc <= 1 ? errs() : outs(), line->verb,
              line->has(OPT_help_advanced));
    Error error = flushResults();
    if (error)
      return fail(std::move(error));
    return argc <= 1 ? getDiagInfo(Diag::Usage).exitCode : 0;
  }
  Expected<bool> color = chooseColor(*line);
  if (!color)
    return fail(color.takeError());
  Expected<Progress::Mode> progress = chooseProgress(*line);
  if (!progress)
    return fail(progress.takeError());
  handleInterrupts();
  if (line->has(OPT_max_memory)) {
    Expected<uint64_t> limit = getNumber(*line, OPT_max_memory, 0);
    if (!limit)
      return fail(limit.takeError());
    if (Error error = limitMemory(*limit))
      return fail(std::move(error));
  }

  ErrorSink sink(*color);
  if (!line->has(OPT_quiet))
    for (const std::string &warning : line->warnings)
      sink.warn(warning);
  Session session{*line, sink, self, {}, *progress};
  if (Error error = loadPlugins(session))
    sink.report(std::move(error));
  else if (Error failure = runVerb(session))
    sink.report(std::move(failure));
  if (Error error = flushResults())
    sink.report(std::move(error));
  return sink.getExitCode();
}
