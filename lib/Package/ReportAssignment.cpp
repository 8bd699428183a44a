//===- ReportAssignment.cpp - mixed precision on the page -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ReportView.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace llvm;
using namespace qcc::html;

namespace qcc {

/// Points of a front that are drawn.
static constexpr size_t kMaxPoints = 400;

/// Bytes of a size axis.
static constexpr double kMebi = 1 << 20;

static void drawAssignment(raw_ostream &os, const AssignmentReport &plan) {
  std::vector<double> xs, ys;
  auto note = [&](ArrayRef<AssignmentPoint> points) {
    for (const AssignmentPoint &point : points.take_front(kMaxPoints)) {
      xs.push_back(point.bytes / kMebi);
      ys.push_back(point.error);
    }
  };
  note(plan.front);
  note(plan.uniform);
  note(plan.chosen);
  Chart chart(os, "Size and error of assignments",
              "Points on the dashed line are assignments that no other beats "
              "in size and predicted error; the filled square is the chosen "
              "one as measured, triangles have one format for all layers. The "
              "table below has the values.",
              Axis::around("size in MiB", xs, false),
              Axis::around(plan.metric.empty() ? StringRef("error")
                                               : StringRef(plan.metric),
                           ys, true),
              760, 340);
  std::vector<AssignmentPoint> front(
      plan.front.begin(),
      plan.front.begin() + std::min(plan.front.size(), kMaxPoints));
  sortDown(front, [](const AssignmentPoint &point) { return -point.bytes; });
  for (size_t i = 0; i < front.size(); ++i) {
    if (i)
      chart.line(front[i - 1].bytes / kMebi, front[i - 1].error,
                 front[i].bytes / kMebi, front[i].error, "front");
    chart.point(front[i].bytes / kMebi, front[i].error, 3, 0,
                formatBytes(front[i].bytes) + ", predicted " +
                    formatError(front[i].error));
  }
  auto mark = [&](const AssignmentPoint &point, unsigned series,
                  StringRef text) {
    chart.point(point.bytes / kMebi, point.error, kLabelledRadius, series,
                (text + ": " + formatBytes(point.bytes) + ", " +
                 formatError(point.error))
                    .str());
  };
  auto label = [&](const AssignmentPoint &point, unsigned series,
                   StringRef text) {
    double at = point.bytes / kMebi;
    bool isRight = chart.getX().place(at) > 0.75 * chart.getX().to;
    chart.label(at, point.error, isRight ? -11 : 11, series == 1 ? 15 : -5,
                text, isRight ? "end" : "start", series == 1 ? "strong" : "");
  };
  // All points before the first label, which keeps off them.
  ArrayRef<AssignmentPoint> uniform =
      ArrayRef(plan.uniform).take_front(kMaxRows / 10);
  for (const AssignmentPoint &point : uniform)
    mark(point, 2, point.format);
  mark(plan.chosen, 1, "chosen");
  label(plan.chosen, 1, "chosen");
  for (const AssignmentPoint &point : uniform)
    label(point, 2, point.format);
}

static void writePoints(raw_ostream &os, const AssignmentReport &plan) {
  Table table(
      os, "The chosen assignment beside one format for all layers",
      {{"formats"}, {"size", true}, {"of float", true}, {"error", true}});
  auto row = [&](const std::string &name, const AssignmentPoint &point) {
    table.row(
        {name, formatBytes(point.bytes),
         plan.floatBytes > 0 ? formatShare(point.bytes / plan.floatBytes) : "",
         formatError(point.error)});
  };
  row("<b>chosen, measured</b>", plan.chosen);
  AssignmentPoint predicted = plan.chosen;
  predicted.error = plan.predictedError;
  row("chosen, as predicted", predicted);
  for (const AssignmentPoint &point :
       ArrayRef(plan.uniform).take_front(kMaxRows))
    row(escape(point.format) + ", as predicted", point);
}

static void writeLayers(raw_ostream &os, const AssignmentReport &plan) {
  Table table(os, "What each layer got, and what else it could have had",
              {{"node"},
               {"format"},
               {"bits", true},
               {"error", true},
               {"why"},
               {"others: bits, error"}});
  for (auto [number, layer] : enumerate(plan.layers)) {
    if (number == kMaxRows) {
      table.row({utostr(plan.layers.size() - kMaxRows) +
                 " more layers, all in report.json"});
      break;
    }
    std::string bits, error, others;
    for (const AssignmentCandidate &candidate :
         ArrayRef(layer.candidates).take_front(16)) {
      if (candidate.format == layer.format) {
        bits = print("%.3g", candidate.bits);
        error = formatError(candidate.error);
        continue;
      }
      others += (others.empty() ? "" : "; ") + escape(candidate.format) + ": " +
                print("%.3g", candidate.bits) + ", " +
                formatError(candidate.error);
    }
    table.row({escape(layer.node), escape(layer.format), bits, error,
               layer.rule.empty() ? "by size and error" : escape(layer.rule),
               others});
  }
}

void writeAssignment(raw_ostream &os, const ReportView &view) {
  if (!view.report.assigned)
    return;
  const AssignmentReport &plan = *view.report.assigned;
  os << "<h2 id=\"" << view.getId("assignment") << "\">Mixed precision</h2>\n"
     << "<p>Each layer got the format with which the whole has the least error "
        "within the budget (where only a drop is limited: the least size, or "
        "time where convolutions are among them)";
  for (const auto &[name, value] : plan.budgets)
    os << " <b>" << escape(name) << " " << escape(value) << "</b>";
  os << ". Error is " << escape(plan.metric) << " on the calibration data, "
     << escape(plan.sensitivity) << " for each layer and format.";
  if (!plan.dropMetric.empty())
    os << " Measured with all of them: " << escape(plan.dropMetric)
       << " worse by " << print("%.3g%%", 100 * plan.drop) << ".";
  os << "</p>\n";
  drawAssignment(os, plan);
  writePoints(os, plan);
  writeLayers(os, plan);
}

} // namespace qcc
