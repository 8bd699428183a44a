//===- Describe.h - a program's interface as text ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Manifest, report and model.h say what the library says of itself: all of
// them read the blob that goes into it.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_PACKAGE_DESCRIBE_H
#define QCC_LIB_PACKAGE_DESCRIBE_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <string>
#include <vector>

namespace qcc {

struct TensorText {
  std::string name;
  std::string type;              ///< "f32", "i64", "bool", ...
  std::vector<std::string> dims; ///< sizes or expressions of symbols
};

struct EntryText {
  std::string name;
  std::vector<TensorText> inputs, outputs;
  bool isStatic = false;
  uint64_t arenaBytes = 0; ///< of a static entry
};

struct SymbolText {
  std::string name;
  int64_t min, max;
};

struct LevelText {
  std::string name;
  std::vector<std::string> features;
};

struct ProgramText {
  std::vector<EntryText> entries;
  std::vector<TensorText> states;
  std::vector<SymbolText> symbols;
  std::vector<LevelText> levels; ///< least demanding first
  uint64_t lowestFeatures = 0;   ///< bits of the first level
  uint64_t scratchBytes = 0;     ///< the most a worker needs
  unsigned numKernels = 0, numSites = 0;
};

/// Reads a blob that ProgramWriter wrote.
ProgramText describeProgram(llvm::ArrayRef<uint8_t> blob);

} // namespace qcc

#endif // QCC_LIB_PACKAGE_DESCRIBE_H
