//===- ReportJson.cpp - report.json -----------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Report.h"
#include "llvm/Support/JSON.h"
#include <cmath>
#include <map>

using namespace llvm;

namespace qcc {

std::vector<std::pair<std::string, unsigned>>
countPrecisions(ArrayRef<OpReport> ops) {
  std::map<std::string, unsigned> counts;
  for (const OpReport &op : ops)
    ++counts[op.executed];
  return {counts.begin(), counts.end()};
}

namespace {

/// JSON with the spelling that reports have: valid UTF-8, whole numbers as
/// such, null for what is not finite.
class Writer {
public:
  explicit Writer(json::OStream &json) : json(json) {}

  void text(StringRef key, StringRef value) {
    json.attribute(key, json::fixUTF8(value));
  }
  void texts(StringRef key, ArrayRef<std::string> values) {
    json.attributeArray(key, [&] {
      for (const std::string &value : values)
        json.value(json::fixUTF8(value));
    });
  }
  void count(StringRef key, uint64_t value) { json.attribute(key, value); }
  void number(StringRef key, double value) {
    json.attribute(key, toValue(value));
  }
  template <typename T>
  void list(StringRef key, ArrayRef<T> items, function_ref<void(const T &)> f) {
    json.attributeArray(key, [&] {
      for (const T &item : items)
        json.object([&] { f(item); });
    });
  }
  static json::Value toValue(double value) {
    if (!std::isfinite(value))
      return nullptr;
    if (value == std::floor(value) && std::abs(value) < 0x1p53)
      return int64_t(value);
    return value;
  }

  json::OStream &json;
};

} // namespace

static void writeTensors(Writer &out, StringRef key,
                         ArrayRef<TensorReport> tensors) {
  out.list<TensorReport>(key, tensors, [&](const TensorReport &tensor) {
    out.text("name", tensor.name);
    out.text("type", tensor.type);
    out.text("shape", tensor.shape);
  });
}

static void writeSummary(Writer &out, const Report &report) {
  out.json.attributeObject("summary", [&] {
    out.count("ops", report.ops.size());
    out.count("kernels", report.kernels.size());
    out.count("library_bytes", report.libraryBytes);
    out.count("weight_bytes", report.weightBytes);
    out.json.attribute("weights_embedded", report.weightsEmbedded);
    out.json.attributeObject("precisions", [&] {
      for (const auto &[name, count] : countPrecisions(report.ops))
        out.count(json::fixUTF8(name), count);
    });
  });
}

static void writeOp(Writer &out, const OpReport &op) {
  out.count("site", op.site);
  out.text("entry", op.entry);
  out.text("node", op.node);
  out.texts("nodes", op.nodes);
  out.text("op", op.op);
  out.text("kernel", op.kernel);
  out.text("requested", op.requested);
  out.text("executed", op.executed);
  out.text("reason", op.reason);
  out.text("compute", op.compute);
  if (!op.algorithm.empty()) {
    out.text("algorithm", op.algorithm);
    out.number("error_nearest", op.errorNearest);
    out.number("error_chosen", op.errorChosen);
    if (!op.errorOf.empty())
      out.text("error_of", op.errorOf);
  }
  if (op.layerError >= 0)
    out.number("layer_error", op.layerError);
  if (!op.transform.empty())
    out.text("transform", op.transform);
  out.text("flops", op.flops);
  out.text("bytes", op.bytes);
  out.number("flops_at_sizes", op.flopsAt);
  out.number("bytes_at_sizes", op.bytesAt);
  out.count("weight_bytes", op.weightBytes);
}

static void writeActivation(Writer &out, const ActivationReport &activation) {
  out.text("value", activation.value);
  out.count("channels", activation.channels);
  out.number("absmax", activation.largest);
  out.number("median_channel_absmax", activation.median);
  out.count("outliers", activation.outliers);
  out.json.attributeArray("largest", [&] {
    for (const auto &[channel, largest] : activation.channelMaxima)
      out.json.object([&, channel = channel, largest = largest] {
        out.count("channel", channel);
        out.number("absmax", largest);
      });
  });
}

static void writeProgram(Writer &out, const Report &report) {
  out.list<EntryReport>("entries", report.entries, [&](const EntryReport &e) {
    out.text("name", e.name);
    writeTensors(out, "inputs", e.inputs);
    writeTensors(out, "outputs", e.outputs);
    if (e.arenaBytes)
      out.count("arena_bytes", *e.arenaBytes);
  });
  out.json.attributeObject("sizes", [&] {
    for (const auto &[name, value] : report.sizes)
      out.json.attribute(json::fixUTF8(name), value);
  });
  out.list<Ceilings>("ceilings", report.ceilings, [&](const Ceilings &c) {
    out.text("level", c.level);
    out.number("f32_gops", c.f32);
    out.number("int8_gops", c.int8);
    out.number("cache_gbs", c.cache);
    out.number("memory_gbs", c.memory);
    out.count("cache_bytes", c.cacheBytes);
  });
  out.list<KernelReport>("kernels", report.kernels, [&](const KernelReport &k) {
    out.text("name", k.name);
    out.text("emitter", k.emitter);
    out.text("schedule", k.schedule);
  });
}

std::string writeReportJson(const Report &report) {
  std::string text;
  raw_string_ostream os(text);
  json::OStream json(os, /*IndentSize=*/1);
  Writer out(json);
  json.object([&] {
    json.attribute("schema", "qcc-report/2");
    out.text("qcc", report.qcc);
    out.text("model", report.model);
    out.text("target", report.target);
    out.text("precision", report.precision);
    out.texts("algorithms", report.algorithms);
    writeSummary(out, report);
    out.texts("warnings", report.warnings);
    writeProgram(out, report);
    out.list<OpReport>("ops", report.ops,
                       [&](const OpReport &op) { writeOp(out, op); });
    if (!report.assignment.empty()) {
      json.attributeBegin("assignment");
      json.rawValue(report.assignment);
      json.attributeEnd();
    }
    out.list<IdleNode>("nodes_without_op", report.idle, [&](const IdleNode &n) {
      out.text("node", n.node);
      out.text("op", n.op);
      out.text("reason", n.reason);
    });
    json.attributeObject("host_steps", [&] {
      for (const auto &[kind, count] : report.hostSteps)
        out.count(kind, count);
    });
    out.list<ActivationReport>(
        "activations", report.activations,
        [&](const ActivationReport &a) { writeActivation(out, a); });
  });
  os << '\n';
  return text;
}

} // namespace qcc
