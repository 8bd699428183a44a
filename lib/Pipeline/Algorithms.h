//===- Algorithms.h - what --algo asks for ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_ALGORITHMS_H
#define QCC_LIB_PIPELINE_ALGORITHMS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace qcc {

/// The algorithms of --algo, in the order in which they run whatever the order
/// in which they were given.
struct Algorithms {
  bool rotate = false;
  bool smoothQuant = false;
  double alpha = -1; ///< of SmoothQuant; negative: searched
  bool divide = false;
  bool awq = false;
  bool clip = false;
  bool gptq = false;
  bool refine = false;
  double correct = 0; ///< share of earlier errors that GPTQ makes up for

  /// True if weights or activations are changed before they are rounded.
  bool transforms() const { return rotate || smoothQuant || awq; }
  /// True if rounded weights are chosen by data.
  bool chooses() const { return awq || clip || gptq || refine; }
  /// Methods of the pass that chooses them.
  std::vector<std::string> getMethods() const;
};

/// Names of --algo: rtn, clip, awq, gptq, gptq-correct[:SHARE], refine,
/// smoothquant[:ALPHA], smoothquant-explicit[:ALPHA], rotate. Errors: Usage,
/// with the nearest name.
llvm::Expected<Algorithms> parseAlgorithms(llvm::ArrayRef<std::string> names);

} // namespace qcc

#endif // QCC_LIB_PIPELINE_ALGORITHMS_H
