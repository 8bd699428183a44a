//===- AlgorithmList.h - the names of --algo --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PIPELINE_ALGORITHMLIST_H
#define QCC_PIPELINE_ALGORITHMLIST_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace qcc {

/// An algorithm as `qcc schemes` shows it.
struct AlgorithmInfo {
  llvm::StringRef name, parameter; ///< `gptq-correct`, `SHARE`
  /// Precisions that it is for: "all", or "integer" (activations are rounded).
  llvm::StringRef precisions;
  llvm::StringRef summary;
};

/// All algorithms, in the order in which messages list them.
llvm::ArrayRef<AlgorithmInfo> getAlgorithmList();

} // namespace qcc

#endif // QCC_PIPELINE_ALGORITHMLIST_H
