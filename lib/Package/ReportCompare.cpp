//===- ReportCompare.cpp - accuracy before and after ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ReportView.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace llvm;
using namespace qcc::html;

namespace qcc {

//===----------------------------------------------------------------------===//
// Metrics
//===----------------------------------------------------------------------===//

static std::string formatMetric(StringRef metric, double value) {
  if (!std::isfinite(value))
    return metric == "sqnr" ? "exact" : "infinite";
  if (metric == "cosine")
    return print("%.6f", value);
  if (metric == "sqnr")
    return print("%.1f dB", value);
  if (metric == "top1")
    return print("%.2f%%", 100 * value);
  if (metric == "perplexity")
    return print("%.3f", value);
  return print("%.3g", value);
}

/// How far from the reference, less is better; and what that is called.
static double getLoss(const MeasuredMetric &metric) {
  double value = metric.value.value;
  if (metric.metric == "cosine")
    return std::max(1 - value, 0.0);
  if (metric.metric == "sqnr")
    return std::isfinite(value) ? std::pow(10.0, -value / 10) : 0;
  if (metric.metric == "top1")
    return metric.drop ? metric.drop->value : 1 - value;
  return value;
}

static StringRef getLossName(StringRef metric, bool hasDrop) {
  if (metric == "cosine")
    return "1 - cosine";
  if (metric == "sqnr")
    return "noise / signal";
  if (metric == "top1")
    return hasDrop ? "top1, worse by" : "share of other classes";
  return metric;
}

/// The metrics of a page in the order of their names' first occurrence.
static std::vector<StringRef> getMetrics(const Measurement &measurement) {
  std::vector<StringRef> names;
  for (const MeasuredMetric &metric : measurement.metrics)
    if (!is_contained(names, metric.metric))
      names.push_back(metric.metric);
  return names;
}

//===----------------------------------------------------------------------===//
// Accuracy
//===----------------------------------------------------------------------===//

/// An interval as a picture in a cell; all of a metric have one scale.
static std::string drawInterval(const MeasuredMetric &metric, Axis axis) {
  axis.from = 8;
  axis.to = 232;
  auto at = [&](double value) { return print("%.1f", axis.place(value)); };
  std::string text =
      "<svg class=\"range\" viewBox=\"0 0 240 22\" aria-hidden=\"true\">";
  if (metric.reference && std::isfinite(*metric.reference)) {
    std::string x = at(*metric.reference);
    text += "<line class=\"ref\" x1=\"" + x + "\" x2=\"" + x +
            "\" y1=\"1\" y2=\"21\"/>";
  }
  if (std::isfinite(metric.value.value)) {
    text += "<line class=\"range\" x1=\"" + at(metric.value.low) + "\" x2=\"" +
            at(metric.value.high) + "\" y1=\"11\" y2=\"11\"/>";
    text += "<circle class=\"s1\" r=\"4.5\" cy=\"11\" cx=\"" +
            at(metric.value.value) + "\"/>";
  }
  return text + "</svg>";
}

static void writeMetric(raw_ostream &os, const ReportPage &page,
                        StringRef name) {
  std::vector<double> values;
  bool hasReference = false, hasDrop = false;
  uint64_t rows = 0;
  for (const MeasuredMetric &metric : page.measurement->metrics)
    if (metric.metric == name) {
      append_values(values, metric.value.value, metric.value.low,
                    metric.value.high);
      if (metric.reference)
        values.push_back(*metric.reference);
      hasReference |= metric.reference.has_value();
      hasDrop |= metric.drop.has_value();
      rows = metric.rows;
    }
  Axis axis = Axis::around("", values, /*isLog=*/false);
  std::vector<Column> columns = {{"artifact"}};
  if (hasReference)
    columns.push_back({"before", true});
  columns.push_back({hasReference ? "after" : "value", true});
  columns.push_back({"95% interval", true});
  columns.push_back(
      {hasReference ? "interval, and before (dashed)" : "interval"});
  if (hasDrop)
    columns.push_back({"worse by (95% interval)", true});
  Table table(os,
              (name + " over " + Twine(rows) +
               (name == "cosine" || name == "sqnr" || name == "top1"
                    ? " rows; more is better"
                    : " rows; less is better"))
                  .str(),
              columns);
  auto share = [](double value) { return print("%+.2f%%", 100 * value); };
  for (const MeasuredMetric &metric : page.measurement->metrics) {
    if (metric.metric != name)
      continue;
    std::vector<std::string> cells = {escape(getTitle(page, metric.artifact))};
    if (hasReference)
      cells.push_back(metric.reference ? formatMetric(name, *metric.reference)
                                       : "");
    cells.push_back("<b>" + formatMetric(name, metric.value.value) + "</b>");
    cells.push_back(formatMetric(name, metric.value.low) + " to " +
                    formatMetric(name, metric.value.high));
    cells.push_back(drawInterval(metric, axis));
    if (hasDrop)
      cells.push_back(metric.drop ? share(metric.drop->value) + " (" +
                                        share(metric.drop->low) + " to " +
                                        share(metric.drop->high) + ")"
                                  : "");
    table.row(cells);
  }
}

void writeAccuracy(raw_ostream &os, const ReportPage &page) {
  os << "<h2 id=\"accuracy\">Accuracy</h2>\n";
  if (!page.measurement) {
    os << "<p>Not measured on data. This puts accuracy before and after in a "
          "page like this one:</p>\n<pre>qcc eval ARTIFACT "
          "--reference=MODEL.onnx --data=DATA --report=report.html</pre>\n";
    return;
  }
  os << "<p>Outputs compared with those of <b>"
     << escape(page.measurement->reference)
     << "</b> in float. Intervals hold the middle 95% of 1,000 draws of the "
        "rows with replacement.</p>\n";
  for (StringRef name : getMetrics(*page.measurement))
    writeMetric(os, page, name);
}

//===----------------------------------------------------------------------===//
// Pareto fronts
//===----------------------------------------------------------------------===//

namespace {
/// An artifact in a plane of cost and loss.
struct Candidate {
  size_t artifact;
  double cost, loss;
  bool isOnFront = true;
};
} // namespace

static void markFront(MutableArrayRef<Candidate> candidates) {
  for (Candidate &one : candidates)
    one.isOnFront = none_of(candidates, [&](const Candidate &other) {
      return other.cost <= one.cost && other.loss <= one.loss &&
             (other.cost < one.cost || other.loss < one.loss);
    });
}

/// `hasFloor`: a loss of 0 is exact, and drawn on a logarithmic axis all the
/// same.
static void drawFront(raw_ostream &os, const ReportPage &page,
                      ArrayRef<Candidate> candidates, StringRef cost,
                      StringRef loss, bool hasFloor, ArrayRef<double> scaled) {
  std::vector<double> xs(scaled), ys;
  // What is exact lies a decade below the smallest error.
  double least = INFINITY;
  for (const Candidate &one : candidates)
    if (one.loss > 0)
      least = std::min(least, one.loss);
  bool isLog =
      std::isfinite(least) && none_of(candidates, [&](const auto &one) {
        return one.loss < 0 || (one.loss == 0 && !hasFloor);
      });
  auto place = [&](const Candidate &one) {
    return isLog && one.loss == 0 ? least / 10 : one.loss;
  };
  for (const Candidate &one : candidates)
    ys.push_back(place(one));
  xs.push_back(0);
  Axis x = Axis::around(cost, xs, false);
  x.low = 0;
  Chart chart(os, (loss + " over " + cost).str(),
              "Each point is an artifact; the dashed line joins those that no "
              "other beats in both. The table below has the values.",
              x, Axis::around(loss, ys, isLog), 760, 340);
  std::vector<std::pair<double, double>> front;
  for (auto [one, at] : zip_equal(candidates, scaled))
    if (one.isOnFront)
      front.emplace_back(at, place(one));
  llvm::sort(front);
  for (size_t i = 0; i + 1 < front.size(); ++i) {
    chart.line(front[i].first, front[i].second, front[i + 1].first,
               front[i].second, "front");
    chart.line(front[i + 1].first, front[i].second, front[i + 1].first,
               front[i + 1].second, "front");
  }
  for (auto [one, at] : zip_equal(candidates, scaled)) {
    std::string title = getTitle(page, one.artifact);
    chart.point(at, place(one), kLabelledRadius, one.isOnFront ? 1 : 2, title,
                !one.isOnFront);
  }
  for (auto [one, at] : zip_equal(candidates, scaled)) {
    std::string title = getTitle(page, one.artifact);
    bool isRight =
        chart.getX().place(at) > 0.7 * (chart.getX().to - chart.getX().from);
    chart.label(at, place(one), isRight ? -11 : 11, 4, title,
                isRight ? "end" : "start");
  }
}

/// The front of one metric over one kind of cost, with its table.
static void writeOneFront(raw_ostream &os, const ReportPage &page,
                          ArrayRef<ReportView> views, StringRef metric,
                          bool byTime) {
  std::vector<Candidate> candidates;
  bool hasDrop = false;
  for (const MeasuredMetric &one : page.measurement->metrics) {
    if (one.metric != metric || !std::isfinite(getLoss(one)))
      continue;
    const ReportView &view = views[one.artifact];
    candidates.push_back(
        {one.artifact, byTime ? view.totalTime : getArtifactBytes(view.report),
         getLoss(one)});
    hasDrop |= one.drop.has_value();
  }
  if (candidates.size() < 2)
    return;
  markFront(candidates);
  double largest = 0;
  for (const Candidate &one : candidates)
    largest = std::max(largest, one.cost);
  // Units that give the axis short numbers.
  double unit = byTime ? (largest >= 2e3 ? 1e3 : 1)
                       : (largest >= 2 << 20   ? 1 << 20
                          : largest >= 2 << 10 ? 1 << 10
                                               : 1);
  std::string cost = byTime ? (unit > 1 ? "milliseconds" : "microseconds")
                            : (unit > 1024 ? "size in MiB"
                               : unit > 1  ? "size in KiB"
                                           : "size in bytes");
  std::vector<double> scaled;
  for (const Candidate &one : candidates)
    scaled.push_back(one.cost / unit);
  drawFront(os, page, candidates, cost, getLossName(metric, hasDrop),
            metric == "cosine" || metric == "sqnr", scaled);
  Table table(os, (metric + (byTime ? " and time" : " and size")).str(),
              {{"artifact"},
               {byTime ? "time" : "size", true},
               {getLossName(metric, hasDrop), true},
               {"on the front"}});
  for (const Candidate &one : candidates)
    table.row({escape(getTitle(page, one.artifact)),
               byTime ? formatTime(one.cost) : formatBytes(one.cost),
               one.loss == 0 ? "0" : print("%.4g", one.loss),
               one.isOnFront ? "\u2713 yes"
                             : "\u25cb no: another is better in both"});
}

void writeFront(raw_ostream &os, const ReportPage &page,
                ArrayRef<ReportView> views) {
  if (!page.measurement || page.artifacts.size() < 2)
    return;
  os << "<h2 id=\"front\">Size and error</h2>\n<p>Lower left is better. Size "
        "is "
        "that of library and weights on disk.</p>\n";
  bool isTimed =
      all_of(views, [](const ReportView &v) { return v.isMeasured; });
  for (StringRef metric : getMetrics(*page.measurement)) {
    writeOneFront(os, page, views, metric, /*byTime=*/false);
    if (isTimed)
      writeOneFront(os, page, views, metric, /*byTime=*/true);
  }
}

} // namespace qcc
