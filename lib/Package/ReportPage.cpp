//===- ReportPage.cpp - report.html -----------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ReportView.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace qcc::html;

namespace qcc {

/// Ten digits that are replaced by the size of the page when it is known.
static constexpr StringLiteral kSizeMark = "@@page-size@@";

static void writeTile(raw_ostream &os, StringRef name, const std::string &value,
                      const std::string &note) {
  os << "<div><dt>" << name << "</dt><dd>" << value;
  if (!note.empty())
    os << "<small>" << note << "</small>";
  os << "</dd></div>\n";
}

/// How much runs in another format than f32, and in which.
static void writePrecisionTile(raw_ostream &os, const ReportView &view) {
  ArrayRef<std::string> formats = view.getLowPrecisions();
  const std::string &asked = view.report.precision;
  if (formats.empty() && asked == "f32")
    return;
  size_t low = 0, kept = 0;
  for (const OpReport &op : view.report.ops) {
    bool isFloat = op.executed == "f32";
    low += !isFloat;
    kept += isFloat && op.isNotAsAsked();
  }
  std::string name = "arithmetic in ";
  if (formats.size() > 1)
    name += utostr(formats.size()) + " formats";
  else
    name += escape(formats.empty() ? asked : formats.front(), 60);
  std::string note = utostr(low) + " operations";
  if (formats.size() > 1) {
    constexpr size_t kShown = 3;
    note += ": ";
    for (auto [i, format] : enumerate(formats.take_front(kShown)))
      note += (i ? ", " : "") + escape(format, 60);
    if (formats.size() > kShown)
      note += " and " + utostr(formats.size() - kShown) + " more";
  }
  if (kept)
    note += "; " + utostr(kept) + " in f32 against what was asked";
  writeTile(os, name,
            view.totalFlops > 0 ? formatShare(view.lowFlops / view.totalFlops)
                                : "?",
            note);
}

/// What to know first.
static void writeTiles(raw_ostream &os, const ReportView &view) {
  const Report &report = view.report;
  os << "<dl class=\"tiles\">\n";
  writePrecisionTile(os, view);
  writeTile(os, "operations", utostr(report.ops.size()),
            "in " + utostr(report.kernels.size()) + " kernels");
  writeTile(os, "weights", formatBytes(double(report.weightBytes)),
            report.weightsEmbedded ? "inside the library"
                                   : "in weights.safetensors");
  writeTile(os, "library", formatBytes(double(report.libraryBytes)),
            "code" + std::string(report.weightsEmbedded ? " and weights" : ""));
  if (view.totalTime > 0)
    writeTile(os, view.isMeasured ? "time of a run" : "least time of a run",
              formatTime(view.totalTime),
              view.isMeasured
                  ? "in kernels, measured"
                  : "modelled for a core of " + escape(view.ceilings.level));
  const OpReport *worst = nullptr;
  for (const OpReport &op : report.ops)
    if (hasError(op) && op.requested == op.executed &&
        (!worst || getError(op) > getError(*worst)))
      worst = &op;
  if (worst)
    writeTile(os, "error of the worst layer", formatError(getError(*worst)),
              escape(worst->node, 60));
  os << "</dl>\n";
}

static void writeInterface(raw_ostream &os, const ReportView &view) {
  const Report &report = view.report;
  os << "<h2 id=\"" << view.getId("program") << "\">Inputs and outputs</h2>\n";
  Table table(os, "What the library is called with",
              {{"name"}, {"entry"}, {""}, {"type"}, {"sizes"}});
  size_t rows = 0;
  auto write = [&](const EntryReport &entry, ArrayRef<TensorReport> tensors,
                   StringRef kind) {
    for (const TensorReport &tensor : tensors)
      if (++rows <= kMaxRows)
        table.row({escape(tensor.name), escape(entry.name), kind.str(),
                   escape(tensor.type), escape(tensor.shape)});
  };
  for (const EntryReport &entry : report.entries) {
    write(entry, entry.inputs, "input");
    write(entry, entry.outputs, "output");
    if (++rows <= kMaxRows)
      table.row({"(working memory)", escape(entry.name), "", "",
                 entry.arenaBytes ? formatBytes(double(*entry.arenaBytes))
                                  : "depends on sizes"});
  }
  if (rows > kMaxRows)
    table.row({utostr(rows - kMaxRows) + " more, all in report.json"});
}

static void writeWarnings(raw_ostream &os, const ReportView &view) {
  if (view.report.warnings.empty())
    return;
  os << "<h2 id=\"" << view.getId("warnings") << "\">Warnings</h2>\n<ul>\n";
  for (const std::string &warning :
       ArrayRef(view.report.warnings).take_front(kMaxRows))
    os << "<li>" << escape(warning, 1000) << "</li>\n";
  if (view.report.warnings.size() > kMaxRows)
    os << "<li>" << view.report.warnings.size() - kMaxRows
       << " more, all in report.json</li>\n";
  os << "</ul>\n";
}

/// The sections of one artifact.
static void writeArtifact(raw_ostream &os, const ReportView &view) {
  writeWarnings(os, view);
  writePrecisions(os, view);
  writeErrors(os, view);
  writeAssignment(os, view);
  writeRoofline(os, view);
  writeKernels(os, view);
  writeChannels(os, view);
  writeInterface(os, view);
  writeOperations(os, view);
  writeIdleNodes(os, view);
}

static void writeSubtitle(raw_ostream &os, const Report &report) {
  os << "<p class=\"dim\">" << escape(report.precision);
  if (!report.algorithms.empty())
    os << " by " << escape(join(report.algorithms, ", "));
  os << " for " << escape(report.target) << ", qcc " << escape(report.qcc)
     << "</p>\n";
}

/// Links to the sections that the body has.
static void writeLinks(raw_ostream &os, StringRef body) {
  const std::pair<StringRef, StringRef> sections[] = {
      {"accuracy", "Accuracy"},
      {"front", "Size and error"},
      {"artifacts", "Artifacts"},
      {"warnings", "Warnings"},
      {"precision", "Precision"},
      {"errors", "Error of each layer"},
      {"assignment", "Mixed precision"},
      {"roofline", "Roofline"},
      {"kernels", "Kernels"},
      {"channels", "Outliers"},
      {"program", "Inputs and outputs"},
      {"operations", "Operations"},
      {"nodes", "Nodes"}};
  os << "<nav aria-label=\"Sections\"><ul>\n";
  for (const auto &[id, name] : sections)
    if (body.contains(("id=\"" + id + "\"").str()))
      os << "<li><a href=\"#" << id << "\">" << name << "</a></li>\n";
  os << "</ul></nav>\n";
}

static void writeArtifacts(raw_ostream &os, const ReportPage &page,
                           ArrayRef<ReportView> views) {
  os << "<h2 id=\"artifacts\">Artifacts</h2>\n";
  {
    Table table(os, "What each artifact is",
                {{"artifact"},
                 {"precision"},
                 {"target"},
                 {"size", true},
                 {"weights", true},
                 {"arithmetic below f32", true},
                 {"in f32 against what was asked", true},
                 {"least time, or measured", true}});
    for (auto [i, view] : enumerate(views)) {
      size_t kept = count_if(view.report.ops, [](const OpReport &op) {
        return op.executed == "f32" && op.isNotAsAsked();
      });
      table.row({escape(getTitle(page, i)), escape(view.report.precision),
                 escape(view.report.target),
                 formatBytes(getArtifactBytes(view.report)),
                 formatBytes(double(view.report.weightBytes)),
                 view.lowFlops > 0
                     ? formatShare(view.lowFlops / view.totalFlops)
                     : "none",
                 utostr(kept),
                 view.totalTime > 0 ? formatTime(view.totalTime) +
                                          (view.isMeasured ? "" : " (least)")
                                    : "not known"});
    }
  }
  for (auto [i, view] : enumerate(views)) {
    os << "<details class=\"artifact\"><summary>" << escape(getTitle(page, i))
       << "</summary>\n";
    writeSubtitle(os, view.report);
    writeTiles(os, view);
    writeArtifact(os, view);
    os << "</details>\n";
  }
}

static std::string writeBody(const ReportPage &page,
                             ArrayRef<ReportView> views) {
  std::string body;
  raw_string_ostream os(body);
  writeAccuracy(os, page);
  if (views.size() == 1) {
    writeArtifact(os, views.front());
  } else {
    writeFront(os, page, views);
    writeArtifacts(os, page, views);
  }
  return body;
}

std::string writeReportHtml(const ReportPage &page) {
  std::vector<ReportView> views;
  for (const PageArtifact &artifact : page.artifacts)
    views.emplace_back(artifact, page.artifacts.size() == 1
                                     ? std::string()
                                     : "a" + utostr(views.size() + 1) + "-");
  bool isSingle = views.size() == 1;
  std::string title =
      isSingle ? getTitle(page, 0) : utostr(views.size()) + " artifacts";
  if (page.measurement && !isSingle)
    title += " against " + page.measurement->reference;
  std::string body = writeBody(page, views), text;
  raw_string_ostream os(text);
  // Nothing on the page may run or load, whatever a name says.
  os << "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
        "'none'; style-src 'unsafe-inline'\"><meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"><title>"
     << escape(title) << "</title><style>" << getStyle()
     << "</style></head><body>\n<header><h1>" << escape(title) << "</h1>\n";
  if (isSingle) {
    writeSubtitle(os, views.front().report);
    writeTiles(os, views.front());
  }
  writeLinks(os, body);
  os << "</header>\n<main>\n"
     << body << "</main>\n<footer>Written by qcc "
     << escape(views.front().report.qcc) << ". This page is " << kSizeMark
     << " bytes and needs no network and no scripts; report.json beside it has "
        "the same data and more of it.</footer>\n</body></html>\n";
  std::string size = utostr(text.size());
  // As long as the mark, so that the size is still true.
  size.insert(0, kSizeMark.size() - size.size(), ' ');
  text.replace(text.rfind(kSizeMark.str()), kSizeMark.size(), size);
  return text;
}

} // namespace qcc
