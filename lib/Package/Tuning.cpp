//===- Tuning.cpp - which schedules were measured to be fast ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Package/Tuning.h"
#include "Yaml.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace llvm;
using namespace qcc;

/// Some ten thousand kernels.
static constexpr size_t kMaxTuningBytes = 4 << 20;
static constexpr StringLiteral kSchema = "qcc-tuning/1";

const TunedKernel *Tuning::find(StringRef work) const {
  auto found = places.find(work);
  return found == places.end() ? nullptr : &kernels[found->second];
}

void Tuning::add(TunedKernel kernel) {
  auto [place, isNew] = places.try_emplace(kernel.work, kernels.size());
  if (isNew)
    kernels.push_back(std::move(kernel));
  else
    kernels[place->second] = std::move(kernel);
}

std::string Tuning::write() const {
  std::string text;
  raw_string_ostream os(text);
  os << "schema: " << kSchema << "\n"
     << "kernels:" << (kernels.empty() ? " []" : "") << "\n";
  for (const TunedKernel &kernel : kernels) {
    os << "  - work: " << kernel.work << "\n"
       << "    node: " << quoteYaml(kernel.node) << "\n"
       << "    schedule: " << quoteYaml(kernel.schedule) << "\n"
       << "    seconds:\n";
    for (const auto &[schedule, seconds] : kernel.times)
      os << "      " << quoteYaml(schedule) << ": " << format("%.4g", seconds)
         << "\n";
  }
  return text;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {
class TuningReader {
public:
  explicit TuningReader(StringRef name) : name(name) {}

  Expected<Tuning> run(const Yaml &root) {
    const Yaml *schema = root.find("schema");
    if (root.kind != Yaml::Map || !schema || schema->text != kSchema)
      return makeYamlError(
          name, schema ? schema->line : root.line,
          "expected schema: " + kSchema +
              (schema ? ", but got '" + schema->text + "'" : std::string()));
    Tuning tuning;
    for (const auto &[key, value] : zip_equal(root.keys, root.items)) {
      if (key == "schema")
        continue;
      if (key != "kernels")
        return refuseYamlKey(name, value.line, "key", key,
                             {"schema", "kernels"});
      if (value.kind == Yaml::Map)
        return makeYamlError(name, value.line, "expected a list of kernels");
      for (const Yaml &item : value.items) {
        Expected<TunedKernel> kernel = readKernel(item);
        if (!kernel)
          return kernel.takeError();
        tuning.add(std::move(*kernel));
      }
    }
    return tuning;
  }

private:
  Expected<TunedKernel> readKernel(const Yaml &item) {
    TunedKernel kernel;
    std::pair<StringRef, std::string *> words[] = {
        {"work", &kernel.work},
        {"node", &kernel.node},
        {"schedule", &kernel.schedule}};
    if (item.kind != Yaml::Map)
      return makeYamlError(name, item.line,
                           "expected work, node, schedule and seconds");
    for (const auto &[key, value] : zip_equal(item.keys, item.items)) {
      const auto *word = find_if(
          words, [&, &key = key](const auto &w) { return w.first == key; });
      if (key == "seconds") {
        if (Error error = readTimes(value, kernel))
          return std::move(error);
      } else if (word == std::end(words)) {
        return refuseYamlKey(name, value.line, "key", key,
                             {"work", "node", "schedule", "seconds"});
      } else if (value.kind != Yaml::Scalar) {
        return makeYamlError(name, value.line, "expected a word");
      } else {
        *word->second = value.text;
      }
    }
    if (kernel.work.empty() || kernel.schedule.empty())
      return makeYamlError(name, item.line,
                           "expected the work and the schedule of a kernel");
    return kernel;
  }

  Error readTimes(const Yaml &value, TunedKernel &kernel) {
    if (value.kind != Yaml::Map)
      return makeYamlError(name, value.line,
                           "expected schedules and their seconds");
    for (const auto &[schedule, item] : zip_equal(value.keys, value.items)) {
      double seconds;
      if (item.kind != Yaml::Scalar ||
          StringRef(item.text).getAsDouble(seconds) ||
          !std::isfinite(seconds) || seconds < 0)
        return makeYamlError(name, item.line,
                             "expected seconds, but got '" + item.text + "'");
      kernel.times.emplace_back(schedule, seconds);
    }
    return Error::success();
  }

  StringRef name;
};
} // namespace

Expected<Tuning> Tuning::read(StringRef text, StringRef name) {
  Expected<Yaml> root = readYaml(text, name, kMaxTuningBytes);
  if (!root)
    return root.takeError();
  return TuningReader(name).run(*root);
}
