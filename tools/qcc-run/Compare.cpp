//===- Compare.cpp - outputs against a reference ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

using namespace qcc::run;

static bool isWhole(const TypeInfo &type) {
  return type.code == kDLInt || type.code == kDLUInt || type.code == kDLBool;
}

namespace {

/// Sums over the elements of one output.
struct Sums {
  double dot = 0, gotSquares = 0, expectedSquares = 0;
  uint64_t worst = 0;
  double worstExcess = -1;
};

} // namespace

/// One part of an element (complex ones have two).
static void compareElement(double got, double expected, uint64_t i,
                           double allowed, Comparison &result, Sums &sums) {
  bool same = got == expected || (std::isnan(got) && std::isnan(expected));
  double error = same ? 0 : std::fabs(got - expected);
  if (std::isfinite(expected))
    result.maxExpected = std::max(result.maxExpected, std::fabs(expected));
  if (std::isfinite(got) && std::isfinite(expected)) {
    sums.dot += got * expected;
    sums.gotSquares += got * got;
    sums.expectedSquares += expected * expected;
  }
  // Not a number is larger than all.
  if (!(error <= result.maxError))
    result.maxError = std::isnan(error) ? INFINITY : error;
  if (same || error <= allowed)
    return;
  ++result.mismatches;
  double excess = std::isnan(error) ? INFINITY : error - allowed;
  if (excess <= sums.worstExcess)
    return;
  sums.worstExcess = excess;
  sums.worst = i;
}

static bool sameBytes(const Array &a, const Array &b, uint64_t i) {
  return std::memcmp(a.bytes.data() + 8 * i, b.bytes.data() + 8 * i, 8) == 0;
}

static std::string indexText(uint64_t i, const std::vector<int64_t> &shape) {
  std::string text;
  for (size_t d = shape.size(); d-- > 0;) {
    std::string index = std::to_string(i % uint64_t(shape[d]));
    text.insert(0, text.empty() ? index : index + ", ");
    i /= uint64_t(shape[d]);
  }
  return "[" + text + "]";
}

Comparison qcc::run::compare(const Array &got, const Array &expected,
                             const Tolerance &tolerance) {
  Comparison result;
  result.name = got.name;
  result.count = expected.count();
  if (got.type != expected.type || got.shape != expected.shape) {
    result.problem = "expected " + describe(expected.type, expected.shape) +
                     ", but got " + describe(got.type, got.shape);
    return result;
  }
  double rtol = tolerance.rtol, floor = 0;
  if (isWhole(*expected.type))
    rtol = 0;
  else if (expected.type->bits == 16)
    rtol = std::max(rtol, expected.type->code == kDLBfloat ? 0x1p-7 : 0x1p-10);
  double atol =
      isWhole(*expected.type) && tolerance.atol < 1 ? 0 : tolerance.atol;
  if (tolerance.relMax > 0)
    for (uint64_t i = 0; i < result.count; ++i)
      if (double value = std::fabs(expected.at(i)); std::isfinite(value))
        floor = std::max(floor, value * tolerance.relMax);
  Sums sums;
  bool whole = isWhole(*expected.type) && expected.type->bits == 64;
  for (uint64_t i = 0; i < result.count; ++i) {
    double value = expected.at(i);
    auto allowed = [&](double part) {
      return std::max(floor, atol + rtol * std::fabs(part));
    };
    double own = got.at(i);
    // Large integers may be one double and still differ.
    if (whole && own == value && !sameBytes(got, expected, i))
      own = std::numeric_limits<double>::quiet_NaN();
    compareElement(own, value, i, allowed(value), result, sums);
    if (expected.type->code == kDLComplex)
      compareElement(got.imaginaryAt(i), expected.imaginaryAt(i), i,
                     allowed(expected.imaginaryAt(i)), result, sums);
  }
  if (sums.gotSquares > 0 && sums.expectedSquares > 0)
    result.cosine =
        sums.dot / std::sqrt(sums.gotSquares) / std::sqrt(sums.expectedSquares);
  result.passed = result.mismatches == 0;
  if (!result.passed) {
    char text[256];
    std::snprintf(text, sizeof(text),
                  "%llu of %llu elements differ, the worst at %s: expected "
                  "%.9g, but got %.9g",
                  (unsigned long long)result.mismatches,
                  (unsigned long long)result.count,
                  indexText(sums.worst, expected.shape).c_str(),
                  expected.at(sums.worst), got.at(sums.worst));
    result.problem = text;
  }
  return result;
}

std::vector<Comparison> qcc::run::compareAll(const std::vector<Array> &got,
                                             const std::vector<Array> &expected,
                                             bool byPosition,
                                             const Tolerance &tolerance) {
  std::vector<Comparison> results;
  for (size_t i = 0; i < expected.size(); ++i) {
    size_t at = i;
    if (!byPosition)
      at = size_t(std::find_if(got.begin(), got.end(),
                               [&](const Array &a) {
                                 return a.name == expected[i].name;
                               }) -
                  got.begin());
    if (at < got.size()) {
      results.push_back(compare(got[at], expected[i], tolerance));
      continue;
    }
    Comparison missing;
    missing.name = expected[i].name;
    missing.problem = "the model has no such output";
    results.push_back(missing);
  }
  return results;
}
