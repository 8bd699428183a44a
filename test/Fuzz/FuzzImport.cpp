//===- FuzzImport.cpp - imports mutants in workers with limits --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// usage: FuzzImport --seeds=LIST --count=N [--first=I] [--seed=S] [--jobs=J]
//                   [--kind=bytes|structure] [--save=DIR] [--seconds=5]
//                   [--megabytes=2048]
//        FuzzImport FILE...
//
// Mutant number I is made from the seed S and I alone. Each worker process
// imports many of them; the parent ends one that takes longer or more memory
// than the limits, and goes on with another after the mutant that ended it. A
// mutant may be imported or refused with a code; a crash, a limit that is
// exceeded and an internal error (QCC-E901) are faults: one line each, and the
// file is kept in DIR.
//
//===----------------------------------------------------------------------===//
#include "Mutate.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Import/ONNX/Import.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <optional>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace llvm;
using namespace qcc;
using namespace qcc::fuzz;

namespace {

constexpr size_t kMaxJobs = 64, kCodes = 64;
/// Imports by one process: what a context leaves behind must not add up.
constexpr uint64_t kPerWorker = 500;

struct Settings {
  std::vector<std::string> seeds, files;
  uint64_t first = 0, count = 0, seed = 1;
  size_t jobs = 1;
  std::string kind, save;
  double seconds = 5;
  uint64_t megabytes = 2048;
};

/// What workers tell the parent: shared memory.
struct Slot {
  std::atomic<uint64_t> current;       ///< mutant that is imported
  std::atomic<int64_t> started;        ///< when it began, in ns
  std::atomic<uint64_t> done;          ///< mutants that are finished
  std::atomic<uint64_t> codes[kCodes]; ///< how often each ended, 0: imported
  std::atomic<int64_t> slowest;        ///< longest import, in ns
  std::atomic<int> internal;           ///< the current one ended with QCC-E901
};

struct Fault {
  uint64_t mutant;
  std::string what;
};

int64_t now() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

/// Anonymous memory of a process in megabytes.
uint64_t anonymousMegabytes(pid_t pid) {
  auto text = MemoryBuffer::getFileAsStream("/proc/" + Twine(pid) + "/status");
  if (!text)
    return 0;
  StringRef rest = (*text)->getBuffer().split("RssAnon:").second.ltrim();
  uint64_t kilobytes = 0;
  rest.consumeInteger(10, kilobytes);
  return kilobytes / 1024;
}

std::string readFile(const std::string &path) {
  auto buffer = MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : std::string();
}

class Fuzzer {
public:
  explicit Fuzzer(const Settings &settings) : settings(settings) {
    for (const OpSupport &op : getSupportedOps())
      if (ops.empty() || ops.back() != op.op)
        ops.push_back(op.op.str());
  }

  int run();

private:
  std::string makeMutant(uint64_t number);
  void work(Slot &slot, uint64_t first, uint64_t last, std::string path);
  void import(Slot &slot, const std::string &path, bool collectAll);
  void startWorker(size_t job);
  void watch();
  void finishWorker(size_t job, int status);
  void addFault(size_t job, std::string what);
  void report(double seconds);

  const Settings &settings;
  std::vector<std::string> ops;
  std::map<std::string, std::string> cache; ///< seeds by path
  Slot *slots = nullptr;
  std::string folder;
  std::vector<Fault> faults;
  /// Per job: the process, mutants that are left, what the parent ended it for.
  struct Job {
    pid_t pid = -1;
    uint64_t next = 0, end = 0;
    std::string ended;
  };
  std::vector<Job> jobs;
  uint64_t peak = 0;
};

} // namespace

std::string Fuzzer::makeMutant(uint64_t number) {
  if (!settings.files.empty())
    return readFile(settings.files[number]);
  Random random(settings.seed * 0x100000001b3 ^ number);
  for (int i = 0; i < 4; ++i)
    random.next();
  auto load = [&]() -> const std::string & {
    const std::string &path =
        settings.seeds[random.below(settings.seeds.size())];
    auto [found, isNew] = cache.try_emplace(path);
    if (isNew)
      found->second = readFile(path);
    return found->second;
  };
  const std::string &model = load();
  if (settings.kind == "bytes")
    return mutateBytes(model, random);
  const std::string &donor = load();
  return mutateStructure(model, donor, ops, random);
}

