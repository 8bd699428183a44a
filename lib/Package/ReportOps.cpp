//===- ReportOps.cpp - precisions, kernels and operations -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ReportView.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include <map>

using namespace llvm;
using namespace qcc::html;

namespace qcc {

static std::string makeHeading(const ReportView &view, StringRef id,
                               StringRef text) {
  return "<h2 id=\"" + view.getId(id) + "\">" + text.str() + "</h2>\n";
}

//===----------------------------------------------------------------------===//
// Precisions
//===----------------------------------------------------------------------===//

namespace {
/// A quantity of operations, summed by precision.
struct Stack {
  StringRef name;
  std::vector<double> parts; ///< by getPrecisions
  double total = 0;
  std::string (*format)(double);
};
} // namespace

static std::vector<Stack> makeStacks(const ReportView &view) {
  size_t count = view.getPrecisions().size();
  std::vector<Stack> stacks = {
      {"operations", std::vector<double>(count), 0, formatCount},
      {"arithmetic", std::vector<double>(count), 0, formatCount},
      {"weights", std::vector<double>(count), 0, formatBytes},
      {view.isMeasured ? "time" : "least time", std::vector<double>(count), 0,
       formatTime}};
  StringMap<size_t> index;
  for (auto [i, name] : enumerate(view.getPrecisions()))
    index[name] = i;
  for (auto [op, time] : zip_equal(view.report.ops, view.times)) {
    const double values[] = {1, op.flopsAt, double(op.weightBytes), time};
    for (auto [stack, value] : zip_equal(stacks, values)) {
      stack.parts[index[op.executed]] += value;
      stack.total += value;
    }
  }
  return stacks;
}

static void writeStacks(raw_ostream &os, const ReportView &view,
                        ArrayRef<Stack> stacks) {
  os << "<div class=\"bars\" aria-hidden=\"true\">\n";
  for (const Stack &stack : stacks) {
    if (!(stack.total > 0))
      continue;
    os << "<span>" << stack.name << "</span><span class=\"stack\">";
    for (auto [name, part] : zip_equal(view.getPrecisions(), stack.parts))
      // Written so that what is no share draws nothing.
      if (double share = part / stack.total; share > 0 && share <= 1)
        os << "<i class=\"s" << view.getSeries(name)
           << "\" style=\"flex:" << print("%.4f", 100 * share) << "\" title=\""
           << escape(name) << ": " << formatShare(part / stack.total)
           << "\"></i>";
    os << "</span>\n";
  }
  os << "</div>\n";
  Table table(os, "What runs in each precision, and its share",
              {{"runs in"},
               {"operations", true},
               {"arithmetic", true},
               {"weights", true},
               {view.isMeasured ? "time" : "least time", true}});
  for (auto [i, name] : enumerate(view.getPrecisions())) {
    std::vector<std::string> cells = {makeSwatch(view.getSeries(name)) +
                                      escape(name)};
    for (const Stack &stack : stacks)
      cells.push_back(stack.parts[i] > 0
                          ? stack.format(stack.parts[i]) + " (" +
                                formatShare(stack.parts[i] / stack.total) + ")"
                          : "");
    table.row(cells);
  }
}

namespace {
/// Operations that became the same for the same reason.
struct Outcome {
  size_t count = 0;
  double flops = 0;
  std::vector<StringRef> nodes; ///< the first three
};
} // namespace

/// What a reason is, with a mark that does not need colour.
static std::string makeReason(const OpReport &op) {
  StringRef reason = op.reason;
  if (reason.starts_with("not supported"))
    return "<span class=\"bad\">\u2715 " + escape(reason) + "</span>";
  return (reason.starts_with("as asked") ? "\u2713 " : "\u25cb ") +
         escape(reason);
}

static void writeReasons(raw_ostream &os, const ReportView &view) {
  using Key = std::tuple<std::string, std::string, std::string>;
  MapVector<Key, Outcome, std::map<Key, unsigned>> outcomes;
  for (const OpReport &op : view.report.ops) {
    Outcome &outcome = outcomes[{op.requested, op.executed, makeReason(op)}];
    ++outcome.count;
    outcome.flops += op.flopsAt;
    if (outcome.nodes.size() < 3)
      outcome.nodes.push_back(op.node);
  }
  Table table(os, "Why each operation runs in its precision",
              {{"reason"},
               {"asked"},
               {"runs in"},
               {"operations", true},
               {"of the arithmetic", true},
               {"for example"}});
  for (auto [number, entry] : enumerate(outcomes)) {
    const auto &[key, outcome] = entry;
    const auto &[requested, executed, reason] = key;
    if (number == kMaxRows) {
      table.row({utostr(outcomes.size() - kMaxRows) + " more reasons"});
      break;
    }
    std::string nodes;
    for (StringRef node : outcome.nodes)
      nodes += (nodes.empty() ? "" : ", ") + escape(node, 60);
    table.row({reason, escape(requested),
               makeSwatch(view.getSeries(executed)) + escape(executed),
               utostr(outcome.count),
               view.totalFlops > 0
                   ? formatShare(outcome.flops / view.totalFlops)
                   : "",
               nodes});
  }
}

void writePrecisions(raw_ostream &os, const ReportView &view) {
  os << makeHeading(view, "precision", "Precision");
  os << "<p>Asked for: <b>" << escape(view.report.precision)
     << "</b>. Nothing runs in another precision without a reason.</p>\n";
  writeStacks(os, view, makeStacks(view));
  writeReasons(os, view);
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

void writeKernels(raw_ostream &os, const ReportView &view) {
  struct Use {
    size_t count = 0;
    double flops = 0, time = 0;
  };
  StringMap<Use> uses;
  for (auto [op, time] : zip_equal(view.report.ops, view.times)) {
    Use &use = uses[op.kernel];
    ++use.count;
    use.flops += op.flopsAt;
    use.time += time;
  }
  std::vector<const KernelReport *> order;
  for (const KernelReport &kernel : view.report.kernels)
    order.push_back(&kernel);
  sortDown(order, [&](const auto *kernel) { return uses[kernel->name].time; });
  os << makeHeading(view, "kernels", "Kernels");
  os << "<p class=\"dim\">One kernel serves all operations of the same shapes "
        "and formats. Times are "
     << escape(view.describeTimes(), 400) << ".</p>\n";
  Table table(os, "Kernels, by the time spent in them",
              {{"kernel"},
               {"made by"},
               {"schedule"},
               {"operations", true},
               {"arithmetic", true},
               {"time", true},
               {"share", true}});
  for (auto [number, kernel] : enumerate(order)) {
    if (number == kMaxRows) {
      table.row({utostr(order.size() - kMaxRows) +
                 " more kernels, all in report.json"});
      break;
    }
    const Use &use = uses[kernel->name];
    table.row({escape(kernel->name), escape(kernel->emitter),
               escape(kernel->schedule), utostr(use.count),
               formatCount(use.flops), use.time > 0 ? formatTime(use.time) : "",
               use.time > 0 ? formatShare(use.time / view.totalTime) : ""});
  }
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

namespace {
/// Operations that differ in their nodes only.
struct Row {
  const OpReport *op;
  size_t count = 0;
  double time = 0;
};
} // namespace

/// A row for each operation, or, where these are too many, for each kind.
static std::vector<Row> makeRows(const ReportView &view) {
  std::vector<Row> rows;
  bool isLong = view.report.ops.size() > kMaxRows;
  std::map<std::vector<StringRef>, size_t> kinds;
  for (auto [op, time] : zip_equal(view.report.ops, view.times)) {
    size_t index = rows.size();
    if (isLong) {
      std::vector<StringRef> key = {op.entry,     op.op,       op.kernel,
                                    op.requested, op.executed, op.reason,
                                    op.flops,     op.bytes};
      index = kinds.try_emplace(std::move(key), index).first->second;
    }
    if (index == rows.size())
      rows.push_back({&op});
    ++rows[index].count;
    rows[index].time += time;
  }
  return rows;
}

static std::string makeCount(const std::string &expression, double value,
                             std::string (*format)(double)) {
  int64_t number;
  if (expression.empty())
    return "?";
  std::string text = format(value);
  // What depends on sizes shows how.
  if (StringRef(expression).getAsInteger(10, number))
    text = "<span title=\"" + escape(expression) + "\">" + text + "</span>";
  return text;
}

static std::string makeError(const OpReport &op) {
  return hasError(op) ? formatError(getError(op)) : "";
}

static std::vector<std::string> makeCells(const ReportView &view,
                                          const Row &row) {
  const OpReport &op = *row.op;
  std::string precision =
      makeSwatch(view.getSeries(op.executed)) + escape(op.executed);
  if (op.requested != op.executed)
    precision +=
        "<span class=\"also\">asked: " + escape(op.requested) + "</span>";
  std::string reason = makeReason(op);
  for (StringRef note : {StringRef(op.algorithm), StringRef(op.transform)})
    if (!note.empty())
      reason += "<span class=\"also\">" + escape(note) + "</span>";
  StringRef kind = op.op;
  kind.consume_front("qcc.");
  return {makeNameCell(op, row.count - 1),
          escape(kind),
          escape(op.kernel),
          precision,
          reason,
          makeError(op),
          makeCount(op.flops, op.flopsAt * double(row.count), formatCount),
          makeCount(op.bytes, op.bytesAt * double(row.count), formatBytes),
          op.weightBytes
              ? formatBytes(double(op.weightBytes) * double(row.count))
              : "",
          row.time > 0 ? formatTime(row.time) : "",
          row.time > 0 ? formatShare(row.time / view.totalTime) : ""};
}

void writeOperations(raw_ostream &os, const ReportView &view) {
  const Report &report = view.report;
  std::vector<Row> rows = makeRows(view);
  os << makeHeading(view, "operations", "Operations");
  os << "<p>All " << report.ops.size() << " operations of the program";
  if (rows.size() < report.ops.size())
    os << " in " << rows.size()
       << " kinds (same kernel, sizes, precision and reason); report.json has "
          "each with its name";
  os << ", in the order in which they run. Times are "
     << escape(view.describeTimes(), 400) << ".</p>\n";
  Table table(os, "Every operation: where it runs, in what, why, and its work",
              {{"node"},
               {"operation"},
               {"kernel"},
               {"runs in"},
               {"reason"},
               {"error", true},
               {"arithmetic", true},
               {"bytes", true},
               {"weights", true},
               {"time", true},
               {"share", true}});
  StringRef entry;
  for (auto [number, row] : enumerate(rows)) {
    if (number == kMaxRows) {
      size_t left = 0;
      for (const Row &other : ArrayRef(rows).drop_front(number))
        left += other.count;
      table.row({utostr(left) + " more operations, all in report.json"});
      break;
    }
    if (report.entries.size() > 1 && row.op->entry != entry) {
      entry = row.op->entry;
      table.row({"<b>entry " + escape(entry) + "</b>"});
    }
    table.row(makeCells(view, row),
              row.op->requested == row.op->executed ? "" : "off");
  }
}

void writeIdleNodes(raw_ostream &os, const ReportView &view) {
  const Report &report = view.report;
  StringMap<size_t> counts;
  for (const IdleNode &node : report.idle)
    ++counts[node.reason];
  size_t computed = 0;
  StringSet<> seen;
  for (const OpReport &op : report.ops)
    for (StringRef node : op.nodes)
      computed += seen.insert(node).second;
  os << makeHeading(view, "nodes", "Nodes of the model");
  os << "<p>Of " << computed + report.idle.size() << " nodes " << computed
     << " are computed by the operations above. The others have no operation "
        "of their own:</p>\n<ul>\n";
  const std::pair<StringRef, StringRef> kinds[] = {
      {"constant", "computed by the compiler and stored with the weights"},
      {"view", "the same bytes under another shape: no work"},
      {"host", "branches, loops and sizes, which the host program takes"},
      {"merged", "replaced: equal to another node, part of a larger operation, "
                 "folded into sizes, or read by nothing"}};
  for (const auto &[kind, text] : kinds)
    if (size_t count = counts.lookup(kind))
      os << "<li><b>" << count << "</b> " << text << "</li>\n";
  os << "</ul>\n";
  if (!report.hostSteps.empty()) {
    os << "<p>Steps of the host program without a kernel: ";
    for (auto [i, step] : enumerate(report.hostSteps))
      os << (i ? ", " : "") << step.second << " " << escape(step.first);
    os << ".</p>\n";
  }
  if (report.idle.empty())
    return;
  os << "<details><summary>The nodes without an operation</summary>\n";
  {
    Table table(os, "Nodes without an operation",
                {{"node"}, {"operator"}, {"what became of it"}});
    for (auto [number, node] : enumerate(report.idle)) {
      if (number == kMaxRows) {
        table.row({utostr(report.idle.size() - kMaxRows) +
                   " more nodes, all in report.json"});
        break;
      }
      table.row({escape(node.node), escape(node.op), escape(node.reason)});
    }
  }
  os << "</details>\n";
}

} // namespace qcc
