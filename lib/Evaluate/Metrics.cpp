//===- Metrics.cpp - how far outputs are from a reference -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Evaluate/Metrics.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace qcc;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();
static constexpr unsigned kDraws = 1000;

llvm::StringRef qcc::getMetricName(Metric metric) {
  switch (metric) {
  case Metric::Cosine:
    return "cosine";
  case Metric::SQNR:
    return "sqnr";
  case Metric::Top1:
    return "top1";
  case Metric::Perplexity:
    return "perplexity";
  case Metric::KL:
    return "kl";
  }
  return "";
}

std::optional<Metric> qcc::parseMetric(llvm::StringRef name) {
  return llvm::StringSwitch<std::optional<Metric>>(name)
      .Case("cosine", Metric::Cosine)
      .Case("sqnr", Metric::SQNR)
      .Case("top1", Metric::Top1)
      .Case("perplexity", Metric::Perplexity)
      .Case("kl", Metric::KL)
      .Default(std::nullopt);
}

OutputView::OutputView(llvm::ArrayRef<float> values,
                       llvm::ArrayRef<int64_t> shape)
    : values(values) {
  classes = values.size();
  if (shape.size() < 2)
    return;
  rows = static_cast<size_t>(shape.front());
  classes = static_cast<size_t>(shape.back());
  for (int64_t size : shape.drop_front().drop_back())
    positions *= static_cast<size_t>(size);
}

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

static bool isFinite(llvm::ArrayRef<float> values) {
  return llvm::all_of(values, [](float v) { return std::isfinite(v); });
}

static RowScore scoreCosine(llvm::ArrayRef<float> r, llvm::ArrayRef<float> x) {
  if (!isFinite(x))
    return {-1, 0, 1};
  double product = 0, rr = 0, xx = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    product += double(r[i]) * x[i];
    rr += double(r[i]) * r[i];
    xx += double(x[i]) * x[i];
  }
  // Of two rows of zeros each is what it should be.
  if (rr == 0 || xx == 0)
    return {rr == xx ? 1.0 : 0.0, 0, 1};
  return {std::clamp(product / std::sqrt(rr) / std::sqrt(xx), -1.0, 1.0), 0, 1};
}

static RowScore scoreError(llvm::ArrayRef<float> r, llvm::ArrayRef<float> x) {
  RowScore score{0, 0, 1};
  for (size_t i = 0; i < r.size(); ++i) {
    double error = double(x[i]) - r[i];
    score.candidate += std::isfinite(error) ? error * error : kInfinity;
    score.reference += double(r[i]) * r[i];
  }
  return score;
}

/// The first largest class; none where something is not a number.
static std::optional<size_t> findLargest(llvm::ArrayRef<float> classes) {
  if (llvm::any_of(classes, [](float v) { return std::isnan(v); }))
    return std::nullopt;
  return std::max_element(classes.begin(), classes.end()) - classes.begin();
}

/// ln of the sum of the exponentials.
static double sumLog(llvm::ArrayRef<float> classes) {
  double largest = *std::max_element(classes.begin(), classes.end()), sum = 0;
  for (float value : classes)
    sum += std::exp(value - largest);
  return largest + std::log(sum);
}

/// Sum of p_r (ln p_r - ln p_x), with one exponential for each number: p_r is
/// e / all, and the logarithms of the sums are taken out of the sum.
static double getDivergence(llvm::ArrayRef<float> r, llvm::ArrayRef<float> x) {
  double largest = *std::max_element(r.begin(), r.end()), all = 0, sum = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    double e = std::exp(r[i] - largest);
    all += e;
    if (e > 0)
      sum += e * (double(r[i]) - x[i]);
  }
  sum = sum / all - (largest + std::log(all)) + sumLog(x);
  // It is never negative, but for roundings.
  return std::isnan(sum) ? kInfinity : std::max(sum, 0.0);
}

/// -ln p of a class.
static double getSurprise(llvm::ArrayRef<float> classes, size_t target) {
  double value = sumLog(classes) - classes[target];
  return std::isnan(value) ? kInfinity : value;
}

namespace {

/// Scores rows of two outputs of one shape.
class Scorer {
public:
  Scorer(Metric metric, const OutputView &r, const OutputView &x,
         llvm::ArrayRef<int64_t> targets)
      : metric(metric), r(r), x(x), targets(targets) {}

  RowScore score(size_t row) const {
    size_t size = r.positions * r.classes;
    if (metric == Metric::Cosine)
      return scoreCosine(r.values.slice(row * size, size),
                         x.values.slice(row * size, size));
    if (metric == Metric::SQNR)
      return scoreError(r.values.slice(row * size, size),
                        x.values.slice(row * size, size));
    RowScore sum;
    for (size_t p = 0; p < r.positions; ++p) {
      RowScore one = scorePosition(row, p);
      sum.candidate += one.candidate;
      sum.reference += one.reference;
      sum.count += one.count;
    }
    return sum;
  }

private:
  RowScore scorePosition(size_t row, size_t position) const {
    size_t at = row * r.positions + position;
    llvm::ArrayRef<float> a = r.values.slice(at * r.classes, r.classes),
                          b = x.values.slice(at * r.classes, r.classes);
    if (metric == Metric::KL)
      return {getDivergence(a, b), 0, 1};
    if (metric == Metric::Perplexity) {
      // The classes at a position are those of the token behind it.
      if (position + 1 == r.positions || targets[at + 1] < 0)
        return {};
      auto target = static_cast<size_t>(targets[at + 1]);
      return {getSurprise(b, target), getSurprise(a, target), 1};
    }
    std::optional<size_t> wanted = findLargest(a), got = findLargest(b);
    if (targets.empty())
      return {double(got && got == wanted), 1, 1};
    if (targets[at] < 0)
      return {};
    auto label = static_cast<size_t>(targets[at]);
    return {double(got == label), double(wanted == label), 1};
  }

