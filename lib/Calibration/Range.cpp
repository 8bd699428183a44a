//===- Range.cpp - ranges of numbers to represent ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Range.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdlib>

using namespace qcc;

static constexpr double kDefaultPercentile = 99.99;
static constexpr int kDefaultCandidates = 256;

llvm::StringRef qcc::getRangeMethodName(RangeMethod method) {
  switch (method) {
  case RangeMethod::MinMax:
    return "minmax";
  case RangeMethod::Percentile:
    return "percentile";
  case RangeMethod::Entropy:
    return "entropy";
  case RangeMethod::MSE:
    return "mse";
  }
  return "";
}

std::optional<RangeMethod> qcc::parseRangeMethod(llvm::StringRef name) {
  return llvm::StringSwitch<std::optional<RangeMethod>>(name)
      .Case("minmax", RangeMethod::MinMax)
      .Case("percentile", RangeMethod::Percentile)
      .Case("entropy", RangeMethod::Entropy)
      .Case("mse", RangeMethod::MSE)
      .Default(std::nullopt);
}

std::string qcc::describeRangeMethod(RangeMethod method, double parameter) {
  std::string text = getRangeMethodName(method).str();
  if (parameter == 0)
    return text;
  llvm::raw_string_ostream(text) << ":" << llvm::format("%.12g", parameter);
  return text;
}

/// Whether chooseRange takes a parameter; 0 is the default's.
static bool isParameter(RangeMethod method, double parameter) {
  if (parameter == 0)
    return true;
  if (method == RangeMethod::Percentile)
    return parameter > 50 && parameter <= 100;
  return method == RangeMethod::MSE && parameter >= 1 && parameter <= 65536;
}

llvm::Expected<std::pair<RangeMethod, double>>
qcc::readRangeMethod(llvm::StringRef text) {
  auto [name, number] = text.split(':');
  std::optional<RangeMethod> method = parseRangeMethod(name);
  double parameter = 0;
  bool isGiven = text.contains(':');
  if (!method || (isGiven && number.getAsDouble(parameter)) ||
      (isGiven && parameter == 0) || !isParameter(*method, parameter))
    return makeError(Diag::Usage, "--calib-method",
                     "expected minmax, percentile, percentile:P (above 50, at "
                     "most 100), entropy, mse or mse:CANDIDATES, but got '" +
                         text + "'");
  return std::pair(*method, parameter);
}

/// What was seen between -limit and limit, widened to 0; symmetric if asked.
static Range clip(const TensorStatistics &t, double limit, bool isSymmetric) {
  auto a = static_cast<float>(std::min<double>(limit, t.getAbsMax()));
  if (isSymmetric)
    return {-a, a};
  return {std::min(0.0f, std::max(t.min, -a)),
          std::max(0.0f, std::min(t.max, a))};
}

//===----------------------------------------------------------------------===//
// Percentile
//===----------------------------------------------------------------------===//

/// Magnitude that the `rank`th smallest of `zeros` zeros and the counted
/// elements does not exceed: its bin's end.
static double findMagnitude(llvm::ArrayRef<uint64_t> bins, double width,
                            uint64_t zeros, uint64_t rank) {
  uint64_t seen = zeros;
  size_t bin = 0;
  while (seen < rank && bin < bins.size())
    seen += bins[bin++];
  return static_cast<double>(bin) * width;
}

static Range cutTails(const TensorStatistics &t, double percentage,
                      bool isSymmetric) {
  const Histogram &h = t.histogram;
  double width = h.getBinWidth();
  auto dropped =
      static_cast<uint64_t>(double(t.count) * (100 - percentage) / 100);
  if (isSymmetric) {
    std::vector<uint64_t> magnitudes(h.getPositive());
    for (size_t i = 0; i < magnitudes.size(); ++i)
      magnitudes[i] += h.getNegative()[i];
    double limit =
        findMagnitude(magnitudes, width, h.getZeros(), t.count - dropped);
    // Where only zeros were left, the others are what has to be represented.
    return clip(t, limit > 0 ? limit : t.getAbsMax(), true);
  }
  auto countAll = [](llvm::ArrayRef<uint64_t> bins) {
    uint64_t sum = 0;
    for (uint64_t count : bins)
      sum += count;
    return sum;
  };
  // Each end loses half. Seen from an end, the elements of the other sign are
  // like zeros: cutting that far leaves nothing on this side.
  uint64_t negative = countAll(h.getNegative()),
           positive = countAll(h.getPositive());
  dropped /= 2;
  double low = findMagnitude(h.getNegative(), width, t.count - negative,
                             t.count - dropped),
         high = findMagnitude(h.getPositive(), width, t.count - positive,
                              t.count - dropped);
  if (low == 0 && high == 0)
    return clip(t, t.getAbsMax(), false);
  return {std::min(0.0f, std::max(t.min, float(-low))),
          std::max(0.0f, std::min(t.max, float(high)))};
}

