//===- Lanes.h - eight elements at a time -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CALIBRATION_LANES_H
#define QCC_LIB_CALIBRATION_LANES_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <cstring>

namespace qcc {

// Vectors of the compiler, which become what the machine has: a sum of doubles
// in one variable waits for each addition. A cast between them keeps the bits.
inline constexpr size_t kLanes = 8;
using Floats = float __attribute__((vector_size(kLanes * 4)));
using Words = int32_t __attribute__((vector_size(kLanes * 4)));
using Doubles = double __attribute__((vector_size(kLanes * 8)));

/// Calls `body` with each eight elements; the last ones are filled up with
/// `rest`.
template <typename Body>
void forEachEight(llvm::ArrayRef<float> values, float rest, Body body) {
  size_t whole = values.size() / kLanes * kLanes;
  Floats lanes;
  // A copy of known size is a load.
  for (size_t i = 0; i < whole; i += kLanes) {
    std::memcpy(&lanes, values.data() + i, sizeof lanes);
    body(lanes);
  }
  if (whole == values.size())
    return;
  lanes = Floats{} + rest;
  std::memcpy(&lanes, values.data() + whole,
              (values.size() - whole) * sizeof(float));
  body(lanes);
}

/// The sum of all lanes, always in the same order.
inline double addLanes(const Doubles &sums) {
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
         ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

} // namespace qcc

#endif // QCC_LIB_CALIBRATION_LANES_H
