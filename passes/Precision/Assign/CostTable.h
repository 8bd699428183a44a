//===- CostTable.h - predicted time of products -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What budgets of latency are made of. Times are predicted, not measured, so
// that an artifact's bytes depend neither on the machine that compiles nor on
// what else runs on it. Only ratios between formats count.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PASSES_PRECISION_ASSIGN_COSTTABLE_H
#define QCC_PASSES_PRECISION_ASSIGN_COSTTABLE_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>

namespace qcc::assign {

/// Rates of one core at a feature level.
struct Rates {
  double bandwidth;  ///< bytes that are read from memory per second
  double floats;     ///< f32 operations per second (a multiply-add is two)
  double integers;   ///< the same, of products of bytes
  double halves;     ///< and of bfloat16, with sums in f32
  double fields;     ///< weights decoded per second: integers in bit fields
  double tables;     ///< and those that are looked up (NF4)
  double smallFloat; ///< and floats of 8 bits
};

/// Rates of a level; those of AVX2 for a name that is not known. AVX2's are the
/// times in docs/benchmarks/2026-11-27-low-bit.md, others follow from the width
/// of vectors and from VNNI's four products per lane.
Rates getRates(llvm::StringRef level);

/// How activations are rounded before they are multiplied: not at all, to codes
/// that integer kernels multiply, to floats of 8 bits or to bfloat16.
enum class Rounding { None, Integers, SmallFloats, Halves };

/// How a weight is stored.
enum class Decoding { None, Fields, Tables, SmallFloat };

/// Seconds of a product of [m, k] activations and a [k, n] weight of `bytes`.
/// Reading, decoding and multiplying overlap with few rows, where the slowest
/// of them counts; multiplying many rows takes its own time.
double getProductSeconds(const Rates &rates, double m, double k, double n,
                         double bytes, Decoding decoding, Rounding rounding);

/// Seconds of an operation that reads and writes so many bytes and does so many
/// f32 operations.
double getOtherSeconds(const Rates &rates, double bytes, double operations);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_COSTTABLE_H