//===----------------------------------------------------------------------===//
// Entropy
//===----------------------------------------------------------------------===//

namespace {

/// Divergence of a distribution over bins from the same quantized to fewer
/// levels, for windows of the bins. Prefix sums make a window cost as much as
/// it has levels.
class Divergence {
public:
  explicit Divergence(std::vector<uint64_t> bins) : bins(std::move(bins)) {
    counts.push_back(0);
    filled.push_back(0);
    logs.push_back(0);
    for (uint64_t count : this->bins) {
      counts.push_back(counts.back() + count);
      filled.push_back(filled.back() + (count != 0));
      logs.push_back(logs.back() + timesLog(double(count)));
    }
  }

  size_t size() const { return bins.size(); }

  /// KL(P || Q): P is the window with the elements outside of it added to its
  /// outermost bins, Q the window alone with the elements of each level shared
  /// equally among the level's bins that are not empty. Infinite if P has an
  /// element where Q has none.
  double get(size_t begin, size_t end, size_t levels) const {
    uint64_t below = counts[begin], above = counts.back() - counts[end],
             total = counts.back(), inside = counts[end] - counts[begin];
    if (!inside || (below && !bins[begin]) || (above && !bins[end - 1]))
      return HUGE_VAL;
    double cross = 0;
    for (size_t level = 0; level < levels; ++level) {
      size_t first = begin + level * (end - begin) / levels,
             last = begin + (level + 1) * (end - begin) / levels;
      auto sum = double(counts[last] - counts[first]);
      if (sum == 0)
        continue;
      double share = sum / double(filled[last] - filled[first]);
      double outer = (first == begin ? double(below) : 0) +
                     (last == end ? double(above) : 0);
      cross += (sum + outer) * std::log(share);
    }
    double own = logs[end] - logs[begin];
    own += moved(begin, below) + moved(end - 1, above);
    return (own - cross) / double(total) + std::log(double(inside)) -
           std::log(double(total));
  }

private:
  static double timesLog(double x) { return x > 0 ? x * std::log(x) : 0; }
  /// What `more` elements in a bin change of the sum of x log x.
  double moved(size_t bin, uint64_t more) const {
    return timesLog(double(bins[bin]) + double(more)) -
           timesLog(double(bins[bin]));
  }

  std::vector<uint64_t> bins, counts;
  std::vector<uint32_t> filled;
  std::vector<double> logs; ///< of count * log(count)
};

} // namespace

/// Bins up to the last one that is not empty.
static size_t countUsed(llvm::ArrayRef<uint64_t> bins) {
  size_t used = bins.size();
  while (used && !bins[used - 1])
    --used;
  return used;
}

static Range minimizeDivergence(const TensorStatistics &t, unsigned bits,
                                bool isSymmetric) {
  const Histogram &h = t.histogram;
  size_t negative = countUsed(h.getNegative()),
         positive = countUsed(h.getPositive());
  // The bins in the order of their values; symmetric: of their magnitudes.
  std::vector<uint64_t> bins;
  size_t levels = size_t(1) << (isSymmetric ? bits - 1 : bits);
  if (isSymmetric) {
    positive = std::max(negative, positive);
    negative = 0;
    for (size_t i = 0; i < positive; ++i)
      bins.push_back(h.getNegative()[i] + h.getPositive()[i]);
  } else {
    for (size_t i = negative; i-- > 0;)
      bins.push_back(h.getNegative()[i]);
    bins.insert(bins.end(), h.getPositive().begin(),
                h.getPositive().begin() + positive);
  }
  Divergence divergence(std::move(bins));
  size_t last = std::max(negative, positive), best = last;
  double least = HUGE_VAL;
  for (size_t limit = last; limit > 0; --limit) {
    size_t begin = negative - std::min(limit, negative),
           end = negative + std::min(limit, positive);
    if (end - begin < levels)
      break;
    double value = divergence.get(begin, end, levels);
    if (value < least) {
      least = value;
      best = limit;
    }
  }
  return clip(t, double(best) * h.getBinWidth(), isSymmetric);
}

//===----------------------------------------------------------------------===//
// Squared error
//===----------------------------------------------------------------------===//