void Fuzzer::import(Slot &slot, const std::string &path, bool collectAll) {
  mlir::DialectRegistry registry;
  registry.insert<QCCDialect>();
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler(
      [](mlir::Diagnostic &) { return mlir::success(); });
  ParameterStore parameters;
  ImportOptions options;
  options.collectAll = collectAll;
  auto module = importOnnx(path, options, context, parameters);
  size_t code = 0;
  if (!module)
    handleAllErrors(
        module.takeError(),
        [&](const CodedError &error) {
          code = 1 + static_cast<size_t>(error.getDiag());
          if (error.getDiag() == Diag::Internal) {
            slot.internal = 1;
            errs() << "internal error: " << error.message() << "\n";
          }
        },
        [&](const ErrorInfoBase &error) {
          slot.internal = 1;
          errs() << "error without a code: " << error.message() << "\n";
        });
  ++slot.codes[std::min(code, kCodes - 1)];
}

/// A worker process: imports one mutant after the other.
void Fuzzer::work(Slot &slot, uint64_t first, uint64_t last, std::string path) {
#if !__has_feature(address_sanitizer)
  // Beyond what the parent sees between two looks.
  rlim_t bytes = (settings.megabytes + 512) << 20;
  rlimit limit = {bytes, bytes};
  setrlimit(RLIMIT_DATA, &limit);
#endif
  for (uint64_t number = first; number < last; ++number) {
    slot.current = number;
    std::string mutant = makeMutant(number);
    std::error_code failed;
    raw_fd_ostream(path, failed) << mutant;
    if (failed)
      _exit(3);
    slot.internal = 0;
    slot.started = now();
    import(slot, path, number & 1);
    int64_t took = now() - slot.started;
    slot.started = 0;
    if (took > slot.slowest)
      slot.slowest = took;
    ++slot.done;
    if (slot.internal)
      _exit(2);
  }
  _exit(0);
}

void Fuzzer::startWorker(size_t job) {
  Job &state = jobs[job];
  if (state.next >= state.end)
    return;
  uint64_t last = std::min(state.end, state.next + kPerWorker);
  slots[job].current = state.next;
  slots[job].started = 0;
  outs().flush();
  state.ended.clear();
  state.pid = fork();
  if (state.pid == 0)
    work(slots[job], state.next, last,
         folder + "/" + std::to_string(job) + ".onnx");
  state.next = last;
}

void Fuzzer::addFault(size_t job, std::string what) {
  uint64_t number = slots[job].current;
  outs() << "FAULT " << settings.kind << " " << number << ": " << what << "\n";
  outs().flush();
  if (!settings.save.empty()) {
    std::error_code error;
    std::string name = settings.kind + "-" + std::to_string(settings.seed) +
                       "-" + std::to_string(number) + ".onnx";
    raw_fd_ostream(settings.save + "/" + name, error) << makeMutant(number);
  }
  faults.push_back({number, std::move(what)});
}

void Fuzzer::finishWorker(size_t job, int status) {
  Job &state = jobs[job];
  state.pid = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return startWorker(job);
  if (!state.ended.empty())
    addFault(job, state.ended);
  else if (WIFSIGNALED(status))
    addFault(job, "ended by signal " + std::to_string(WTERMSIG(status)));
  else if (WEXITSTATUS(status) == 2)
    addFault(job, "internal error");
  else
    addFault(job, "ended with status " + std::to_string(WEXITSTATUS(status)));
  // The rest of its share goes on after the one that ended it.
  state.next = slots[job].current + 1;
  startWorker(job);
}

