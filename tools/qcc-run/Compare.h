//===- Compare.h - outputs against a reference ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TOOLS_QCC_RUN_COMPARE_H
#define QCC_TOOLS_QCC_RUN_COMPARE_H

#include "Array.h"

namespace qcc::run {

/// An element agrees when |got - expected| <= atol + rtol * |expected|, or with
/// `relMax` when it is within relMax times the largest magnitude expected. NaN
/// agrees with NaN, an infinity with itself. Integers and bools agree when
/// equal, or within atol of at least 1. For 16-bit floats rtol is at least one
/// rounding step.
struct Tolerance {
  double rtol = 1e-3;
  double atol = 1e-7;
  double relMax = 0;
};

/// How one output differs.
struct Comparison {
  std::string name;
  bool passed = false;
  std::string problem; ///< of type or shape, or the worst element
  uint64_t count = 0;
  uint64_t mismatches = 0;
  double maxError = 0;    ///< largest |got - expected|
  double maxExpected = 0; ///< largest finite |expected|
  double cosine = 1;
};

Comparison compare(const Array &got, const Array &expected,
                   const Tolerance &tolerance);

/// Compares every expected array with the output of its name, or with
/// `byPosition` of its place. One that is missing does not pass.
std::vector<Comparison> compareAll(const std::vector<Array> &got,
                                   const std::vector<Array> &expected,
                                   bool byPosition, const Tolerance &tolerance);

} // namespace qcc::run

#endif // QCC_TOOLS_QCC_RUN_COMPARE_H
