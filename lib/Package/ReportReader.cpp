//===- ReportReader.cpp - reports and measurements from JSON ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Report.h"
#include "qcc/Support/Diagnostics.h"
#include "qcc/Support/Json.h"
#include "llvm/ADT/STLExtras.h"
#include <limits>

using namespace llvm;

namespace qcc {

/// A report has some 500 bytes for an operation.
static constexpr size_t kMaxBytes = size_t(256) << 20;

namespace {

/// Fields of an object. What is not there leaves the variable as it is; the
/// first one of another type is kept as the problem.
class Fields {
public:
  Fields(const json::Object &object, std::string &problem)
      : object(object), problem(problem) {}

  void get(StringRef key, std::string &to) const {
    if (const json::Value *value = find(key)) {
      if (std::optional<StringRef> text = value->getAsString())
        to = text->str();
      else
        refuse(key, "a string");
    }
  }
  template <typename T>
    requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
  void get(StringRef key, T &to) const {
    if (const json::Value *value = find(key)) {
      std::optional<int64_t> number = value->getAsInteger();
      if (number && *number >= 0 &&
          uint64_t(*number) <= uint64_t(std::numeric_limits<T>::max()))
        to = T(*number);
      else
        refuse(key, "a number that is not negative");
    }
  }
  void get(StringRef key, bool &to) const {
    if (const json::Value *value = find(key)) {
      if (std::optional<bool> flag = value->getAsBoolean())
        to = *flag;
      else
        refuse(key, "true or false");
    }
  }
  template <std::floating_point T> void get(StringRef key, T &to) const {
    if (const json::Value *value = find(key)) {
      if (std::optional<double> number = value->getAsNumber())
        to = T(*number);
      else if (value->getAsNull())
        to = std::numeric_limits<T>::infinity();
      else
        refuse(key, "a number");
    }
  }
  template <typename T> void get(StringRef key, std::optional<T> &to) const {
    if (!find(key))
      return;
    T value{};
    get(key, value);
    to = value;
  }
  void get(StringRef key, std::vector<std::string> &to) const {
    for (const json::Value &value : getArray(key)) {
      if (std::optional<StringRef> text = value.getAsString())
        to.push_back(text->str());
      else
        refuse(key, "strings");
    }
  }
  /// For each object of an array.
  void each(StringRef key, function_ref<void(const Fields &)> f) const {
    for (const json::Value &value : getArray(key)) {
      if (const json::Object *item = value.getAsObject())
        f(Fields(*item, problem));
      else
        refuse(key, "objects");
    }
  }
  /// An object below this one, if it is there.
  void with(StringRef key, function_ref<void(const Fields &)> f) const {
    if (const json::Value *value = find(key)) {
      if (const json::Object *item = value->getAsObject())
        f(Fields(*item, problem));
      else
        refuse(key, "an object");
    }
  }
  /// Names and whole numbers of an object, in the order of the names.
  template <typename T>
  void pairs(StringRef key, std::vector<std::pair<std::string, T>> &to) const {
    with(key, [&](const Fields &item) {
      for (const auto &[name, value] : item.object) {
        T number = 0;
        item.get(name, number);
        to.emplace_back(StringRef(name).str(), number);
      }
    });
    llvm::sort(to);
  }
  void refuse(StringRef key, const Twine &expected) const {
    if (problem.empty())
      problem = ("expected " + expected + " in '" + key + "'").str();
  }

private:
  const json::Value *find(StringRef key) const { return object.get(key); }
  ArrayRef<json::Value> getArray(StringRef key) const {
    const json::Value *value = find(key);
    if (!value)
      return {};
    if (const json::Array *array = value->getAsArray())
      return ArrayRef<json::Value>(array->data(), array->size());
    refuse(key, "a list");
    return {};
  }

