//===- ReportCharts.cpp - errors, roofline, channels ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ReportView.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>
#include <map>

using namespace llvm;
using namespace qcc::html;

namespace qcc {

/// Points of a picture; what is more is shown by what it has in common.
static constexpr size_t kMaxPoints = 400;
/// Rows of the tables beside pictures.
static constexpr size_t kTopRows = 20;

static std::string makeHeading(const ReportView &view, StringRef id,
                               StringRef text) {
  return "<h2 id=\"" + view.getId(id) + "\">" + text.str() + "</h2>\n";
}

/// Signal to noise in dB of a relative squared error.
static std::string formatDecibels(double error) {
  if (!std::isfinite(error))
    return "";
  return error > 0 ? print("%.1f dB", -10 * std::log10(error)) : "exact";
}

static void writeLegend(raw_ostream &os, const ReportView &view) {
  os << "<ul class=\"legend\">";
  for (const std::string &name : view.getPrecisions())
    os << "<li>" << makeSwatch(view.getSeries(name)) << escape(name) << "</li>";
  os << "</ul>\n";
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

static void drawErrors(raw_ostream &os, const ReportView &view,
                       ArrayRef<const OpReport *> layers) {
  // What is exact is drawn at the low end of the axis, what is not finite at
  // the high one.
  std::vector<double> values;
  for (const OpReport *op : layers) {
    values.push_back(getError(*op));
    if (!op->algorithm.empty())
      values.push_back(op->errorNearest);
  }
  // Of very many layers the worst of each run of neighbours.
  size_t width = divideCeil(layers.size(), kMaxPoints);
  Axis x{"layer, in the order in which they run", 0.5,
         double(layers.size()) + 0.5, false, /*isWhole=*/true};
  Chart chart(os, "Error of each layer's output",
              "One point per layer: the relative squared error of its output "
              "with weights rounded to nearest (hollow) and as chosen "
              "(filled). The table below has the values.",
              x, Axis::around("relative squared error", values, true));
  for (size_t begin = 0; begin < layers.size(); begin += width) {
    auto group = layers.slice(begin, std::min(width, layers.size() - begin));
    const OpReport *op = *std::max_element(
        group.begin(), group.end(), [](const OpReport *a, const OpReport *b) {
          return getError(*a) < getError(*b);
        });
    double at = double(begin) + double(group.size() + 1) / 2,
           error = getError(*op);
    std::string title = op->node + ": " + formatError(getError(*op));
    if (std::string decibels = formatDecibels(getError(*op)); !decibels.empty())
      title += " (" + decibels + ")";
    if (!op->algorithm.empty() && op->errorNearest != op->errorChosen) {
      double nearest = op->errorNearest;
      title += ", rounded to nearest " + formatError(op->errorNearest);
      chart.line(at, nearest, at, error, "stem");
      chart.point(at, nearest, 4, view.getSeries(op->executed), title, true);
    }
    chart.point(at, error, 4, view.getSeries(op->executed), title);
  }
}

void writeErrors(raw_ostream &os, const ReportView &view) {
  std::vector<const OpReport *> layers;
  for (const OpReport &op : view.report.ops)
    if (hasError(op))
      layers.push_back(&op);
  if (layers.empty())
    return;
  os << makeHeading(view, "errors", "Error of each layer");
  os << "<p>What quantizing changes in the output of each layer on the "
        "calibration data, relative to the output's power, on exact inputs.";
  if (any_of(layers, [](const OpReport *op) { return !op->algorithm.empty(); }))
    os << " Filled: with the weights as chosen; hollow: had they been rounded "
          "to nearest.";
  if (any_of(layers, [](const OpReport *op) { return !op->errorOf.empty(); }))
    os << " <b>Of corrected weights</b>: measured against weights that make up "
          "for what earlier layers lost, as gptq-correct does; these compare "
          "candidates of one layer, not layers and not algorithms.";
  os << " A layer that runs in f32 shows the error that it would have had."
        "</p>\n";
  writeLegend(os, view);
  drawErrors(os, view, layers);
  std::vector<const OpReport *> worst = layers;
  sortDown(worst, [](const OpReport *op) { return getError(*op); });
  size_t rows = std::min(worst.size(), kMaxRows);
  bool isLong = rows > kTopRows;
  auto writeRows = [&](ArrayRef<const OpReport *> ops, StringRef caption) {
    bool isChosen = any_of(
        layers, [](const OpReport *op) { return !op->algorithm.empty(); });
    std::vector<Column> columns = {
        {"node"}, {"runs in"}, {"error", true}, {"signal to noise", true}};
    if (isChosen)
      columns.insert(
          columns.end(),
          {{"rounded to nearest", true}, {"of that", true}, {"chosen by"}});
    columns.push_back({"reason"});
    Table table(os, caption, columns);
    for (const OpReport *op : ops) {
      std::vector<std::string> cells = {
          escape(op->node),
          makeSwatch(view.getSeries(op->executed)) + escape(op->executed),
          formatError(getError(*op)), formatDecibels(getError(*op))};
      if (isChosen) {
        bool has = !op->algorithm.empty() && op->errorNearest > 0;
        cells.push_back(has ? formatError(op->errorNearest) : "");
        cells.push_back(has ? formatShare(op->errorChosen / op->errorNearest)
                            : "");
        cells.push_back(escape(op->algorithm) +
                        (op->errorOf.empty()
                             ? ""
                             : ", of " + escape(op->errorOf) + " weights"));
      }
      cells.push_back(escape(op->reason));
      table.row(cells);
    }
  };
  ArrayRef<const OpReport *> all(worst);
  writeRows(all.take_front(isLong ? kTopRows : rows),
            "The layers with the largest errors");
  if (!isLong)
    return;
  os << "<details><summary>"
     << (rows == worst.size() ? "All layers"
                              : "The " + utostr(rows) + " worst layers")
     << " by error</summary>\n";
  writeRows(all.take_front(rows), "Layers by error");
  os << "</details>\n";
}

//===----------------------------------------------------------------------===//
// Roofline
//===----------------------------------------------------------------------===//

namespace {
/// Operations of one kernel and one amount of work: a point.
struct Work {
  const OpReport *op;
  size_t count = 0;
  double time = 0;
  double getIntensity() const { return op->flopsAt / op->bytesAt; }
  /// 10^9 operations per second.
  double getRate() const {
    return time > 0 ? op->flopsAt * double(count) / time / 1e3 : 0;
  }
};
} // namespace

/// Operations that are the same work, by the time they take.
static std::vector<Work> gatherWork(const ReportView &view) {
  std::map<std::tuple<StringRef, StringRef, double, double>, size_t> index;
  std::vector<Work> points;
  for (auto [op, time] : zip_equal(view.report.ops, view.times)) {
    if (!(op.flopsAt > 0) || !(op.bytesAt > 0) || !(time > 0))
      continue;
    auto [found, isNew] = index.try_emplace(
        {op.kernel, op.executed, op.flopsAt, op.bytesAt}, points.size());
    if (isNew)
      points.push_back({&op});
    ++points[found->second].count;
    points[found->second].time += time;
  }
  sortDown(points, [](const Work &work) { return work.time; });
  return points;
}

/// The flat and the sloped ceilings, or what they are called.
static void drawRoof(Chart &chart, const Ceilings &ceilings, bool isText) {
  double left = chart.getX().low, right = chart.getX().high,
         top = std::max(ceilings.f32, ceilings.int8),
         best = std::max(ceilings.cache, ceilings.memory);
  auto flat = [&](double rate, StringRef name) {
    if (!(rate > 0) || !(best > 0))
      return;
    if (!isText)
      chart.line(std::max(rate / best, left), rate, right, rate, "roof");
    else
      // Below its line where the other one is above.
      chart.label(right, rate, -4, rate < top ? 16 : -9,
                  (name + ": " + formatRate(rate) + " Gop/s").str(), "end",
                  "strong");
  };
  auto slope = [&](double bandwidth, StringRef name, bool isAbove) {
    // From where it enters the plot to the highest roof.
    double from = std::max(left, chart.getY().low / bandwidth),
           to = std::min(right, top / bandwidth);
    if (!(bandwidth > 0) || !(from < to))
      return;
    if (!isText)
      return chart.line(from, from * bandwidth, to, to * bandwidth,
                        bandwidth == best ? "roof" : "soft");
    double at = from * std::pow(to / from, isAbove ? 0.62 : 0.3);
    chart.label(at, at * bandwidth, isAbove ? -9 : 9, isAbove ? -3 : 12,
                (name + ": " + formatRate(bandwidth) + " GB/s").str(),
                isAbove ? "end" : "start", "strong");
  };
  flat(ceilings.f32, "f32");
  if (ceilings.int8 != ceilings.f32)
    flat(ceilings.int8, "int8");
  slope(ceilings.cache, "cache", /*isAbove=*/true);
  slope(ceilings.memory, "memory", /*isAbove=*/false);
}

static void drawRoofline(raw_ostream &os, const ReportView &view,
                         ArrayRef<Work> points) {
  const Ceilings &c = view.ceilings;
  std::vector<double> xs, ys = {c.f32 * 1.6, c.int8 * 1.6};
  for (const Work &point : points) {
    xs.push_back(point.getIntensity());
    ys.push_back(point.getRate());
  }
  // The ridges belong to the picture.
  if (c.memory > 0) {
    xs.push_back(std::max(c.f32, c.int8) / c.memory * 2);
    xs.push_back(0.1);
  }
  Chart chart(
      os, "Roofline",
      "Each point is an operation: across, operations per byte read and "
      "written; up, operations per second. Lines are what the machine can do "
      "at most. The table below has the values.",
      Axis::around("operations per byte", xs, true),
      Axis::around("10^9 operations per second", ys, true), 760, 420);
  drawRoof(chart, c, /*isText=*/false);
  // The largest first, so that small points are on top.
  for (const Work &point : points) {
    double share = point.time / view.totalTime;
    std::string title = point.op->node;
    if (point.count > 1)
      title += " and " + utostr(point.count - 1) + " like it";
    title += ": " + point.op->kernel + ", " + formatRate(point.getRate()) +
             " Gop/s, " + print("%.3g", point.getIntensity()) +
             " operations per byte, " + formatShare(share) + " of the time";
    chart.point(point.getIntensity(), point.getRate(),
                3.5 + 14 * std::sqrt(share), view.getSeries(point.op->executed),
                title);
  }
  drawRoof(chart, c, /*isText=*/true);
}

static void writeCeilings(raw_ostream &os, const ReportView &view) {
  const Ceilings &c = view.ceilings;
  os << "<p>Each point is an operation, the larger the more of the time it "
        "takes. Arithmetic counts a multiplication and an addition as two; "
        "bytes are those of operands and results, read and written once. Times "
        "are "
     << escape(view.describeTimes(), 400) << ". Ceilings are ";
  bool isProbed = view.isMeasured && view.ceilings.level == "measured";
  if (isProbed)
    os << "measured in the same process: loops of nothing but the instruction, "
          "and of nothing but reads.";
  else
    os << "modelled: " << escape(c.level)
       << " on one core at 3 GHz, no machine in particular.";
  os << " What is at most " << formatBytes(double(c.cacheBytes))
     << " is counted as read from the cache of a core, the rest from memory"
     << (view.isMeasured
             ? "; a point above the memory's line had its data in a "
               "cache."
             : ".");
  if (!view.report.sizes.empty()) {
    os << " Sizes: ";
    for (auto [i, size] : enumerate(view.report.sizes))
      os << (i ? ", " : "") << escape(size.first, 60) << " = " << size.second;
    os << ".";
  }
  os << "</p>\n";
}

void writeRoofline(raw_ostream &os, const ReportView &view) {
  std::vector<Work> points = gatherWork(view);
  if (points.empty())
    return;
  os << makeHeading(view, "roofline", "Roofline");
  writeCeilings(os, view);
  writeLegend(os, view);
  drawRoofline(os, view, ArrayRef(points).take_front(kMaxPoints));
  Table table(os, "The operations that take the most time",
              {{"node"},
               {"kernel"},
               {"runs in"},
               {"time", true},
               {"share", true},
               {"arithmetic", true},
               {"bytes", true},
               {"op/byte", true},
               {"Gop/s", true},
               {view.isMeasured ? "of the ceiling" : "bound by"}});
  for (const Work &point : ArrayRef(points).take_front(kTopRows)) {
    const OpReport &op = *point.op;
    double count = double(point.count),
           roof = std::min(view.getPeak(op),
                           point.getIntensity() * view.getBandwidth(op));
    std::string last = view.getBound(op).str();
    if (view.isMeasured)
      last =
          roof > 0 ? formatShare(point.getRate() / roof) + " of " + last : "";
    table.row({makeNameCell(op, point.count - 1), escape(op.kernel),
               makeSwatch(view.getSeries(op.executed)) + escape(op.executed),
               formatTime(point.time), formatShare(point.time / view.totalTime),
               formatCount(op.flopsAt * count), formatBytes(op.bytesAt * count),
               print("%.3g", point.getIntensity()), formatRate(point.getRate()),
               last});
  }
  table.row({"<b>all operations</b>", "", "", formatTime(view.totalTime),
             "100%", formatCount(view.totalFlops)});
}

//===----------------------------------------------------------------------===//
// Channels
//===----------------------------------------------------------------------===//

/// How much larger than the median channel the largest one is.
static double getRatio(const ActivationReport &activation) {
  return activation.median > 0 ? activation.largest / activation.median : 1;
}

static void drawChannels(raw_ostream &os,
                         ArrayRef<const ActivationReport *> shown) {
  std::vector<double> values = {1, kOutlierRatio * 1.3};
  for (const ActivationReport *activation : shown)
    values.push_back(getRatio(*activation));
  Axis x{"activation, in the order of the model", 0.5,
         double(shown.size()) + 0.5, false, /*isWhole=*/true};
  Chart chart(
      os, "Outlier channels of activations",
      "For each activation that is multiplied by a weight: the largest "
      "magnitude of its largest channels over that of its median "
      "channel. The table below has the values.",
      x, Axis::around("largest of a channel / median channel", values, true));
  chart.line(chart.getX().low, kOutlierRatio, chart.getX().high, kOutlierRatio,
             "soft");
  chart.label(chart.getX().low, kOutlierRatio, 6, -6,
              "outliers are above " + print("%.0f", kOutlierRatio) + "x");
  for (auto [i, activation] : enumerate(shown)) {
    double at = double(i) + 1, ratio = getRatio(*activation);
    std::string title = activation->value + ": largest channel " +
                        print("%.3g", ratio) + " times the median one, " +
                        utostr(activation->outliers) + " outliers of " +
                        utostr(activation->channels);
    chart.line(at, 1, at, ratio, "stem");
    for (const auto &[channel, largest] : activation->channelMaxima)
      if (activation->median > 0)
        chart.point(at, largest / activation->median, 2.6, 2,
                    activation->value + ": channel " + utostr(channel));
    chart.point(at, ratio, 4, activation->outliers ? 2 : 1, title);
  }
}

void writeChannels(raw_ostream &os, const ReportView &view) {
  ArrayRef<ActivationReport> all = view.report.activations;
  if (all.empty())
    return;
  size_t outliers = 0;
  for (const ActivationReport &activation : all)
    outliers += activation.outliers > 0;
  os << makeHeading(view, "channels", "Outlier channels");
  os << "<p>Channels whose largest magnitude on the calibration data is more "
        "than "
     << print("%.0f", kOutlierRatio)
     << " times that of the activation's median channel: one scale for a "
        "tensor spends its codes on them. "
     << outliers << " of " << all.size()
     << " activations have some. Transforms (SmoothQuant, AWQ) move them into "
        "the weights; what is shown is the model before.</p>\n";
  std::vector<const ActivationReport *> shown, order;
  for (const ActivationReport &activation : all)
    order.push_back(&activation);
  sortDown(order, [](const ActivationReport *a) { return getRatio(*a); });
  // The worst ones, in the order of the model.
  std::vector<const ActivationReport *> kept(
      order.begin(), order.begin() + std::min(order.size(), kMaxPoints));
  llvm::sort(kept);
  drawChannels(os, kept);
  Table table(os, "Activations with the largest channels",
              {{"activation"},
               {"channels", true},
               {"outliers", true},
               {"largest / median", true},
               {"largest", true},
               {"median channel", true},
               {"which channels"}});
  for (const ActivationReport *activation :
       ArrayRef(order).take_front(kTopRows)) {
    std::string which;
    for (const auto &[channel, largest] :
         ArrayRef(activation->channelMaxima).take_front(6))
      which += (which.empty() ? "" : ", ") + utostr(channel) + " (" +
               print("%.3g", largest) + ")";
    if (activation->outliers > 6)
      which += " and " + utostr(activation->outliers - 6) + " more";
    table.row({escape(activation->value), utostr(activation->channels),
               utostr(activation->outliers),
               print("%.1f", getRatio(*activation)),
               print("%.4g", activation->largest),
               print("%.4g", activation->median), which});
  }
}

} // namespace qcc