  Metric metric;
  const OutputView &r, &x;
  llvm::ArrayRef<int64_t> targets;
};

} // namespace

llvm::Expected<std::vector<RowScore>>
qcc::scoreRows(Metric metric, const OutputView &reference,
               const OutputView &candidate, llvm::ArrayRef<int64_t> targets) {
  const OutputView &r = reference, &x = candidate;
  auto refuse = [&](const llvm::Twine &text) {
    return makeError(Diag::BadCalibration, getMetricName(metric), text);
  };
  if (r.rows != x.rows || r.positions != x.positions || r.classes != x.classes)
    return refuse("expected outputs of one shape, but got " +
                  llvm::Twine(r.values.size()) + " and " +
                  llvm::Twine(x.values.size()) + " elements");
  bool needsClasses = metric != Metric::Cosine && metric != Metric::SQNR;
  if (needsClasses && r.classes == 0)
    return refuse("expected classes, but the last dimension is empty");
  if (metric == Metric::Perplexity || !targets.empty()) {
    if (targets.size() != r.rows * r.positions)
      return refuse("expected " + llvm::Twine(r.rows * r.positions) +
                    " labels or tokens, but got " +
                    llvm::Twine(targets.size()));
    for (int64_t target : targets)
      if (target >= 0 && static_cast<size_t>(target) >= r.classes)
        return refuse("expected labels or tokens below " +
                      llvm::Twine(r.classes) + ", but got " +
                      llvm::Twine(target));
  }
  if (!isFinite(r.values) && metric != Metric::Top1)
    return refuse("expected finite outputs of the reference");
  Scorer scorer(metric, r, x, targets);
  std::vector<RowScore> scores;
  for (size_t row = 0; row < r.rows; ++row)
    scores.push_back(scorer.score(row));
  return std::move(scores);
}

//===----------------------------------------------------------------------===//
// Bootstrap
//===----------------------------------------------------------------------===//

/// The metric of sums over rows.
static double getValue(Metric metric, const RowScore &sum) {
  switch (metric) {
  case Metric::SQNR:
    if (sum.candidate == 0)
      return kInfinity;
    return 10 * std::log10(sum.reference / sum.candidate);
  case Metric::Perplexity:
    return std::exp(sum.candidate / sum.count);
  default:
    return sum.candidate / sum.count;
  }
}

static double getDrop(Metric metric, const RowScore &sum) {
  if (metric == Metric::Perplexity)
    return std::expm1((sum.candidate - sum.reference) / sum.count);
  return (sum.reference - sum.candidate) / sum.count;
}

static RowScore add(const RowScore &a, const RowScore &b) {
  return {a.candidate + b.candidate, a.reference + b.reference,
          a.count + b.count};
}

/// SplitMix64 (Steele, Lea, Flood 2014).
static uint64_t drawNext(uint64_t &state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// A function of the sums, with its interval over draws.
static Estimate
estimate(llvm::ArrayRef<RowScore> draws, const RowScore &all,
         llvm::function_ref<double(const RowScore &)> function) {
  std::vector<double> values;
  for (const RowScore &sum : draws)
    values.push_back(function(sum));
  llvm::sort(values);
  return {function(all), values[kDraws * 25 / 1000],
          values[kDraws - 1 - kDraws * 25 / 1000]};
}

llvm::Expected<MetricResult>
qcc::summarize(Metric metric, llvm::ArrayRef<RowScore> scores, bool hasLabels) {
  // Rows without positions that count would make draws without any.
  std::vector<RowScore> rows;
  llvm::copy_if(scores, std::back_inserter(rows),
                [](const RowScore &row) { return row.count > 0; });
  if (rows.empty())
    return makeError(Diag::BadCalibration, getMetricName(metric),
                     "expected outputs to measure, but there are none");
  RowScore all;
  for (const RowScore &row : rows)
    all = add(all, row);
  std::vector<RowScore> draws(kDraws);
  uint64_t state = 20240229;
  for (RowScore &sum : draws)
    for (size_t i = 0; i < rows.size(); ++i)
      sum = add(sum, rows[drawNext(state) % rows.size()]);
  MetricResult result;
  result.metric = metric;
  result.rows = rows.size();
  result.value = estimate(
      draws, all, [&](const RowScore &sum) { return getValue(metric, sum); });
  if (metric == Metric::Perplexity)
    result.reference = std::exp(all.reference / all.count);
  if (metric == Metric::Top1 && hasLabels)
    result.reference = all.reference / all.count;
  if (metric == Metric::Perplexity || metric == Metric::Top1)
    result.drop = estimate(
        draws, all, [&](const RowScore &sum) { return getDrop(metric, sum); });
  return result;
}

std::string qcc::describeGuess(llvm::StringRef who, double perplexity,
                               size_t classes, llvm::StringRef remedy) {
  if (perplexity <= double(classes))
    return "";
  return llvm::formatv("{0}: the perplexity of {1:f1} is above that of a guess "
                       "among {2} classes; {3}",
                       who, perplexity, classes, remedy)
      .str();
}
