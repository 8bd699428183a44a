//===- Batch.cpp - many test data sets in one call --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Batch.h"

#include "TestData.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>

using namespace qcc::run;

std::vector<Comparison>
qcc::run::runTestData(const Artifact &artifact, std::optional<uint32_t> entry,
                      const std::filesystem::path &folder,
                      const Tolerance &tolerance) {
  TestData data = readTestData(folder);
  // Names in the files are not those of the model in every set.
  std::vector<TensorSpec> specs = artifact.inputs(0);
  for (size_t i = 0; i < std::min(specs.size(), data.inputs.size()); ++i)
    data.inputs[i].name = specs[i].name;
  Runner runner(artifact, entry ? *entry : artifact.findEntryFor(data.inputs));
  runner.setInputs(std::move(data.inputs), true);
  runner.run();
  return compareAll(runner.outputs(), data.outputs, true, tolerance);
}

namespace {

struct Item {
  std::string artifact;
  std::string data;
};

/// How an item ended.
struct Outcome {
  int code = Ok;
  std::string text;
};

} // namespace

static Outcome runItem(const Item &item, const OpenOptions &options,
                       const Tolerance &tolerance) {
  try {
    Artifact artifact(item.artifact, options);
    for (const Comparison &result :
         runTestData(artifact, std::nullopt, item.data, tolerance))
      if (!result.passed)
        return {Missed, "output '" + result.name + "': " + result.problem};
    return {};
  } catch (const RunError &error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc &) {
    return {Resources, "out of memory"};
  } catch (const std::exception &error) {
    return {Internal, error.what()};
  }
}

/// Runs an item in a child and reads its text from a pipe.
static Outcome runIsolated(const Item &item, const OpenOptions &options,
                           const Tolerance &tolerance, unsigned seconds) {
  int ends[2];
  if (pipe(ends) != 0)
    return {Internal, "cannot make a pipe"};
  pid_t child = fork();
  if (child < 0)
    return {Resources, "cannot make a process"};
  if (child == 0) {
    close(ends[0]);
    alarm(seconds);
    Outcome outcome = runItem(item, options, tolerance);
    // A pipe holds this much without a reader.
    outcome.text.resize(std::min<size_t>(outcome.text.size(), 2000));
    ssize_t written = write(ends[1], outcome.text.data(), outcome.text.size());
    _exit(written < 0 ? int(Internal) : outcome.code);
  }
  close(ends[1]);
  Outcome outcome;
  char buffer[512];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) > 0;)
    outcome.text.append(buffer, size_t(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  outcome.code =
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (WIFSIGNALED(status))
    outcome.text = WTERMSIG(status) == SIGALRM
                       ? "ran longer than " + std::to_string(seconds) + " s"
                       : std::string("crashed: ") + strsignal(WTERMSIG(status));
  return outcome;
}

ExitCode qcc::run::runBatch(const std::filesystem::path &list,
                            const OpenOptions &options,
                            const Tolerance &tolerance, unsigned seconds) {
  std::ifstream in(list);
  if (!in)
    throw RunError(Usage, "cannot read " + list.string());
  ExitCode result = Ok;
  for (std::string line; std::getline(in, line);) {
    size_t tab = line.find('\t');
    if (line.empty())
      continue;
    if (tab == std::string::npos)
      throw RunError(
          Usage, list.string() +
                     ": expected an artifact, a tab and a folder, but got " +
                     line);
    Item item{line.substr(0, tab), line.substr(tab + 1)};
    Outcome outcome = runIsolated(item, options, tolerance, seconds);
    for (char &c : outcome.text)
      if (c == '\n' || c == '\t')
        c = ' ';
    std::printf("%d\t%s\t%s\t%s\n", outcome.code, item.artifact.c_str(),
                item.data.c_str(), outcome.text.c_str());
    std::fflush(stdout);
    if (outcome.code != Ok)
      result = Missed;
  }
  return result;
}
