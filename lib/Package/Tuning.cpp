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
    os << "  - work: " << quoteYaml(kernel.work) << "\n"
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
    if (Error error = checkYamlSchema(root, name, kSchema))
      return std::move(error);
    Error error = readYamlMap(
        name, root, "a tuning",
        {{"schema", [](const Yaml &) { return Error::success(); }},
         {"kernels", [&](const Yaml &value) { return readKernels(value); }}});
    if (error)
      return std::move(error);
    return std::move(tuning);
  }

private:
  Error readKernels(const Yaml &value) {
    if (value.kind == Yaml::Map)
      return makeYamlError(name, value.line, "expected a list of kernels");
    for (const Yaml &item : value.items)
      if (Error error = readKernel(item))
        return error;
    return Error::success();
  }

  Error readKernel(const Yaml &item) {
    TunedKernel kernel;
    auto text = [&](std::string &to) {
      return [this, &to](const Yaml &v) { return readYamlText(name, v, to); };
    };
    if (Error error = readYamlMap(
            name, item, "a kernel",
            {{"work", text(kernel.work)},
             {"node", text(kernel.node)},
             {"schedule", text(kernel.schedule)},
             {"seconds", [&](const Yaml &v) { return readTimes(v, kernel); }}}))
      return error;
    if (kernel.work.empty() || kernel.schedule.empty())
      return makeYamlError(name, item.line,
                           "expected the work and the schedule of a kernel");
    tuning.add(std::move(kernel));
    return Error::success();
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
  Tuning tuning;
};
} // namespace

Expected<Tuning> Tuning::read(StringRef text, StringRef name) {
  Expected<Yaml> root = readYaml(text, name, kMaxTuningBytes);
  if (!root)
    return root.takeError();
  return TuningReader(name).run(*root);
}
