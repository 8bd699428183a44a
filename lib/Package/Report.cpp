//===- Report.cpp - report.json and report.html -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Writers.h"
#include "qcc/Support/Version.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include <map>

using namespace llvm;

namespace qcc {

std::string formatBytes(uint64_t bytes) {
  static constexpr const char *kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  unsigned unit = 0;
  double value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  std::string text;
  raw_string_ostream os(text);
  os << (unit == 0 ? format("%.0f ", value) : format("%.1f ", value))
     << kUnits[unit];
  return text;
}

std::vector<std::pair<std::string, unsigned>>
countPrecisions(ArrayRef<OpReport> ops) {
  std::map<std::string, unsigned> counts;
  for (const OpReport &op : ops)
    ++counts[op.executed];
  return {counts.begin(), counts.end()};
}

//===----------------------------------------------------------------------===//
// report.json
//===----------------------------------------------------------------------===//

std::string writeReportJson(const PackageFacts &facts) {
  const PackageRequest &request = facts.request;
  std::string text;
  raw_string_ostream os(text);
  json::OStream json(os, /*IndentSize=*/1);
  json.object([&] {
    json.attribute("schema", "qcc-report/1");
    json.attribute("qcc", QCC_VERSION_STRING);
    json.attribute("model", json::fixUTF8(request.modelName));
    json.attribute("target", request.recipe.target);
    json.attribute("precision", request.recipe.precision);
    json.attributeObject("summary", [&] {
      json.attribute("ops", request.ops.size());
      json.attribute("kernels", facts.program.numKernels);
      json.attribute("launches", facts.program.numSites);
      json.attribute("library_bytes", facts.result.libraryBytes);
      json.attribute("weight_bytes", facts.result.weightBytes);
      json.attribute("weights_embedded", facts.result.weightsEmbedded);
      json.attributeObject("precisions", [&] {
        for (const auto &[name, count] : countPrecisions(request.ops))
          json.attribute(name, count);
      });
    });
    json.attributeArray("warnings", [&] {
      for (const std::string &warning : request.warnings)
        json.value(json::fixUTF8(warning));
    });
    if (!request.assignment.empty()) {
      json.attributeBegin("assignment");
      json.rawValue(request.assignment);
      json.attributeEnd();
    }
    json.attributeArray("ops", [&] {
      for (const OpReport &op : request.ops)
        json.object([&] {
          json.attribute("node", json::fixUTF8(op.node));
          json.attribute("op", op.op);
          json.attribute("kernel", op.kernel);
          json.attribute("requested", op.requested);
          json.attribute("executed", op.executed);
          json.attribute("reason", json::fixUTF8(op.reason));
          if (!op.algorithm.empty()) {
            json.attribute("algorithm", op.algorithm);
            json.attribute("error_nearest", op.errorNearest);
            json.attribute("error_chosen", op.errorChosen);
          }
          if (op.layerError >= 0)
            json.attribute("layer_error", op.layerError);
          if (!op.transform.empty())
            json.attribute("transform", json::fixUTF8(op.transform));
          json.attribute("flops", json::fixUTF8(op.flops));
          json.attribute("bytes", json::fixUTF8(op.bytes));
        });
    });
  });
  os << '\n';
  return text;
}

//===----------------------------------------------------------------------===//
// report.html
//===----------------------------------------------------------------------===//

static constexpr StringLiteral kStyle = R"css(
:root { color-scheme: light dark; --line: #8884; --bar: #4a7ab5; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.node { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
tr.off td { background: #d9a40022; }
dl { display: grid; grid-template-columns: max-content auto; gap: .2rem 1.2rem; } dt { opacity: .7; } dd { margin: 0; }
svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
)css";

/// Text with the characters that HTML gives a meaning replaced.
static std::string escape(StringRef text) {
  std::string result, valid = json::fixUTF8(text);
  raw_string_ostream os(result);
  printHTMLEscaped(valid, os);
  return result;
}

/// A bar for each row, scaled to the largest.
static void writeBars(raw_ostream &os,
                      ArrayRef<std::pair<std::string, uint64_t>> rows,
                      function_ref<std::string(uint64_t)> show) {
  uint64_t largest = 1;
  for (const auto &[name, value] : rows)
    largest = std::max(largest, value);
  os << "<svg width=\"100%\" viewBox=\"0 0 700 " << rows.size() * 26
     << "\" role=\"img\">\n";
  for (auto [index, row] : llvm::enumerate(rows)) {
    unsigned width = static_cast<unsigned>(
        400.0 * static_cast<double>(row.second) / static_cast<double>(largest));
    os << "<text x=\"0\" y=\"" << index * 26 + 17 << "\">" << escape(row.first)
       << "</text><rect x=\"180\" y=\"" << index * 26 + 4 << "\" width=\""
       << std::max(width, 1u)
       << "\" height=\"18\" fill=\"var(--bar)\"/><text x=\"" << 188 + width
       << "\" y=\"" << index * 26 + 17 << "\">" << show(row.second)
       << "</text>\n";
  }
  os << "</svg>\n";
}

static void writeSummary(raw_ostream &os, const PackageFacts &facts) {
  const PackageRequest &request = facts.request;
  auto row = [&](StringRef key, const Twine &value) {
    os << "<dt>" << key << "</dt><dd>" << escape(value.str()) << "</dd>\n";
  };
  os << "<dl>\n";
  row("target", request.recipe.target);
  row("precision", request.recipe.precision);
  row("operations", Twine(request.ops.size()));
  row("kernels", Twine(facts.program.numKernels) + " in " +
                     Twine(facts.program.numSites) + " launches");
  row("weights", formatBytes(facts.result.weightBytes) +
                     (facts.result.weightsEmbedded ? ", in the library" : ""));
  row("library", formatBytes(facts.result.libraryBytes));
  for (const EntryText &entry : facts.program.entries) {
    row("arena of " + escape(entry.name),
        entry.isStatic ? formatBytes(entry.arenaBytes) : "depends on sizes");
    auto describe = [](const TensorText &tensor) {
      return tensor.name + " " + tensor.type + " [" + join(tensor.dims, ", ") +
             "]";
    };
    for (const TensorText &tensor : entry.inputs)
      row("input", describe(tensor));
    for (const TensorText &tensor : entry.outputs)
      row("output", describe(tensor));
  }
  for (const LevelText &level : facts.program.levels)
    row("runs on", level.name + ": " + join(level.features, " "));
  os << "</dl>\n";
}

static void writeOpTable(raw_ostream &os, ArrayRef<OpReport> ops) {
  os << "<table><thead><tr><th>node<th>op<th>kernel<th>asked<th>runs "
        "in<th>reason<th class=\"n\">operations<th class=\"n\">bytes</tr>"
        "</thead><tbody>\n";
  for (const OpReport &op : ops) {
    // What differs from what was asked for is to be seen at once.
    os << (op.requested == op.executed ? "<tr>" : "<tr class=\"off\">");
    os << "<td class=\"node\">" << escape(op.node);
    for (const std::string &cell :
         {op.op, op.kernel, op.requested, op.executed, op.reason})
      os << "<td>" << escape(cell);
    os << "<td class=\"n\">" << escape(op.flops) << "<td class=\"n\">"
       << escape(op.bytes) << "</tr>\n";
  }
  os << "</tbody></table>\n";
}

std::string writeReportHtml(const PackageFacts &facts) {
  const PackageRequest &request = facts.request;
  std::string text;
  raw_string_ostream os(text);
  os << "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\">"
        "<title>"
     << escape(request.modelName) << "</title><style>" << kStyle
     << "</style></head><body>\n<h1>" << escape(request.modelName) << "</h1>\n";
  writeSummary(os, facts);

  os << "<h2>Precision of the operations</h2>\n";
  std::vector<std::pair<std::string, uint64_t>> precisions;
  for (const auto &[name, count] : countPrecisions(request.ops))
    precisions.emplace_back(name, count);
  writeBars(os, precisions, [](uint64_t count) { return utostr(count); });

  os << "<h2>Size</h2>\n";
  std::pair<std::string, uint64_t> sizes[] = {
      {"library", facts.result.libraryBytes},
      {"weights", facts.result.weightBytes}};
  writeBars(os, sizes, formatBytes);

  if (!request.warnings.empty()) {
    os << "<h2>Warnings</h2>\n<ul>\n";
    for (const std::string &warning : request.warnings)
      os << "<li>" << escape(warning) << "\n";
    os << "</ul>\n";
  }
  os << "<h2>Operations</h2>\n";
  writeOpTable(os, request.ops);
  os << "<p>qcc " << QCC_VERSION_STRING << "</p>\n</body></html>\n";
  return text;
}

} // namespace qcc
