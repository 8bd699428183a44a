//===- Calibrator.cpp - statistics of activations ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Calibrator.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Hash.h"
#include "qcc/Support/Parallel.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include <cmath>
#include <cstring>
#include <mutex>

using namespace mlir;
using namespace qcc;

/// Share of samples or elements that may be left out where that is tolerated.
static constexpr double kTolerated = 0.01;

StringRef qcc::getPolicyName(NonFinitePolicy policy) {
  switch (policy) {
  case NonFinitePolicy::Tolerate:
    return "tolerate";
  case NonFinitePolicy::Refuse:
    return "refuse";
  case NonFinitePolicy::Skip:
    return "skip";
  }
  return "";
}

std::string RemainingTime::describe(size_t done, size_t all) {
  auto now = std::chrono::steady_clock::now();
  if (!start) {
    start = now;
    doneBefore = done;
  }
  std::string text =
      std::to_string(done) + "/" + std::to_string(all) + " samples";
  if (done <= doneBefore || done >= all)
    return text;
  double seconds = std::chrono::duration<double>(now - *start).count() *
                   double(all - done) / double(done - doneBefore);
  auto left = static_cast<int64_t>(seconds + 0.5);
  if (left < 120)
    return text + ", " + std::to_string(left) + " s left";
  return text + ", " + std::to_string((left + 30) / 60) + " min left";
}

llvm::Error qcc::runSamples(const HostProgram &program,
                            ArrayRef<Sample> samples, unsigned threads,
                            SampleObserver observer,
                            llvm::function_ref<void(size_t)> progress) {
  auto run = [&](size_t i) {
    return program.run(samples[i], [&](StringRef name, ArrayRef<float> values) {
      observer(i, name, values);
    });
  };
  return runParallel(samples.size(), threads, run, progress);
}

//===----------------------------------------------------------------------===//
// Sizes of samples
//===----------------------------------------------------------------------===//

namespace {

/// Values of the symbols that a sample's shapes tell; -1 for others.
class SampleSymbols {
public:
  explicit SampleSymbols(ModuleOp module) {
    auto func = module.lookupSymbol<func::FuncOp>("main");
    if (auto symbols = module->getAttrOfType<ArrayAttr>(kSymbolsAttr))
      numSymbols = symbols.size();
    for (unsigned i = 0; func && i < func.getNumArguments(); ++i) {
      auto name = func.getArgAttrOfType<StringAttr>(i, "qcc.name");
      if (name && isa<RankedTensorType>(func.getArgument(i).getType()))
        inputs.push_back(
            {name.getValue().str(), getDims(func.getArgument(i).getType())});
    }
  }

  std::vector<int64_t> get(const Sample &sample) const {
    std::vector<int64_t> symbols(numSymbols, -1);
    for (const auto &[name, dims] : inputs)
      for (const SampleArray &array : sample.arrays)
        if (array.name == name && array.shape.size() == dims.size())
          for (auto [dim, size] : llvm::zip_equal(dims, array.shape))
            if (auto symbol = dyn_cast<AffineSymbolExpr>(dim))
              if (symbol.getPosition() < numSymbols)
                symbols[symbol.getPosition()] = size;
    return symbols;
  }

private:
  size_t numSymbols = 0;
  std::vector<std::pair<std::string, SmallVector<AffineExpr>>> inputs;
};

/// A tensor that threads add to.
struct Gathered {
  Observation observation;
  TensorStatistics *statistics;
  std::mutex mutex;
};

} // namespace

/// Where an observed array has its channels; none where sizes are not known.
static ChannelLayout getLayout(const Observation &observation,
                               ArrayRef<int64_t> symbols, size_t count) {
  if (!observation.channels)
    return {};
  bool isKnown = true;
  observation.inner.walk([&](AffineExpr expr) {
    if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
      isKnown &= symbol.getPosition() < symbols.size() &&
                 symbols[symbol.getPosition()] >= 0;
  });
  std::optional<int64_t> inner =
      isKnown ? evaluateSize(observation.inner, symbols) : std::nullopt;
  if (!inner || *inner < 1 ||
      count % static_cast<size_t>(observation.channels * *inner) != 0)
    return {};
  return {observation.channels, *inner};
}

//===----------------------------------------------------------------------===//
// What is not finite
//===----------------------------------------------------------------------===//

/// The number of NaN in an array of f32 or f64.
static size_t countNaN(const SampleArray &array) {
  size_t count = 0;
  auto add = [&](auto zero) {
    size_t size = sizeof(zero);
    for (size_t at = 0; at + size <= array.bytes.size(); at += size) {
      std::memcpy(&zero, array.bytes.data() + at, size);
      count += std::isnan(zero);
    }
  };
  constexpr uint8_t kFloat = 2; // DLPack
  if (array.code == kFloat && array.bits == 32)
    add(0.0f);
  if (array.code == kFloat && array.bits == 64)
    add(0.0);
  return count;
}

static llvm::Error makeEmptyError(StringRef what) {
  return makeError(Diag::BadCalibration, what,
                   "expected values, but the samples are empty arrays");
}

