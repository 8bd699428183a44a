//===- EvalReport.cpp - what qcc eval found ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "EvalReport.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <array>
#include <cmath>

using namespace llvm;

namespace qcc::driver {

//===----------------------------------------------------------------------===//
// Table
//===----------------------------------------------------------------------===//

static std::string print(const char *text, double value) {
  std::string result;
  raw_string_ostream(result) << format(text, value);
  return result;
}

/// A value in the digits that its metric deserves.
static std::string printValue(Metric metric, double value) {
  switch (metric) {
  case Metric::Cosine:
    return print("%.6f", value);
  case Metric::SQNR:
    return print("%.1f dB", value);
  case Metric::Top1:
    return print("%.2f%%", 100 * value);
  case Metric::Perplexity:
    return print("%.3f", value);
  case Metric::KL:
    return print("%.3g", value);
  }
  return "";
}

/// What rounds to 0 has no sign of less: below 0 is better.
static std::string printShare(double value) {
  std::string text = print("%+.2f%%", 100 * value);
  return text == "-0.00%" ? "+0.00%" : text;
}

void printTable(const EvalOptions &options,
                ArrayRef<std::vector<MetricResult>> results) {
  using Row = std::array<std::string, 6>;
  std::vector<Row> rows = {
      {"artifact", "metric", "value", "95% interval", "reference", "worse by"}};
  for (auto [artifact, list] : zip_equal(options.artifacts, results))
    for (const MetricResult &r : list) {
      auto write = [&](double value) { return printValue(r.metric, value); };
      Row row = {artifact, getMetricName(r.metric).str(), write(r.value.value),
                 write(r.value.low) + " to " + write(r.value.high)};
      if (r.reference)
        row[4] = write(*r.reference);
      if (r.drop)
        row[5] = printShare(r.drop->value) + " (" + printShare(r.drop->low) +
                 " to " + printShare(r.drop->high) + ")";
      rows.push_back(row);
    }
  std::array<size_t, 6> widths = {};
  for (const Row &row : rows)
    for (auto [width, text] : zip_equal(widths, row))
      width = std::max(width, text.size());
  for (const Row &row : rows) {
    std::string text;
    raw_string_ostream os(text);
    for (auto [width, cell] : zip_equal(widths, row))
      os << left_justify(cell, width + 2);
    outs() << StringRef(text).rtrim() << "\n";
  }
  outs() << "reference: " << options.reference << ", " << results[0][0].rows
         << " rows\n";
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

static json::Value toJson(double value) {
  return std::isfinite(value) ? json::Value(value) : json::Value(nullptr);
}

static json::Object toJson(const Estimate &estimate) {
  return json::Object{{"value", toJson(estimate.value)},
                      {"low", toJson(estimate.low)},
                      {"high", toJson(estimate.high)}};
}

std::string writeJson(const EvalOptions &options,
                      ArrayRef<std::vector<MetricResult>> results) {
  json::Array list;
  for (auto [artifact, metrics] : zip_equal(options.artifacts, results))
    for (const MetricResult &r : metrics) {
      json::Object object = toJson(r.value);
      object["artifact"] = json::fixUTF8(artifact);
      object["metric"] = getMetricName(r.metric);
      object["rows"] = int64_t(r.rows);
      if (r.reference)
        object["reference"] = toJson(*r.reference);
      if (r.drop)
        object["drop"] = toJson(*r.drop);
      list.push_back(std::move(object));
    }
  json::Value root =
      json::Object{{"reference", json::fixUTF8(options.reference)},
                   {"results", std::move(list)}};
  return formatv("{0:1}\n", root).str();
}

//===----------------------------------------------------------------------===//
// Gates
//===----------------------------------------------------------------------===//

Error checkGates(const EvalOptions &options,
                 ArrayRef<std::vector<MetricResult>> results) {
  Error errors = Error::success();
  auto miss = [&](StringRef artifact, const Twine &text) {
    errors = joinErrors(std::move(errors),
                        makeError(Diag::AccuracyMissed, artifact, text));
  };
  for (auto [artifact, list] : zip_equal(options.artifacts, results))
    for (const MetricResult &r : list) {
      // Written so that what is no number misses.
      if (options.minCosine && r.metric == Metric::Cosine &&
          !(r.value.value >= *options.minCosine))
        miss(artifact, "expected a cosine of at least " +
                           print("%.10g", *options.minCosine) + ", but got " +
                           print("%.10g", r.value.value));
      if (options.maxDrop && r.drop && !(r.drop->value <= *options.maxDrop))
        miss(artifact, "expected " + getMetricName(r.metric) +
                           " worse by at most " +
                           print("%g%%", 100 * *options.maxDrop) +
                           ", but got " + print("%.2f%%", 100 * r.drop->value));
    }
  return errors;
}

} // namespace qcc::driver
