//===- Knapsack.h - one format for each layer, within budgets ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The multiple-choice knapsack of mixed precision: of each layer's formats
// exactly one is taken, so that one total is least and others stay below their
// limits. Solved by CBC (branch and bound on an integer program). Nothing here
// knows of MLIR.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PASSES_PRECISION_ASSIGN_KNAPSACK_H
#define QCC_PASSES_PRECISION_ASSIGN_KNAPSACK_H

#include "llvm/ADT/ArrayRef.h"
#include <array>
#include <limits>
#include <optional>
#include <vector>

namespace qcc::knapsack {

/// What a format of a layer costs. All finite and at least 0.
enum Cost { Loss, Size, Latency };
inline constexpr unsigned kCosts = 3;
using Costs = std::array<double, kCosts>;

/// Limits of totals; infinite where there is none.
inline constexpr double kNone = std::numeric_limits<double>::infinity();
using Limits = std::array<double, kCosts>;

/// A format for each layer and what they cost together.
struct Assignment {
  std::vector<unsigned> picks;
  Costs totals = {};
};

/// The picks with the least total of `goal` within `limits`; none if there are
/// none, or if nothing was found in a bounded number of steps. Deterministic:
/// the search is bounded by nodes, not by time. The total is at most 0.01 %
/// above the least one, unless nodes run out first. Limits hold for the sums as
/// they are added here, in the order of layers. Layers without formats are an
/// error of the caller.
std::optional<Assignment> solve(llvm::ArrayRef<std::vector<Costs>> layers,
                                Cost goal, const Limits &limits);

/// What picks cost together.
Costs addCosts(llvm::ArrayRef<std::vector<Costs>> layers,
               llvm::ArrayRef<unsigned> picks);

} // namespace qcc::knapsack

#endif // QCC_PASSES_PRECISION_ASSIGN_KNAPSACK_H
