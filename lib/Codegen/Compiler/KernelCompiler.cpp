//===- KernelCompiler.cpp - kernels to objects, in parallel -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Codegen/KernelCompiler.h"
#include "KernelCache.h"
#include "Worker.h"
#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "qcc/Codegen/Lowering.h"
#include "qcc/Support/Diagnostics.h"
#include <map>
#include <poll.h>
#include <thread>

using namespace mlir;
using namespace qcc;

std::string qcc::serializeKernel(ModuleOp module) {
  auto unknown = UnknownLoc::get(module.getContext());
  module->walk([&](Operation *op) {
    op->setLoc(unknown);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (BlockArgument arg : block.getArguments())
          arg.setLoc(unknown);
  });
  std::string code;
  llvm::raw_string_ostream os(code);
  // Writing to memory does not fail.
  (void)writeBytecodeToFile(module, os);
  return code;
}

llvm::Expected<std::string> qcc::compileKernel(const KernelJob &job) {
  // A context of its own: nothing of one kernel reaches another.
  DialectRegistry registry;
  registerCodegenDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string problem;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (problem.empty() &&
        diagnostic.getSeverity() == DiagnosticSeverity::Error)
      problem = diagnostic.str();
    return success();
  });
  ParserConfig config(&context);
  auto module = parseSourceString<ModuleOp>(job.code, config);
  llvm::SmallVector<char> object;
  if (!module || failed(verify(*module)) ||
      failed(lowerKernelModule(*module, job.caps)) ||
      failed(emitObject(*module, job.caps, object)))
    return makeError(Diag::Internal, job.name,
                     problem.empty() ? "cannot compile a kernel" : problem);
  return std::string(object.begin(), object.end());
}

namespace {
/// Spreads jobs over worker processes.
class Pool {
public:
  Pool(ArrayRef<KernelJob> jobs, std::vector<std::string> &objects,
       const KernelCache &cache, llvm::function_ref<void()> finished)
      : jobs(jobs), objects(objects), cache(cache), finished(finished) {}

  /// Compiles the jobs of `pending`, in this order.
  llvm::Error run(ArrayRef<size_t> pending, StringRef program, unsigned count);

private:
  void wait();
  bool advance(WorkerProcess &worker);
  void fail(size_t index, Diag id, const llvm::Twine &text);

  ArrayRef<KernelJob> jobs;
  std::vector<std::string> &objects;
  const KernelCache &cache;
  llvm::function_ref<void()> finished;
  std::vector<std::unique_ptr<WorkerProcess>> workers;
  /// The failed job that comes first, so that the message is the same for any
  /// number of workers.
  size_t failedJob = SIZE_MAX;
  Diag problemId = Diag::Internal;
  std::string problem;
};
} // namespace

void Pool::fail(size_t index, Diag id, const llvm::Twine &text) {
  if (index >= failedJob)
    return;
  failedJob = index;
  problemId = id;
  problem = text.str();
}

/// Blocks until a worker can be read from or written to.
void Pool::wait() {
  std::vector<pollfd> sockets;
  for (const auto &worker : workers)
    if (!worker->isIdle())
      sockets.push_back(
          {worker->getSocket(),
           static_cast<short>(worker->wantsToWrite() ? POLLIN | POLLOUT
                                                     : POLLIN),
           0});
  poll(sockets.data(), sockets.size(), -1);
}

/// Moves a busy worker on; false if it is of no more use.
bool Pool::advance(WorkerProcess &worker) {
  size_t index = worker.getJob();
  std::string answer;
  switch (worker.advance(answer)) {
  case WorkerProcess::State::Busy:
    return true;
  case WorkerProcess::State::Died: {
    Diag id;
    std::string text = worker.describeEnd(id);
    fail(index, id, text);
    return false;
  }
  case WorkerProcess::State::Answered:
    break;
  }
  StringRef text = answer;
  if (!text.consume_front("+")) {
    fail(index, Diag::Internal, text.drop_front(text.empty() ? 0 : 1));
    return true;
  }
  objects[index] = text.str();
  cache.insert(jobs[index], text);
  finished();
  return true;
}

llvm::Error Pool::run(ArrayRef<size_t> pending, StringRef program,
                      unsigned count) {
  size_t next = 0;
  auto busy = [&] {
    return llvm::count_if(workers, [](const auto &w) { return !w->isIdle(); });
  };
  // After a failure only jobs before it can still matter, and they are under
  // way: jobs are handed out in order.
  while ((next < pending.size() && failedJob == SIZE_MAX) || busy() > 0) {
    while (next < pending.size() && failedJob == SIZE_MAX) {
      auto idle =
          llvm::find_if(workers, [](const auto &w) { return w->isIdle(); });
      if (idle == workers.end()) {
        if (workers.size() == count)
          break;
        workers.push_back(std::make_unique<WorkerProcess>());
        idle = std::prev(workers.end());
        if (llvm::Error error = (*idle)->start(program))
          return error;
      }
      (*idle)->submit(pending[next], jobs[pending[next]]);
      ++next;
    }
    wait();
    llvm::erase_if(workers, [&](const auto &worker) {
      return !worker->isIdle() && !advance(*worker);
    });
  }
  if (failedJob == SIZE_MAX)
    return llvm::Error::success();
  return makeError(problemId, jobs[failedJob].name, problem);
}

/// Compiles the jobs whose numbers are in `pending`.
static llvm::Error compilePending(ArrayRef<KernelJob> jobs,
                                  ArrayRef<size_t> pending,
                                  const KernelCompilerOptions &options,
                                  const KernelCache &cache,
                                  std::vector<std::string> &objects,
                                  llvm::function_ref<void()> finished) {
  if (options.workerProgram.empty()) {
    for (size_t i : pending) {
      llvm::Expected<std::string> object = compileKernel(jobs[i]);
      if (!object)
        return object.takeError();
      cache.insert(jobs[i], *object);
      objects[i] = std::move(*object);
      finished();
    }
    return llvm::Error::success();
  }
  unsigned workers = options.jobs;
  if (workers == 0)
    workers = std::max(1u, std::thread::hardware_concurrency());
  Pool pool(jobs, objects, cache, finished);
  return pool.run(pending, options.workerProgram, workers);
}

llvm::Expected<std::vector<std::string>>
qcc::compileKernels(ArrayRef<KernelJob> jobs,
                    const KernelCompilerOptions &options,
                    llvm::function_ref<void(size_t)> done) {
  KernelCache cache(options.cacheDir);
  std::vector<std::string> objects(jobs.size());
  std::vector<size_t> pending, equals;
  std::map<std::pair<std::string, StringRef>, size_t> firsts;
  size_t count = 0;
  auto finished = [&] {
    ++count;
    if (done)
      done(count);
  };
  for (auto [i, job] : llvm::enumerate(jobs)) {
    auto [first, isNew] =
        firsts.try_emplace({getLevelKey(job.caps), job.code}, i);
    equals.push_back(first->second);
    if (!isNew)
      continue;
    if (std::optional<std::string> object = cache.lookup(job)) {
      objects[i] = std::move(*object);
      finished();
    } else {
      pending.push_back(i);
    }
  }
  if (llvm::Error error =
          compilePending(jobs, pending, options, cache, objects, finished))
    return std::move(error);
  for (auto [i, first] : llvm::enumerate(equals))
    if (first != i) {
      objects[i] = objects[first];
      finished();
    }
  return objects;
}