/// Sum of the squared errors of the elements, taken to be at the middle of
/// their bins, on a range's grid.
static double sumErrors(const Histogram &h, Range range, unsigned bits,
                        bool isSymmetric) {
  Grid grid = getGrid(range, bits, isSymmetric, /*isSigned=*/false);
  double scale = grid.scale, width = h.getBinWidth(), sum = 0;
  int highest = (1 << bits) - 1, lowest = isSymmetric ? 1 : 0;
  // Where bins are no finer than steps, the middle says nothing of an
  // element's place between two steps: all places are equally likely.
  bool isCoarse = scale < 2 * width;
  auto add = [&](double value, uint64_t count) {
    double code = std::nearbyint(value / scale) + grid.zeroPoint;
    double clipped = std::clamp<double>(code, lowest, highest);
    double error = value - scale * (clipped - grid.zeroPoint);
    if (isCoarse && clipped == code)
      sum += double(count) * scale * scale / 12;
    else
      sum += double(count) * error * error;
  };
  for (unsigned i = 0; i < Histogram::kBins; ++i) {
    double middle = (i + 0.5) * width;
    if (uint64_t count = h.getPositive()[i])
      add(middle, count);
    if (uint64_t count = h.getNegative()[i])
      add(-middle, count);
  }
  return sum;
}

static Range minimizeError(const TensorStatistics &t, unsigned bits,
                           bool isSymmetric, int candidates) {
  Range best = clip(t, t.getAbsMax(), isSymmetric);
  double least = HUGE_VAL;
  for (int k = candidates; k > 0; --k) {
    Range range = clip(t, double(t.getAbsMax()) * k / candidates, isSymmetric);
    double sum = sumErrors(t.histogram, range, bits, isSymmetric);
    if (sum < least) {
      least = sum;
      best = range;
    }
  }
  return best;
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

llvm::Expected<Range> qcc::chooseRange(const TensorStatistics &statistics,
                                       RangeMethod method, unsigned bits,
                                       bool isSymmetric, double parameter) {
  if (bits < 2 || bits > 16)
    return makeError(Diag::Usage, statistics.name,
                     "expected 2 to 16 bits, but got " + llvm::Twine(bits));
  if (!isParameter(method, parameter))
    return makeError(Diag::Usage, statistics.name,
                     "'" + describeRangeMethod(method, parameter) +
                         "' is no way to choose a range");
  if (!statistics.count)
    return makeError(Diag::BadCalibration, statistics.name,
                     "expected a range of values, but the samples gave none "
                     "that is finite");
  Range all = clip(statistics, statistics.getAbsMax(), isSymmetric);
  if (statistics.histogram.empty())
    return all; // only zeros
  switch (method) {
  case RangeMethod::MinMax:
    return all;
  case RangeMethod::Percentile:
    return cutTails(statistics, parameter == 0 ? kDefaultPercentile : parameter,
                    isSymmetric);
  case RangeMethod::Entropy:
    return minimizeDivergence(statistics, bits, isSymmetric);
  case RangeMethod::MSE:
    return minimizeError(statistics, bits, isSymmetric,
                         parameter == 0 ? kDefaultCandidates : int(parameter));
  }
  return all;
}

llvm::Expected<std::vector<Range>>
qcc::chooseRanges(llvm::StringRef name, llvm::ArrayRef<float> values,
                  ChannelLayout layout, RangeMethod method, unsigned bits,
                  bool isSymmetric, double parameter) {
  std::vector<Range> ranges;
  auto channels = static_cast<size_t>(layout.channels),
       inner = static_cast<size_t>(layout.inner);
  std::vector<float> channel;
  for (size_t c = 0; c < channels; ++c) {
    channel.clear();
    for (size_t i = c * inner; i < values.size(); i += channels * inner)
      llvm::append_range(channel, values.slice(i, inner));
    TensorStatistics statistics;
    statistics.name = (name + " channel " + llvm::Twine(c)).str();
    statistics.add(channel);
    llvm::Expected<Range> range =
        chooseRange(statistics, method, bits, isSymmetric, parameter);
    if (!range)
      return range.takeError();
    ranges.push_back(*range);
  }
  return std::move(ranges);
}

Grid qcc::getGrid(Range range, unsigned bits, bool isSymmetric, bool isSigned) {
  int middle = 1 << (bits - 1), lowest = isSigned ? -middle : 0;
  double span = isSymmetric ? std::max(-range.min, range.max)
                            : double(range.max) - range.min;
  double steps = isSymmetric ? middle - 1 : 2 * middle - 1;
  Grid grid;
  grid.zeroPoint = isSymmetric ? lowest + middle : lowest;
  if (!(span > 0))
    return grid;
  grid.scale = std::max(static_cast<float>(span / steps), FLT_MIN);
  if (!isSymmetric)
    grid.zeroPoint =
        lowest +
        static_cast<int>(std::clamp(
            std::nearbyint(-double(range.min) / grid.scale), 0.0, steps));
  return grid;
}
