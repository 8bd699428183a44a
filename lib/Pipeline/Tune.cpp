//===- Tune.cpp - timing the schedules of kernels ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is timed is what will run: each dispatch alone, as a model with an entry
// for each of its schedules, compiled by the compiler itself. Between two runs
// as many bytes are read as the rest of the model has, so that weights and
// inputs are as far away as they are in the model.
//
//===----------------------------------------------------------------------===//
#include "Compilation.h"
#include "KernelProbe.h"
#include "ReportedSizes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Pipeline/LoadedModel.h"
#include "qcc/Support/AtomicDirectory.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/MappedFile.h"
#include "qcc/Support/TemporaryFolder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"

using namespace mlir;
using namespace qcc;

/// Seconds of timing for each schedule of a kernel.
static constexpr double kSeconds = 0.1;
/// Another schedule than that of the cost model has to be faster by this factor
/// in the median of the rounds, and faster in three rounds of four: others use
/// the machine too.
static constexpr double kMargin = 1.03, kShare = 0.75;
/// Bytes that are read between runs at most: more than caches have.
static constexpr int64_t kMostBytes = 16 << 20;

/// Sizes of the module's symbols.
static std::vector<int64_t> getSizes(ModuleOp module) {
  SmallVector<Type> inputs;
  for (auto func : module.getOps<func::FuncOp>())
    llvm::append_range(inputs, func.getArgumentTypes());
  std::vector<int64_t> sizes = assumeSizes(module, inputs).values;
  clampSizes(module, sizes);
  return sizes;
}

/// Bytes that the dispatches of a module read and write.
static int64_t countTraffic(ModuleOp module, ArrayRef<int64_t> sizes) {
  int64_t all = 0;
  module.walk([&](DispatchOp op) {
    for (Type type : op.getOperandTypes())
      all += countBytes(type, sizes).value_or(0);
    for (Type type : op.getResultTypes())
      all += countBytes(type, sizes).value_or(0);
  });
  return all;
}

//===----------------------------------------------------------------------===//
// Timing
//===----------------------------------------------------------------------===//

namespace {
/// A kernel and the dispatches that it is for.
struct Work {
  std::string hash;
  KernelProbe probe;
  KernelChoices choices;
  SmallVector<DispatchOp> dispatches;
};
} // namespace

/// The kernels of a module that have several schedules, in its order.
static std::vector<Work> collectWork(ModuleOp module, const Target &target,
                                     ArrayRef<Capabilities> levels,
                                     ArrayRef<int64_t> sizes) {
  std::string machine;
  for (const Capabilities &level : levels)
    machine += level.level + "\n";
  std::vector<Work> all;
  llvm::StringMap<size_t> places;
  module.walk([&](DispatchOp dispatch) {
    KernelChoices choices = findKernel(target, dispatch, levels);
    if (choices.schedules.size() < 2)
      return;
    auto probe = KernelProbe::create(dispatch, choices.schedules, sizes);
    if (!probe)
      return;
    std::string hash = hashBytes(machine + choices.emitter->getName().str() +
                                 "\n" + probe->printWork());
    auto [place, isNew] = places.try_emplace(hash, all.size());
    if (isNew)
      all.push_back({hash, std::move(*probe), std::move(choices), {}});
    all[place->second].dispatches.push_back(dispatch);
  });
  return all;
}

/// The tuning in a file; nothing is known where there is none.
static llvm::Expected<Tuning> readTuning(StringRef path) {
  if (!llvm::sys::fs::exists(path))
    return Tuning();
  auto file = MappedFile::open(path);
  if (!file) {
    llvm::consumeError(file.takeError());
    return makeError(Diag::Usage, path, "the tuning cannot be read");
  }
  ArrayRef<char> bytes = (*file)->getBytes();
  StringRef text(bytes.data(), bytes.size());
  // As `mktemp` makes one.
  return text.empty() ? Tuning() : Tuning::read(text, path);
}

static llvm::Error writeTuning(StringRef path, const Tuning &tuning) {
  if (llvm::Error error = llvm::writeToOutput(path, [&](llvm::raw_ostream &os) {
        os << tuning.write();
        return llvm::Error::success();
      })) {
    llvm::consumeError(std::move(error));
    return makeError(Diag::CannotWrite, path, "the tuning cannot be written");
  }
  return llvm::Error::success();
}

/// Which of the schedules a tuning names.
static std::optional<size_t> findChoice(const Tuning &tuning,
                                        const Work &work) {
  const TunedKernel *known = tuning.find(work.hash);
  for (auto [i, schedule] : llvm::enumerate(work.choices.schedules))
    if (known && describeSchedule(schedule) == known->schedule)
      return i;
  return std::nullopt;
}

/// True if this machine runs code of one of the levels.
static bool canRun(const Target &target, ArrayRef<Capabilities> levels) {
  uint64_t features = 0;
  for (const Capabilities &level : target.parse("native"))
    features |= level.cpuFeatures;
  return llvm::any_of(levels, [&](const Capabilities &level) {
    return (level.cpuFeatures & ~features) == 0;
  });
}