llvm::Error qcc::removeBadSamples(std::vector<Sample> &samples,
                                  llvm::ArrayRef<SampleInput> inputs,
                                  NonFinitePolicy policy,
                                  std::vector<std::string> &warnings) {
  for (const Sample &sample : samples)
    if (!sample.arrays.empty() &&
        llvm::all_of(sample.arrays, [](const SampleArray &array) {
          return array.getBytes().empty();
        }))
      return makeEmptyError(sample.name);
  llvm::StringSet<> names;
  for (const SampleInput &input : inputs)
    names.insert(input.name);
  std::vector<std::string> problems;
  std::vector<Sample> good;
  std::string where, what;
  for (Sample &sample : samples) {
    size_t count = 0;
    std::string input;
    for (const SampleArray &array : sample.arrays)
      if (!count && names.contains(array.name)) {
        count = countNaN(array);
        input = array.name;
      }
    if (!count) {
      good.push_back(std::move(sample));
      continue;
    }
    if (problems.empty()) {
      where = sample.name;
      what = "input '" + input + "' has " + std::to_string(count) + " NaN";
    }
    // Warnings are in the report, which is the same wherever the data is.
    problems.push_back(llvm::sys::path::filename(sample.name).str() +
                       ": input '" + input + "' has " + std::to_string(count) +
                       " NaN; the sample is left out");
  }
  size_t all = samples.size();
  bool isTolerable = problems.size() <= kTolerated * double(all);
  if (problems.empty() ||
      (!good.empty() &&
       (policy == NonFinitePolicy::Skip ||
        (policy == NonFinitePolicy::Tolerate && isTolerable)))) {
    llvm::append_range(warnings, problems);
    samples = std::move(good);
    return llvm::Error::success();
  }
  if (problems.size() > 1)
    what += "; so have others, " + std::to_string(problems.size()) + " of " +
            std::to_string(all) + " samples in all";
  if (!good.empty())
    what += "; --calib-nan=skip leaves them out";
  return makeError(Diag::BadCalibration, where, what);
}

llvm::Error qcc::checkStatistics(const Statistics &statistics,
                                 NonFinitePolicy policy,
                                 std::vector<std::string> &warnings) {
  bool isEmpty = true;
  std::vector<const TensorStatistics *> constant;
  for (const TensorStatistics &t : statistics.all()) {
    isEmpty &= t.count + t.nonFinite == 0;
    // Also numbers too small to be told apart.
    if (!t.channels.empty() && t.count > 1 &&
        t.max - t.min < std::numeric_limits<float>::min())
      constant.push_back(&t);
    // Elsewhere infinities may be meant: masks of attention have them.
    if (t.channels.empty() || !t.nonFinite)
      continue;
    uint64_t all = t.count + t.nonFinite;
    std::string what = std::to_string(t.nonFinite) + " of " +
                       std::to_string(all) +
                       " values are NaN or infinite on the samples";
    bool isTolerable = double(t.nonFinite) <= kTolerated * double(all);
    if (!t.count || policy == NonFinitePolicy::Refuse ||
        (policy == NonFinitePolicy::Tolerate && !isTolerable))
      return makeError(Diag::BadCalibration, t.name, what);
    warnings.push_back(t.name + ": " + what + "; they are left out");
  }
  if (!constant.empty()) {
    std::string text = constant[0]->name;
    llvm::raw_string_ostream os(text);
    os << ": all " << constant[0]->count << " values are "
       << llvm::format("%g", double(constant[0]->max)) << " on the samples";
    if (constant.size() > 1)
      os << ", and so it is with " << constant.size() - 1
         << " other inputs of layers";
    os << "; a range cannot be learned from that: give data as the model meets "
          "them";
    warnings.push_back(std::move(text));
  }
  if (isEmpty && !statistics.all().empty())
    return makeEmptyError(statistics.all()[0].name);
  return llvm::Error::success();
}

std::string qcc::hashSamples(ArrayRef<Sample> samples) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (const Sample &sample : samples) {
    for (const SampleArray &array : sample.arrays) {
      os << array.name.size() << " " << array.name << " " << int(array.code)
         << " " << int(array.bits);
      for (int64_t size : array.shape)
        os << " " << size;
      os << " " << hashBytes(StringRef(array.bytes.data(), array.bytes.size()))
         << "\n";
    }
    os << "\n";
  }
  return hashBytes(text);
}

//===----------------------------------------------------------------------===//
// Calibrator
//===----------------------------------------------------------------------===//

llvm::Expected<Statistics>
Calibrator::run(ModuleOp module, ArrayRef<Sample> samples,
                llvm::function_ref<void(size_t)> progress) {
  OwningOpRef<ModuleOp> observed = module.clone();
  std::vector<Observation> observations =
      insertObservations(*observed, options.scope);
  auto program = executor.compile(*observed);
  if (!program)
    return program.takeError();

  Statistics statistics;
  for (const Observation &observation : observations)
    statistics.get(observation.name);
  llvm::StringMap<std::unique_ptr<Gathered>> gathered;
  for (const Observation &observation : observations) {
    auto &place = gathered[observation.name];
    place = std::make_unique<Gathered>();
    place->observation = observation;
    place->statistics = &statistics.get(observation.name);
  }
  SampleSymbols shapes(*observed);
  std::vector<std::vector<int64_t>> symbols;
  for (const Sample &sample : samples)
    symbols.push_back(shapes.get(sample));

  auto observer = [&](size_t sample, StringRef name, ArrayRef<float> values) {
    Gathered &place = *gathered.find(name)->second;
    ChannelLayout layout =
        getLayout(place.observation, symbols[sample], values.size());
    std::lock_guard<std::mutex> lock(place.mutex);
    place.statistics->add(values, layout);
  };
  if (llvm::Error error =
          runSamples(**program, samples, options.threads, observer, progress))
    return std::move(error);
  statistics.samples = samples.size();
  return std::move(statistics);
}