  const json::Object &object;
  std::string &problem;
};

} // namespace

static constexpr StringLiteral kMeasurementRemedy =
    "name what `qcc eval --json` printed, under the same paths of artifacts";

/// Parses an object of a file and hands its fields on. `remedy` says what to
/// do about a file that is something else.
static Error parse(StringRef text, StringRef name, StringRef remedy,
                   function_ref<void(const Fields &)> read) {
  auto fail = [&](const Twine &problem) {
    return makeError(Diag::BadArtifact, name, problem + "; " + remedy);
  };
  if (text.size() > kMaxBytes)
    return fail("expected at most 256 MiB");
  Expected<json::Value> value = parseJson(text);
  if (!value)
    return fail(toString(value.takeError()));
  const json::Object *object = value->getAsObject();
  if (!object)
    return fail("expected an object");
  std::string problem;
  read(Fields(*object, problem));
  return problem.empty() ? Error::success() : fail(problem);
}

//===----------------------------------------------------------------------===//
// report.json
//===----------------------------------------------------------------------===//

static OpReport readOp(const Fields &from) {
  OpReport op;
  from.get("site", op.site);
  from.get("entry", op.entry);
  from.get("node", op.node);
  from.get("nodes", op.nodes);
  from.get("op", op.op);
  from.get("kernel", op.kernel);
  from.get("requested", op.requested);
  from.get("executed", op.executed);
  from.get("reason", op.reason);
  from.get("compute", op.compute);
  from.get("algorithm", op.algorithm);
  from.get("error_nearest", op.errorNearest);
  from.get("error_chosen", op.errorChosen);
  from.get("error_of", op.errorOf);
  from.get("layer_error", op.layerError);
  from.get("transform", op.transform);
  from.get("flops", op.flops);
  from.get("bytes", op.bytes);
  from.get("flops_at_sizes", op.flopsAt);
  from.get("bytes_at_sizes", op.bytesAt);
  from.get("weight_bytes", op.weightBytes);
  return op;
}

static ActivationReport readActivation(const Fields &from) {
  ActivationReport activation;
  from.get("value", activation.value);
  from.get("channels", activation.channels);
  from.get("absmax", activation.largest);
  from.get("median_channel_absmax", activation.median);
  from.get("outliers", activation.outliers);
  from.each("largest", [&](const Fields &item) {
    std::pair<uint64_t, float> channel;
    item.get("channel", channel.first);
    item.get("absmax", channel.second);
    activation.channelMaxima.push_back(channel);
  });
  return activation;
}

static AssignmentPoint readPoint(const Fields &from) {
  AssignmentPoint point;
  from.get("format", point.format);
  from.get("bytes", point.bytes);
  from.get("error", point.error);
  return point;
}

static AssignedLayer readLayer(const Fields &from) {
  AssignedLayer layer;
  from.get("node", layer.node);
  from.get("format", layer.format);
  from.get("rule", layer.rule);
  from.each("candidates", [&](const Fields &item) {
    AssignmentCandidate candidate;
    item.get("format", candidate.format);
    item.get("bits", candidate.bits);
    item.get("bytes", candidate.bytes);
    item.get("error", candidate.error);
    item.get("seconds", candidate.seconds);
    layer.candidates.push_back(std::move(candidate));
  });
  return layer;
}

static AssignmentReport readAssignment(const Fields &from) {
  AssignmentReport report;
  from.get("metric", report.metric);
  from.get("sensitivity", report.sensitivity);
  from.with("budgets", [&](const Fields &item) {
    for (StringRef name : {"size", "drop", "latency"}) {
      std::string value;
      item.get(name, value);
      if (!value.empty())
        report.budgets.emplace_back(name, value);
    }
  });
  from.with("float",
            [&](const Fields &item) { item.get("bytes", report.floatBytes); });
  from.with("chosen", [&](const Fields &item) {
    report.chosen = readPoint(item);
    item.get("predicted_error", report.predictedError);
    item.get("drop", report.drop);
    item.get("drop_metric", report.dropMetric);
  });
  from.each("layers", [&](const Fields &item) {
    report.layers.push_back(readLayer(item));
  });
  from.each("front", [&](const Fields &item) {
    report.front.push_back(readPoint(item));
  });
  from.each("uniform", [&](const Fields &item) {
    report.uniform.push_back(readPoint(item));
  });
  return report;
}

static Ceilings readCeilings(const Fields &from) {
  Ceilings ceilings;
  from.get("level", ceilings.level);
  from.get("f32_gops", ceilings.f32);
  from.get("int8_gops", ceilings.int8);
  from.get("cache_gbs", ceilings.cache);
  from.get("memory_gbs", ceilings.memory);
  from.get("cache_bytes", ceilings.cacheBytes);
  return ceilings;
}

static std::vector<TensorReport> readTensors(const Fields &from,
                                             StringRef key) {
  std::vector<TensorReport> tensors;
  from.each(key, [&](const Fields &item) {
    TensorReport tensor;
    item.get("name", tensor.name);
    item.get("type", tensor.type);
    item.get("shape", tensor.shape);
    tensors.push_back(std::move(tensor));
  });
  return tensors;
}

static void readAll(const Fields &from, Report &report) {
  std::string schema;
  from.get("schema", schema);
  if (schema != "qcc-report/2")
    return from.refuse("schema", "qcc-report/2");
  from.get("qcc", report.qcc);
  from.get("model", report.model);
  from.get("target", report.target);
  from.get("precision", report.precision);
  from.get("algorithms", report.algorithms);
  from.get("warnings", report.warnings);
  from.with("summary", [&](const Fields &item) {
    item.get("library_bytes", report.libraryBytes);
    item.get("weight_bytes", report.weightBytes);
    item.get("weights_embedded", report.weightsEmbedded);
  });
  from.each("entries", [&](const Fields &item) {
    EntryReport entry;
    item.get("name", entry.name);
    entry.inputs = readTensors(item, "inputs");
    entry.outputs = readTensors(item, "outputs");
    item.get("arena_bytes", entry.arenaBytes);
    report.entries.push_back(std::move(entry));
  });
  from.pairs("sizes", report.sizes);
  from.each("ceilings", [&](const Fields &item) {
    report.ceilings.push_back(readCeilings(item));
  });
  from.each("kernels", [&](const Fields &item) {
    KernelReport kernel;
    item.get("name", kernel.name);
    item.get("emitter", kernel.emitter);
    item.get("schedule", kernel.schedule);
    report.kernels.push_back(std::move(kernel));
  });
  from.each("ops",
            [&](const Fields &item) { report.ops.push_back(readOp(item)); });
  from.with("assignment", [&](const Fields &item) {
    report.assigned = readAssignment(item);
  });
  from.each("nodes_without_op", [&](const Fields &item) {
    IdleNode node;
    item.get("node", node.node);
    item.get("op", node.op);
    item.get("reason", node.reason);
    report.idle.push_back(std::move(node));
  });
  from.pairs("host_steps", report.hostSteps);
  from.each("activations", [&](const Fields &item) {
    report.activations.push_back(readActivation(item));
  });
}

Expected<Report> readReport(StringRef text, StringRef name) {
  Report report;
  if (Error error = parse(text, name, kReportRemedy,
                          [&](const Fields &from) { readAll(from, report); }))
    return std::move(error);
  return std::move(report);
}

//===----------------------------------------------------------------------===//
// Measurements
//===----------------------------------------------------------------------===//

static Interval readInterval(const Fields &from) {
  Interval interval;
  from.get("value", interval.value);
  from.get("low", interval.low);
  from.get("high", interval.high);
  return interval;
}

Expected<Measurement> readMeasurement(StringRef text, StringRef name,
                                      ArrayRef<std::string> names) {
  Measurement measurement;
  auto readOne = [&](const Fields &from) {
    MeasuredMetric metric;
    std::string artifact;
    from.get("artifact", artifact);
    const std::string *found = find(names, artifact);
    if (found == names.end())
      return; // of an artifact that the page does not show
    metric.artifact = found - names.begin();
    from.get("metric", metric.metric);
    from.get("rows", metric.rows);
    metric.value = readInterval(from);
    from.get("reference", metric.reference);
    from.with("drop",
              [&](const Fields &item) { metric.drop = readInterval(item); });
    measurement.metrics.push_back(std::move(metric));
  };
  Error error = parse(text, name, kMeasurementRemedy, [&](const Fields &from) {
    from.get("reference", measurement.reference);
    from.each("results", readOne);
  });
  if (error)
    return std::move(error);
  if (measurement.metrics.empty())
    return makeError(Diag::BadArtifact, name,
                     "expected results of the artifacts, but there are none; " +
                         kMeasurementRemedy);
  return std::move(measurement);
}

Expected<Profile> readProfile(StringRef text, StringRef name) {
  Profile profile;
  Error error = parse(text, name, kProfileRemedy, [&](const Fields &from) {
    from.get("level", profile.level);
    from.get("library", profile.library);
    from.get("threads", profile.threads);
    from.each("profile", [&](const Fields &item) {
      SiteTime time;
      item.get("site", time.site);
      item.get("op", time.op);
      item.get("kernel", time.kernel);
      item.get("us_per_run", time.microseconds);
      item.get("gflops", time.gops);
      item.get("gbs", time.gbs);
      profile.sites.push_back(time);
    });
    from.with("ceilings", [&](const Fields &item) {
      profile.ceilings = readCeilings(item);
    });
  });
  if (error)
    return std::move(error);
  if (profile.sites.empty())
    return makeError(Diag::BadArtifact, name,
                     "expected times of operations, but there are none; " +
                         kProfileRemedy);
  return std::move(profile);
}

Expected<std::string> readLibraryHash(StringRef text, StringRef name) {
  std::string hash;
  Error error = parse(text, name, kReportRemedy, [&](const Fields &from) {
    from.with("files",
              [&](const Fields &files) { files.get("libmodel.so", hash); });
  });
  if (error)
    return std::move(error);
  return hash;
}

} // namespace qcc