static double getQuantile(std::vector<double> values, double share) {
  auto at = values.begin() + ptrdiff_t(share * double(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// The schedule to take: of those that are faster than the first, the fastest.
/// Rounds are compared one by one, for the machine's speed changes.
static size_t chooseFastest(ArrayRef<std::vector<double>> times) {
  size_t fastest = 0;
  double least = 1 / kMargin;
  for (auto [i, seconds] : llvm::enumerate(times)) {
    std::vector<double> ratios;
    for (auto [own, first] : llvm::zip_equal(seconds, times.front()))
      ratios.push_back(own / first);
    double median = getQuantile(ratios, 0.5);
    if (median < least && getQuantile(ratios, kShare) < 1) {
      least = median;
      fastest = i;
    }
  }
  return fastest;
}

/// Reads as many bytes, so that they are in the caches in place of others.
static void sweep(ArrayRef<char> bytes) {
  constexpr size_t line = 64;
  unsigned sum = 0;
  for (size_t at = 0; at < bytes.size(); at += line)
    sum += unsigned(bytes[at]);
  volatile unsigned sink = sum;
  (void)sink;
}

llvm::Expected<std::vector<std::vector<double>>>
Compilation::timeSchedules(ModuleOp probe, const Sample &sample,
                           ArrayRef<char> others) {
  auto folder = TemporaryFolder::create();
  if (!folder)
    return folder.takeError();
  CompileOptions own;
  own.outputDir = (*folder)->getPath() + "/probe";
  own.target = options.target;
  own.jobs = options.jobs;
  own.cacheDir = options.cacheDir;
  own.workerProgram = options.workerProgram;
  Compilation compilation(own, context, [](Stage, bool, StringRef) {});
  compilation.module = probe.clone();
  compilation.parameters = parameters;
  auto built = compilation.runStages(Stage::Schedule);
  if (!built)
    return built.takeError();
  auto model = LoadedModel::open(own.outputDir);
  if (!model)
    return model.takeError();
  size_t schedules = llvm::range_size(probe.getOps<func::FuncOp>());
  return (*model)->time(sample, kSeconds * double(schedules),
                        [&] { sweep(others); });
}

/// What is known of a kernel once its schedules are timed.
static TunedKernel makeTuned(const Work &work, size_t choice,
                             ArrayRef<std::vector<double>> times) {
  DispatchOp first = work.dispatches.front();
  TunedKernel kernel{work.hash,
                     getNodeName(first.getLoc()).str(),
                     describeSchedule(work.choices.schedules[choice]),
                     {}};
  for (auto [schedule, seconds] :
       llvm::zip_equal(work.choices.schedules, times))
    kernel.times.emplace_back(describeSchedule(schedule),
                              getQuantile(seconds, 0.5));
  return kernel;
}

/// Gives the dispatches of a kernel a schedule.
static void setSchedule(const Work &work, size_t choice) {
  for (DispatchOp dispatch : work.dispatches)
    dispatch->setAttr(
        kScheduleAttr,
        StringAttr::get(dispatch.getContext(),
                        describeSchedule(work.choices.schedules[choice])));
}

llvm::Error Compilation::openTuning() {
  if (options.tuning.empty())
    return llvm::Error::success();
  llvm::Expected<Tuning> read = readTuning(options.tuning);
  if (!read)
    return read.takeError();
  tuning = std::move(*read);
  // Writing makes another file beside it first. One that knows kernels may know
  // all, and be where nobody writes.
  return tuning.empty() && canRun(*target, levels) ? checkParent(options.tuning)
                                                   : llvm::Error::success();
}

llvm::Error Compilation::tune() {
  if (options.tuning.empty())
    return llvm::Error::success();
  std::vector<int64_t> sizes = getSizes(*module);
  std::vector<Work> all = collectWork(*module, *target, levels, sizes);
  std::vector<char> others(
      size_t(std::min(countTraffic(*module, sizes), kMostBytes)), 1);
  size_t wanted = llvm::count_if(
             all, [&](const Work &work) { return !findChoice(tuning, work); }),
         timed = 0;
  bool isHere = canRun(*target, levels);
  if (wanted && !isHere)
    result.notes.push_back(
        options.tuning + " has no times of " + std::to_string(wanted) +
        " kernels, and this machine cannot run --target=" + options.target +
        ": the cost model chooses their schedules; tune on one that can");
  if (wanted && isHere)
    if (llvm::Error error = checkParent(options.tuning))
      return error;
  for (Work &work : all) {
    std::optional<size_t> choice = findChoice(tuning, work);
    if (!choice && isHere) {
      observer(current, /*done=*/false,
               ("timing kernel " + llvm::Twine(++timed) + " of " +
                llvm::Twine(wanted))
                   .str());
      auto times = timeSchedules(work.probe.getModule(),
                                 work.probe.makeSample(), others);
      if (!times)
        return times.takeError();
      choice = chooseFastest(*times);
      tuning.add(makeTuned(work, *choice, *times));
      // An interrupted run goes on from here.
      if (llvm::Error error = writeTuning(options.tuning, tuning))
        return error;
    }
    if (choice && *choice > 0) {
      ++tunedKernels;
      setSchedule(work, *choice);
    }
  }
  return llvm::Error::success();
}
