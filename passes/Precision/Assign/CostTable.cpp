//===- CostTable.cpp - predicted time of products ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "CostTable.h"
#include <algorithm>

using namespace qcc;
using namespace qcc::assign;

Rates assign::getRates(llvm::StringRef level) {
  // One layer of 2048 x 2048 at AVX2, one row: f32 1.05 ms, bit fields 0.36
  // ms, NF4 0.72 ms, fp8 0.50 ms; 128 rows: f32 14.9 ms, bytes 10.5 ms.
  Rates rates = {16e9, 72e9, 102e9, 72e9, 11.6e9, 5.8e9, 8.4e9};
  if (level == "scalar")
    return {16e9, 2e9, 2e9, 2e9, 0.5e9, 0.5e9, 0.5e9};
  if (!level.starts_with("avx512") && level != "amx")
    return rates;
  rates.floats *= 2;
  rates.fields *= 2;
  rates.tables *= 4; // a permutation instead of selects
  rates.smallFloat *= 2;
  rates.integers *= level == "avx512" ? 2 : 5;
  // Tiles of bytes count as VNNI does, so far below what they can do; those of
  // bfloat16 have half their rate.
  rates.halves = level == "amx" ? rates.integers : rates.floats;
  return rates;
}

double assign::getProductSeconds(const Rates &rates, double m, double k,
                                 double n, double bytes, Decoding decoding,
                                 Rounding rounding) {
  bool isInteger = rounding == Rounding::Integers,
       isHalf = rounding == Rounding::Halves;
  double decode = 0;
  // Tiles read bfloat16 as it is stored.
  if (isHalf && rates.halves > rates.floats)
    decoding = Decoding::None;
  switch (decoding) {
  case Decoding::None:
    break;
  case Decoding::Fields:
    // Integer kernels multiply codes: half of the decode is not done.
    decode = k * n / (isInteger ? 2.7 * rates.fields : rates.fields);
    break;
  case Decoding::Tables:
    decode = k * n / rates.tables;
    break;
  case Decoding::SmallFloat:
    decode = k * n / rates.smallFloat;
    break;
  }
  double operations = 2 * m * k * n,
         multiply = operations / (isInteger ? rates.integers
                                  : isHalf  ? rates.halves
                                            : rates.floats);
  double round = 0;
  if (isInteger)
    round = m * k * 8 / rates.bandwidth;
  else if (isHalf)
    round = m * k * 2 / rates.bandwidth;
  else if (rounding == Rounding::SmallFloats)
    // 0.89 ns for each at AVX2 (512 rows of 2048): much more than decoding.
    round = m * k * 7.5 / rates.smallFloat;
  return std::max({bytes / rates.bandwidth, decode, multiply}) + round;
}

double assign::getOtherSeconds(const Rates &rates, double bytes,
                               double operations) {
  return std::max(bytes / rates.bandwidth, operations / rates.floats);
}
