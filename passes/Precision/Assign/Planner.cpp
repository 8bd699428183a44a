//===- Planner.cpp - budgets, and what can be had within them ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Planner.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Format.h"
#include <cmath>
#include <map>

using namespace qcc;
using namespace qcc::assign;
using namespace qcc::knapsack;
using llvm::ArrayRef;

/// Assignments that are measured while the loss for --max-drop is looked for.
static constexpr unsigned kMeasures = 8;
/// Points of the front.
static constexpr unsigned kFrontPoints = 16;

double Planner::getBytes(const Assignment &assignment) const {
  return otherBytes + assignment.totals[Size];
}
double Planner::getSeconds(const Assignment &assignment) const {
  return otherSeconds + assignment.totals[Latency];
}

void Planner::setFloatCosts(double bytes, double seconds) {
  floatBytes = bytes;
  floatSeconds = seconds;
}

llvm::Error Planner::setBudgets(const Budgets &given) {
  budgets = given;
  if (!budgets.size.empty()) {
    llvm::Expected<Limit> limit = parseSizeLimit("--max-size", budgets.size);
    if (!limit)
      return limit.takeError();
    sizeIsRelative = limit->isRelative;
    double bytes = limit->value * (sizeIsRelative ? getFloatBytes() : 1);
    limits[Size] = bytes - otherBytes;
  }
  if (!budgets.latency.empty()) {
    llvm::Expected<Limit> limit =
        parseRatioLimit("--max-latency", budgets.latency);
    if (!limit)
      return limit.takeError();
    limits[Latency] = limit->value * getFloatSeconds() - otherSeconds;
  }
  if (!budgets.drop.empty()) {
    llvm::Expected<double> share = parseShare("--max-drop", budgets.drop);
    if (!share)
      return share.takeError();
    maxDrop = *share;
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// Refusals
//===----------------------------------------------------------------------===//

std::string Planner::describe(Cost cost, double total) const {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (cost == Size && !sizeIsRelative) {
    // What is named must be enough: up to the next kilobyte.
    os << "--max-size=" << llvm::format("%.0f", std::ceil(total / 1000))
       << "KB";
    return text;
  }
  double whole = cost == Size ? getFloatBytes() : getFloatSeconds();
  double share = whole > 0 ? total / whole : 1;
  // What is named must be enough, but not more than all.
  double named = std::ceil(share * 1e4 + 1e-2) / 1e4;
  if (share <= 1)
    named = std::min(named, 1.0);
  os << (cost == Size ? "--max-size=" : "--max-latency=")
     << llvm::format("%.4f", named) << "x";
  return text;
}

llvm::Error Planner::refuse() const {
  std::string asked, nearest;
  for (auto [cost, text, flag] :
       {std::tuple(Size, &budgets.size, "--max-size="),
        std::tuple(Latency, &budgets.latency, "--max-latency=")}) {
    if (text->empty())
      continue;
    asked += (asked.empty() ? "" : " and ") + (flag + *text);
    Limits others = limits;
    others[cost] = kNone;
    auto least = solve(costs, cost, others);
    if (!least)
      continue;
    double fixed = cost == Size ? otherBytes : otherSeconds;
    nearest += (nearest.empty() ? "" : ", or ") +
               describe(cost, fixed + least->totals[cost]);
  }
  // Where one alone does not help, the smallest of the fastest formats.
  if (nearest.empty()) {
    Limits within = {kNone, kNone, kNone};
    if (auto fastest = solve(costs, Latency, within)) {
      within[Latency] = fastest->totals[Latency] * (1 + 1e-6);
      if (auto least = solve(costs, Size, within))
        fastest = least;
      nearest = describe(Size, otherBytes + fastest->totals[Size]) + " with " +
                describe(Latency, otherSeconds + fastest->totals[Latency]);
    }
  }
  return makeError(
      Diag::BudgetMissed, "",
      "expected formats that meet " + asked +
          ", but there are none; the nearest that can be met: " + nearest);
}

llvm::Error Planner::refuseDrop(double best) const {
  bool hasRoom = budgets.size.empty() && budgets.latency.empty();
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::format("%.4f", std::ceil(best * 1e6) / 1e4) << "%";
  return makeError(Diag::BudgetMissed, "",
                   "expected formats that meet --max-drop=" + budgets.drop +
                       ", but the best ones measured lose " + text +
                       "; the nearest that can be met: --max-drop=" + text +
                       (hasRoom ? ", or offer f32 or formats of more bits"
                                : ", or raise the other budgets"));
}

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

llvm::Error Planner::checkLimits() const {
  return solve(costs, Size, limits) ? llvm::Error::success() : refuse();
}

llvm::Expected<Assignment> Planner::choose(Judge judge) {
  if (maxDrop)
    return chooseByDrop(judge);
  if (auto found = solve(costs, Loss, limits))
    return *found;
  return refuse();
}

/// The drop of several layers is not the sum of their losses, so the sum's
/// limit is found by measuring: between that of the smallest formats and that
/// of the best, in steps of its logarithm.
llvm::Expected<Assignment> Planner::chooseByDrop(Judge judge) {
  std::map<std::vector<unsigned>, double> drops;
  auto measure = [&](const Assignment &assignment) -> llvm::Expected<bool> {
    auto [at, isNew] = drops.try_emplace(assignment.picks, 0);
    if (isNew) {
      llvm::Expected<OutputScore> score = judge(assignment.picks);
      if (!score)
        return score.takeError();
      at->second = std::isfinite(score->drop) ? score->drop : HUGE_VAL;
    }
    return at->second <= *maxDrop;
  };
  auto best = solve(costs, Loss, limits);
  if (!best)
    return refuse();
  llvm::Expected<bool> fits = measure(*best);
  if (!fits)
    return fits.takeError();
  if (!*fits)
    return refuseDrop(drops[best->picks]);
  auto least = solve(costs, goal, limits);
  if (!least)
    return *best;
  fits = measure(*least);
  if (!fits)
    return fits.takeError();
  if (*fits)
    return *least;
  Assignment found = *best;
  double low = std::max(best->totals[Loss], 1e-9),
         high = std::max(least->totals[Loss], 2e-9);
  for (unsigned i = 0; i < kMeasures && high > low * 1.05; ++i) {
    double middle = std::sqrt(low * high);
    Limits within = limits;
    within[Loss] = middle;
    auto candidate = solve(costs, goal, within);
    if (candidate) {
      fits = measure(*candidate);
      if (!fits)
        return fits.takeError();
    }
    if (!candidate || *fits) {
      low = middle;
      if (candidate && candidate->totals[goal] < found.totals[goal])
        found = *candidate;
    } else {
      high = middle;
    }
  }
  return found;
}

std::vector<FrontPoint> Planner::getFront() const {
  const Limits none = {kNone, kNone, kNone};
  auto smallest = solve(costs, Size, none), best = solve(costs, Loss, none);
  std::vector<FrontPoint> front;
  if (!smallest || !best)
    return front;
  double from = smallest->totals[Size], to = best->totals[Size];
  for (unsigned i = 0; i < kFrontPoints; ++i) {
    Limits within = none;
    within[Size] = from + (to - from) * i / (kFrontPoints - 1);
    auto found = solve(costs, Loss, within);
    if (!found)
      continue;
    FrontPoint point = {getBytes(*found), found->totals[Loss]};
    if (front.empty() || point.loss < front.back().loss)
      front.push_back(point);
  }
  return front;
}
