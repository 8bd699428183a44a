//===- Batch.cpp - many compiles from one warm process ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// For suites of thousands of small models: what a process does before it can
// compile is done once, each model is then compiled in a fork, kernels
// included, so that a crash costs one model.
//
//===----------------------------------------------------------------------===//
#include "Commands.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/MappedFile.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/Threading.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <fcntl.h>
#include <map>
#include <sys/wait.h>
#include <unistd.h>

using namespace llvm;

namespace qcc::driver {

namespace {

struct Item {
  std::string model, output;
};

/// A compile that takes longer is ended: one model must not stop a suite.
constexpr unsigned kSecondsPerItem = 120;

/// A fork that compiles an item, and where its first error line is read from.
struct Running {
  size_t item;
  int pipe;
};

} // namespace

static Expected<std::vector<Item>> readItems(StringRef path) {
  Expected<std::shared_ptr<const MappedFile>> file = MappedFile::open(path);
  if (!file) {
    consumeError(file.takeError());
    return makeError(Diag::Usage, path, "cannot be read");
  }
  ArrayRef<char> bytes = (*file)->getBytes();
  StringRef text(bytes.data(), bytes.size());
  std::vector<Item> items;
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    text = rest;
    auto [model, output] = line.split('\t');
    if (line.empty())
      continue;
    if (output.empty())
      return makeError(Diag::Usage, path,
                       "expected MODEL<tab>FOLDER on line " +
                           Twine(items.size() + 1));
    items.push_back({model.str(), output.str()});
  }
  return items;
}

/// The child's half: compiles with its own sink and sends the first error.
[[noreturn]] static void compileItem(Session &session, CompileOptions options,
                                     mlir::MLIRContext &context,
                                     const Item &item, int pipe) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP})
    ::signal(signal, SIG_DFL);
  alarm(kSecondsPerItem);
  ErrorSink sink(/*useColor=*/false);
  sink.attach(context);
  sink.setFile(item.model);
  options.model = item.model;
  options.outputDir = item.output;
  Expected<CompileResult> result =
      compile(options, context, [](Stage, bool, StringRef) {});
  if (!result)
    sink.report(result.takeError());
  StringRef text = sink.getFirst();
  (void)!write(pipe, text.data(), std::min<size_t>(text.size(), 4000));
  errs().flush();
  _exit(sink.getExitCode());
}

/// Waits for one fork, prints its line and returns its exit code.
static int finishOne(std::map<pid_t, Running> &running, ArrayRef<Item> items) {
  int status;
  pid_t pid = waitpid(-1, &status, 0);
  auto it = running.find(pid);
  if (it == running.end())
    return 0;
  // A pipe holds what the child wrote: less than its capacity.
  char buffer[4096];
  ssize_t count =
      std::max<ssize_t>(read(it->second.pipe, buffer, sizeof(buffer)), 0);
  close(it->second.pipe);
  std::string text(buffer, count);
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  if (text.empty() && code != 0)
    text = WIFSIGNALED(status)
               ? "ended by signal " + std::to_string(WTERMSIG(status))
               : "crashed";
  outs() << items[it->second.item].model << "\t" << code << "\t" << text
         << "\n";
  outs().flush();
  running.erase(it);
  return code;
}

Error runBatch(Session &session) {
  const CommandLine &line = session.line;
  Expected<std::vector<Item>> items = readItems(line.get(OPT_batch));
  if (!items)
    return items.takeError();
  Expected<CompileOptions> options = makeCompileOptions(session, "", "");
  if (!options)
    return options.takeError();
  size_t limit =
      options->jobs
          ? options->jobs
          : llvm::heavyweight_hardware_concurrency().compute_thread_count();
  options->jobs = 1;
  options->extensions = &session.extensions;

  // What every compile needs, made before the forks.
  InitializeNativeTarget();
  InitializeNativeTargetAsmPrinter();
  mlir::DialectRegistry registry = makeRegistry(session);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();

  std::map<pid_t, Running> running;
  for (size_t index = 0; index < items->size(); ++index) {
    if (running.size() >= limit)
      session.sink.takeExitCode(finishOne(running, *items));
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
      return makeError(Diag::LimitReached, "--batch", "cannot make a pipe");
    outs().flush();
    pid_t pid = fork();
    if (pid < 0)
      return makeError(Diag::LimitReached, "--batch", "cannot fork");
    if (pid == 0)
      compileItem(session, *options, context, (*items)[index], ends[1]);
    close(ends[1]);
    running[pid] = {index, ends[0]};
  }
  while (!running.empty())
    session.sink.takeExitCode(finishOne(running, *items));
  return Error::success();
}

} // namespace qcc::driver
