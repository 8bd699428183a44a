//===- Observe.cpp - time per site, dumps of values -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Observe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

using namespace qcc::run;
using nlohmann::json;

//===----------------------------------------------------------------------===//
// Times
//===----------------------------------------------------------------------===//

Times::Times(std::vector<double> times) : sorted(std::move(times)) {
  std::sort(sorted.begin(), sorted.end());
}

double Times::quantile(double q) const {
  if (sorted.empty())
    return 0;
  double at = q * double(sorted.size() - 1);
  auto low = size_t(at);
  size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - double(low));
}

json Times::toJson() const {
  return {{"runs", sorted.size()},
          {"min_ms", quantile(0)},
          {"median_ms", quantile(0.5)},
          {"p90_ms", quantile(0.9)},
          {"max_ms", quantile(1)}};
}

Times qcc::run::bench(Runner &runner, int warmup, int runs) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  times.reserve(size_t(runs));
  for (int i = 0; i < warmup; ++i)
    runner.run();
  for (int i = 0; i < runs; ++i) {
    Clock::time_point begin = Clock::now();
    runner.run();
    times.push_back(
        std::chrono::duration<double, std::milli>(Clock::now() - begin)
            .count());
  }
  return Times(std::move(times));
}

//===----------------------------------------------------------------------===//
// Profiles
//===----------------------------------------------------------------------===//

std::string qcc::run::findLibraryHash(const std::filesystem::path &artifact) {
  constexpr const char *kLibrary = "libmodel.so";
  std::error_code error;
  bool isFolder = std::filesystem::is_directory(artifact, error);
  if (!isFolder && artifact.filename() != kLibrary)
    return "";
  std::ifstream in((isFolder ? artifact : artifact.parent_path()) /
                   "manifest.json");
  json manifest = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!manifest.is_object() || !manifest.contains("files"))
    return "";
  const json &files = manifest["files"];
  if (!files.is_object() || !files.contains(kLibrary))
    return "";
  const json &hash = files[kLibrary];
  return hash.is_string() ? hash.get<std::string>() : "";
}

Profiler::Profiler(const Artifact &artifact)
    : sites(artifact.sites()), rows(sites.size()) {}

void Profiler::onEvent(void *user, const qcc_profile_event *event) {
  auto &self = *static_cast<Profiler *>(user);
  if (event->site >= self.rows.size())
    return;
  Row &row = self.rows[event->site];
  row.times.push_back(event->end_ns - event->begin_ns);
  row.flops += double(event->flops);
  row.bytes += double(event->bytes);
  if (self.tracing && self.trace.size() < 1000000)
    self.trace.push_back(*event);
}

void Profiler::profile(Runner &runner, int count) {
  runner.run(); // pages and caches as in later runs
  qcc_observer observer{};
  observer.struct_size = sizeof(observer);
  observer.user = this;
  observer.profile = onEvent;
  runner.observe(&observer);
  for (int i = 0; i < count; ++i) {
    tracing = i == 0;
    runner.run();
  }
  runner.observe(nullptr);
  runs += count;
}

double Profiler::nanosecondsPerRun(const Row &row) const {
  std::vector<double> times(row.times.begin(), row.times.end());
  double calls = double(times.size()) / std::max(1, runs);
  return std::max(1.0, Times(std::move(times)).quantile(0.5) * calls);
}

std::vector<size_t> Profiler::order() const {
  std::vector<std::pair<double, size_t>> sorted;
  for (size_t i = 0; i < rows.size(); ++i)
    if (!rows[i].times.empty())
      sorted.emplace_back(-nanosecondsPerRun(rows[i]), i);
  std::sort(sorted.begin(), sorted.end());
  std::vector<size_t> numbers;
  numbers.reserve(sorted.size());
  for (const auto &[time, number] : sorted)
    numbers.push_back(number);
  return numbers;
}

