//===- AssignReport.h - what was measured and chosen, as JSON ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_ASSIGNREPORT_H
#define QCC_PASSES_PRECISION_ASSIGN_ASSIGNREPORT_H

#include "Planner.h"

namespace qcc::assign {

/// Everything that the report tells of an assignment.
struct AssignmentFacts {
  std::vector<const Choice *> layers;
  const Planner &planner;
  const knapsack::Assignment &assignment;
  const Budgets &budgets;
  OutputScore score; ///< of the formats chosen, all together
  /// What losses of layers are, `score.divergence` and `score.drop`.
  llvm::StringRef metric, scoreMetric, dropMetric;
  size_t samples;
  uint64_t positions;
  bool isMeasured;
  llvm::StringRef formats;
};

/// The object that docs/mixed-precision.md describes.
std::string writeAssignment(const AssignmentFacts &facts);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_ASSIGNREPORT_H
