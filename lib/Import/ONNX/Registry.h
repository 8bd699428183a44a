//===- Registry.h - which function converts which operator ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_REGISTRY_H
#define QCC_LIB_IMPORT_ONNX_REGISTRY_H

#include "NodeContext.h"
#include "qcc/Import/ONNX/Import.h"
#include "llvm/ADT/StringMap.h"
#include <vector>

namespace qcc::onnx_import {

/// Sets the node's outputs, or records a problem and fails.
using Converter = mlir::LogicalResult (*)(NodeContext &);

struct Entry {
  llvm::StringRef op;
  int64_t sinceOpset;
  unsigned minInputs, maxInputs;
  Converter convert;
  llvm::StringRef notes = "";
};

/// The note of operators with windows (Window.h).
inline constexpr llvm::StringLiteral kWindowNote =
    "auto_pad SAME_UPPER and SAME_LOWER with a stride along a size that is not "
    "known (fix it with --dim)";
inline constexpr llvm::StringLiteral kConvNote =
    "more than 3 spatial dimensions; auto_pad SAME_UPPER and SAME_LOWER with a "
    "stride along a size that is not known (fix it with --dim)";

inline constexpr unsigned kAnyNumber = 1u << 30;
inline constexpr llvm::StringLiteral kOnnxDomain = "";
inline constexpr llvm::StringLiteral kMicrosoftDomain = "com.microsoft";

class Registry {
public:
  Registry();

  void add(llvm::StringRef domain, std::initializer_list<Entry> entries);
  /// The converter of an operator at an opset of its domain: the one with the
  /// highest `sinceOpset` not above it. Null if there is none; `known` tells
  /// whether the operator is there in another opset.
  const Entry *find(llvm::StringRef domain, llvm::StringRef op, int64_t opset,
                    bool *known = nullptr) const;
  llvm::ArrayRef<OpSupport> getSupport() const { return support; }

private:
  llvm::StringMap<std::vector<Entry>> entries;
  std::vector<OpSupport> support;
};

/// True for the operators that floats of 8 bits and less (SmallFloat.h) may be
/// inputs of: what moves, stores or converts elements. Others would compute
/// with their codes.
bool takesSmallFloats(llvm::StringRef op);

/// The one registry; built on first use and never changed.
const Registry &getRegistry();

void registerElementwise(Registry &registry);
void registerActivation(Registry &registry);
void registerControlFlow(Registry &registry);
void registerShape(Registry &registry);
void registerMovement(Registry &registry);
void registerSlice(Registry &registry);
void registerIndexing(Registry &registry);
void registerRecurrent(Registry &registry);
void registerReduction(Registry &registry);
void registerConv(Registry &registry);
void registerPool(Registry &registry);
void registerNorm(Registry &registry);
void registerMatMul(Registry &registry);
void registerAttention(Registry &registry);
void registerResize(Registry &registry);
void registerQuantized(Registry &registry);
void registerMisc(Registry &registry);
void registerSampling(Registry &registry);
void registerScatter(Registry &registry);
void registerSignal(Registry &registry);
void registerRegions(Registry &registry);
void registerUnpool(Registry &registry);
void registerFusedAttention(Registry &registry);
void registerGroupQueryAttention(Registry &registry);
void registerMixtureOfExperts(Registry &registry);
void registerForest(Registry &registry);
void registerLearning(Registry &registry);
void registerMatrix(Registry &registry);
void registerSelection(Registry &registry);
void registerSequences(Registry &registry);
void registerSorting(Registry &registry);
void registerLinearAttention(Registry &registry);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_REGISTRY_H