std::string Profiler::table() const {
  double total = 0;
  std::vector<size_t> numbers = order();
  for (size_t i : numbers)
    total += nanosecondsPerRun(rows[i]);
  std::string text =
      "       us  share  GFLOP/s     GB/s  op                    node\n";
  char line[128];
  for (size_t i : numbers) {
    const Row &row = rows[i];
    double ns = nanosecondsPerRun(row), perRun = 1.0 / std::max(1, runs);
    std::snprintf(line, sizeof(line), "%9.1f %5.1f%% %8.1f %8.1f  %-20.64s  ",
                  ns / 1e3, 100 * ns / total, row.flops * perRun / ns,
                  row.bytes * perRun / ns, sites[i].op.c_str());
    text += line + sites[i].node + "\n";
  }
  std::snprintf(line, sizeof(line), "%9.1f 100.0%%  all dispatches\n",
                total / 1e3);
  return text + line;
}

json Profiler::toJson() const {
  json list = json::array();
  for (size_t i : order()) {
    const Row &row = rows[i];
    double ns = nanosecondsPerRun(row), perRun = 1.0 / std::max(1, runs);
    list.push_back({{"site", i},
                    {"node", sites[i].node},
                    {"op", sites[i].op},
                    {"kernel", sites[i].kernel},
                    {"calls_per_run", double(row.times.size()) * perRun},
                    {"us_per_run", ns / 1e3},
                    {"gflops", row.flops * perRun / ns},
                    {"gbs", row.bytes * perRun / ns}});
  }
  return list;
}

void Profiler::writeTrace(const std::filesystem::path &path) const {
  json events = json::array();
  uint64_t begin = trace.empty() ? 0 : trace.front().begin_ns;
  for (const qcc_profile_event &event : trace)
    events.push_back({{"name", sites[event.site].node},
                      {"cat", sites[event.site].op},
                      {"ph", "X"},
                      {"pid", 1},
                      {"tid", 1},
                      {"ts", double(event.begin_ns - begin) / 1e3},
                      {"dur", double(event.end_ns - event.begin_ns) / 1e3},
                      {"args",
                       {{"kernel", sites[event.site].kernel},
                        {"flops", event.flops},
                        {"bytes", event.bytes}}}});
  std::ofstream out(path);
  out << json({{"traceEvents", events}})
             .dump(-1, ' ', false, json::error_handler_t::replace)
      << "\n";
  out.close();
  if (!out)
    throw RunError(CannotWrite, "cannot write " + path.string());
}

//===----------------------------------------------------------------------===//
// Dumps
//===----------------------------------------------------------------------===//

namespace {

struct Dump {
  const std::regex &pattern;
  const std::vector<Site> &sites;
  std::set<std::string> names;
  std::vector<Array> values;
  std::string failure;
};

} // namespace

static void onTensor(void *user, uint32_t site, const char *name,
                     const DLTensor *value) {
  auto &dump = *static_cast<Dump *>(user);
  // Exceptions must not pass through the runtime.
  try {
    bool wanted = std::regex_search(name, dump.pattern) ||
                  (site < dump.sites.size() &&
                   std::regex_search(dump.sites[site].node, dump.pattern));
    if (!wanted)
      return;
    // A value that is computed again, as in a loop, gets a number.
    std::string unique = name;
    for (int i = 1; !dump.names.insert(unique).second; ++i)
      unique = std::string(name) + "#" + std::to_string(i);
    dump.values.push_back(copyTensor(unique, *value));
  } catch (const std::exception &error) {
    dump.failure = error.what();
  }
}

std::vector<Array> qcc::run::dumpValues(const Artifact &artifact,
                                        Runner &runner,
                                        const std::regex &pattern) {
  std::vector<Site> sites = artifact.sites();
  Dump dump{pattern, sites, {}, {}, {}};
  qcc_observer observer{};
  observer.struct_size = sizeof(observer);
  observer.user = &dump;
  observer.tensor = onTensor;
  runner.observe(&observer);
  runner.run();
  runner.observe(nullptr);
  if (!dump.failure.empty())
    throw RunError(Resources, "cannot dump: " + dump.failure);
  return std::move(dump.values);
}
