//===- Choice.cpp - a layer and the formats that it may get -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Choice.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace qcc::assign;
using llvm::StringRef;

std::vector<qcc::knapsack::Costs> Choice::getCosts() const {
  std::vector<knapsack::Costs> costs;
  for (const Candidate &candidate : candidates)
    costs.push_back(
        {candidate.loss, double(candidate.bytes), candidate.seconds});
  return costs;
}

std::string Choice::explain(StringRef metric) const {
  if (isFixed() && !rule.empty())
    return StringRef(rule).contains(": ") ? rule : "assigned: " + rule;
  const Candidate *smaller = nullptr;
  for (const Candidate &candidate : candidates)
    if (candidate.bytes < getChosen().bytes &&
        (!smaller || candidate.bytes > smaller->bytes))
      smaller = &candidate;
  std::string text;
  llvm::raw_string_ostream os(text);
  os << "assigned: " << metric << " " << llvm::format("%.2e", getChosen().loss);
  if (smaller)
    os << ", " << llvm::format("%.2e", smaller->loss) << " in " << smaller->key;
  if (!rule.empty())
    os << " (" << rule << ")";
  return text;
}
