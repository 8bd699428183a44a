//===- Choice.h - a layer and the formats that it may get -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_CHOICE_H
#define QCC_PASSES_PRECISION_ASSIGN_CHOICE_H

#include "Knapsack.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <cstdint>
#include <string>
#include <vector>

namespace qcc {
class Scheme;
} // namespace qcc

namespace qcc::assign {

/// A format that a layer may get, and what it costs.
struct Candidate {
  const Scheme *scheme = nullptr; ///< null: f32, or what `key` alone says
  std::string key = "f32";
  double loss = 0; ///< divergence of the outputs with only this layer changed
  uint64_t bytes = 0;
  double seconds = 0; ///< predicted, for the sizes of the first sample
};

/// What is chosen for one layer. `rule` says why candidates are missing, in the
/// words of the report; empty if none are.
struct Choice {
  std::string node;     ///< its name in the model
  int64_t k = 0, n = 0; ///< rows and columns of its weight as a matrix
  std::string rule;
  std::vector<Candidate> candidates; ///< at least one
  unsigned chosen = 0;

  const Candidate &getChosen() const { return candidates[chosen]; }
  /// True if there is nothing to choose.
  bool isFixed() const { return candidates.size() == 1; }
  /// What the knapsack knows of it.
  std::vector<knapsack::Costs> getCosts() const;
  /// The choice in words, with the loss of the next smaller format. `metric`:
  /// what losses are.
  std::string explain(llvm::StringRef metric) const;
};

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_CHOICE_H
