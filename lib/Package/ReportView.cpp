//===- ReportView.cpp - what follows from a report's data -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ReportView.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include <cmath>
#include <map>

using namespace llvm;

namespace qcc {

/// The ceilings of a level, or of the most capable one.
static Ceilings chooseCeilings(const PageArtifact &artifact) {
  if (artifact.profile && artifact.profile->ceilings)
    return *artifact.profile->ceilings;
  ArrayRef<Ceilings> all = artifact.report.ceilings;
  if (all.empty())
    return {};
  const Ceilings *found =
      artifact.profile ? find_if(all,
                                 [&](const Ceilings &c) {
                                   return c.level == artifact.profile->level;
                                 })
                       : all.end();
  return found == all.end() ? all.back() : *found;
}

ReportView::ReportView(const PageArtifact &artifact, std::string anchors)
    : report(artifact.report), prefix(std::move(anchors)),
      level(artifact.profile ? artifact.profile->level : ""),
      ceilings(chooseCeilings(artifact)) {
  // The order of the names decides between equal counts.
  auto counts = countPrecisions(report.ops);
  sortDown(counts, [](const auto &count) {
    return count.first == "f32" ? INFINITY : double(count.second);
  });
  unsigned next = !counts.empty() && counts[0].first == "f32" ? 0 : 1;
  for (const auto &[name, count] : counts) {
    precisions.push_back(name);
    series[name] = std::min(next++, html::kNumSeries - 1);
  }
  for (const OpReport &op : report.ops) {
    totalFlops += op.flopsAt;
    lowFlops += op.executed == "f32" ? 0 : op.flopsAt;
    totalWeights += double(op.weightBytes);
  }
  computeTimes(artifact.profile);
}

void ReportView::computeTimes(const std::optional<Profile> &profile) {
  times.assign(report.ops.size(), 0);
  if (profile) {
    isMeasured = true;
    threads = profile->threads;
    // Sites are numbers of a stranger: a map, not an array of that size.
    std::map<unsigned, double> bySite;
    for (const SiteTime &site : profile->sites)
      bySite[site.site] += site.microseconds;
    for (auto [time, op] : zip_equal(times, report.ops))
      if (auto found = bySite.find(op.site); found != bySite.end())
        time = found->second;
  } else {
    for (auto [time, op] : zip_equal(times, report.ops)) {
      double peak = getPeak(op), bandwidth = getBandwidth(op);
      double arithmetic = peak > 0 ? op.flopsAt / peak : 0,
             traffic = bandwidth > 0 ? op.bytesAt / bandwidth : 0;
      time = std::max(arithmetic, traffic) / 1e3; // from nanoseconds
    }
  }
  for (double time : times)
    totalTime += time;
}

unsigned ReportView::getSeries(StringRef precision) const {
  return series.lookup(precision);
}

double ReportView::getPeak(const OpReport &op) const {
  return op.compute == "int8" ? ceilings.int8 : ceilings.f32;
}

double ReportView::getBandwidth(const OpReport &op) const {
  return op.bytesAt <= double(ceilings.cacheBytes) && ceilings.cache > 0
             ? ceilings.cache
             : ceilings.memory;
}

StringRef ReportView::getBound(const OpReport &op) const {
  double peak = getPeak(op), bandwidth = getBandwidth(op);
  if (!(peak > 0) || !(bandwidth > 0))
    return "";
  if (op.flopsAt / peak >= op.bytesAt / bandwidth)
    return "arithmetic";
  return bandwidth == ceilings.cache ? "cache" : "memory";
}

std::string ReportView::describeTimes() const {
  if (isMeasured)
    return "measured by qcc-run --profile on " + utostr(threads) +
           (threads == 1 ? " thread" : " threads") +
           (level.empty() ? "" : " at level " + level);
  return "modelled: the least time that the ceilings of one " + ceilings.level +
         " core allow, not a measurement";
}

/// The parts of a path, the last one first.
static SmallVector<StringRef> splitPath(StringRef path) {
  while (path.size() > 1 && path.back() == '/')
    path = path.drop_back();
  SmallVector<StringRef> parts;
  for (auto part = sys::path::rbegin(path); part != sys::path::rend(path);
       ++part)
    parts.push_back(*part == "/" ? "" : *part);
  return parts;
}

std::string getTitle(const ReportPage &page, size_t artifact) {
  const PageArtifact &own = page.artifacts[artifact];
  if (own.name.empty())
    return own.report.model;
  SmallVector<StringRef> parts = splitPath(own.name);
  size_t count = 1;
  for (const PageArtifact &other : page.artifacts) {
    SmallVector<StringRef> others = splitPath(other.name);
    size_t same = 0;
    while (same < std::min(parts.size(), others.size()) &&
           parts[same] == others[same])
      ++same;
    if (others != parts)
      count = std::max(count, std::min(same + 1, parts.size()));
  }
  return join(reverse(ArrayRef(parts).take_front(count)), "/");
}

std::string makeNameCell(const OpReport &op, size_t others) {
  std::string text = html::escape(op.node.empty() ? "(no name)" : op.node);
  SmallVector<StringRef> also;
  for (StringRef node : op.nodes)
    if (node != op.node)
      also.push_back(node);
  if (!also.empty()) {
    text += "<span class=\"also\">with ";
    for (StringRef node : ArrayRef(also).take_front(2))
      text += (node == also.front() ? "" : ", ") + html::escape(node, 60);
    if (also.size() > 2)
      text += " and " + utostr(also.size() - 2) + " more";
    text += "</span>";
  }
  if (others)
    text += "<span class=\"also\">and " + utostr(others) + " like it</span>";
  return text;
}

} // namespace qcc