/// Looks at the workers until all have ended.
void Fuzzer::watch() {
  while (llvm::any_of(jobs, [](const Job &job) { return job.pid > 0; })) {
    usleep(20'000);
    for (size_t job = 0; job < jobs.size(); ++job) {
      Job &state = jobs[job];
      if (state.pid <= 0)
        continue;
      int status;
      if (waitpid(state.pid, &status, WNOHANG) == state.pid) {
        finishWorker(job, status);
        continue;
      }
      uint64_t memory = anonymousMegabytes(state.pid);
      peak = std::max(peak, memory);
      int64_t started = slots[job].started;
      if (memory > settings.megabytes)
        state.ended = "more than " + std::to_string(settings.megabytes) + " MB";
      else if (started && double(now() - started) > settings.seconds * 1e9)
        state.ended =
            "longer than " + std::to_string(int(settings.seconds)) + " s";
      if (!state.ended.empty())
        kill(state.pid, SIGKILL);
    }
  }
}

void Fuzzer::report(double seconds) {
  std::map<int, uint64_t> byExit;
  int64_t slowest = 0;
  std::string codes;
  raw_string_ostream os(codes);
  for (size_t code = 0; code < kCodes; ++code) {
    uint64_t count = 0;
    for (size_t job = 0; job < jobs.size(); ++job)
      count += slots[job].codes[code];
    if (!count)
      continue;
    const DiagInfo *info =
        code ? &getDiagInfo(static_cast<Diag>(code - 1)) : nullptr;
    byExit[info ? info->exitCode : 0] += count;
    if (info)
      os << " " << info->code << " " << count;
  }
  for (size_t job = 0; job < jobs.size(); ++job)
    slowest = std::max<int64_t>(slowest, slots[job].slowest);
  outs() << "mutants " << settings.count << "  faults " << faults.size()
         << "  imported " << byExit[0] << "  refused";
  for (auto [exitCode, count] : byExit)
    if (exitCode)
      outs() << " " << count << "x" << exitCode;
  outs() << "  slowest " << format("%.2f", double(slowest) / 1e9) << " s  peak "
         << peak << " MB  " << format("%.0f", seconds) << " s in all\ncodes"
         << codes << "\n";
}

int Fuzzer::run() {
  SmallString<128> unique;
  if (sys::fs::createUniqueDirectory("qcc-fuzz", unique))
    return 2;
  folder = unique.str().str();
  slots = static_cast<Slot *>(mmap(nullptr, sizeof(Slot) * kMaxJobs,
                                   PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (slots == MAP_FAILED)
    return 2;
  int64_t begin = now();
  jobs.resize(std::min({settings.jobs, kMaxJobs, size_t(settings.count)}));
  for (size_t job = 0; job < jobs.size(); ++job) {
    jobs[job].next = settings.first + settings.count * job / jobs.size();
    jobs[job].end = settings.first + settings.count * (job + 1) / jobs.size();
    startWorker(job);
  }
  watch();
  report(double(now() - begin) / 1e9);
  (void)sys::fs::remove_directories(folder);
  return faults.empty() ? 0 : 1;
}

static bool parse(ArrayRef<const char *> words, Settings &settings) {
  bool good = true;
  for (StringRef word : words) {
    auto [key, value] = word.split('=');
    if (!word.starts_with("--"))
      settings.files.push_back(word.str());
    else if (key == "--seeds") {
      SmallVector<StringRef> lines;
      std::string text = readFile(value.str());
      StringRef(text).split(lines, '\n', -1, /*KeepEmpty=*/false);
      for (StringRef line : lines)
        settings.seeds.push_back(line.str());
    } else if (key == "--kind")
      settings.kind = value.str();
    else if (key == "--save")
      settings.save = value.str();
    else
      good &= key == "--count"     ? !value.getAsInteger(10, settings.count)
              : key == "--first"   ? !value.getAsInteger(10, settings.first)
              : key == "--seed"    ? !value.getAsInteger(10, settings.seed)
              : key == "--jobs"    ? !value.getAsInteger(10, settings.jobs)
              : key == "--seconds" ? !value.getAsDouble(settings.seconds)
              : key == "--megabytes"
                  ? !value.getAsInteger(10, settings.megabytes)
                  : false;
  }
  if (!settings.files.empty()) {
    settings.kind = "file";
    settings.first = 0;
    settings.count = settings.files.size();
    return good;
  }
  return good && !settings.seeds.empty() && settings.count > 0 &&
         (settings.kind == "bytes" || settings.kind == "structure");
}

int main(int argc, char **argv) {
  Settings settings;
  if (!parse(ArrayRef<const char *>(argv + 1, argv + argc), settings)) {
    errs() << "usage: FuzzImport --seeds=LIST --count=N --kind=bytes|structure "
              "[--first=I] [--seed=S] [--jobs=J] [--save=DIR] [--seconds=5] "
              "[--megabytes=2048]\n       FuzzImport FILE...\n";
    return 2;
  }
  return Fuzzer(settings).run();
}
