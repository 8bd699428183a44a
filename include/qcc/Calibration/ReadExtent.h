//===- ReadExtent.h - the part of a dimension that is read ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One product often makes queries, keys and values, or a gate and what it
// gates, of which slices are read. What rewrites the channels of one follows
// slices and leaves the others alone.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CALIBRATION_READEXTENT_H
#define QCC_CALIBRATION_READEXTENT_H

#include "qcc/Dialect/QCC/QCCDialect.h"
#include <cstdint>
#include <optional>

namespace qcc {

/// Slices of one activation that are looked at; with more of them it counts as
/// read elsewhere.
inline constexpr unsigned kMaxReaders = 64;

/// Where an operation reads a dimension of an input: `size` elements from
/// `start` on, each `stride` behind the one before, along dimension `dim` of
/// its result, or one if that is -1.
struct ReadExtent {
  int64_t start = 0, size = 1, dim = -1, stride = 1;

  /// True if all of it is within `size` elements.
  bool isWithin(int64_t all) const {
    return start >= 0 && start < all &&
           (size - 1) <= (all - 1 - start) / stride;
  }
};

/// The extent of result `expr` of an input's map; none for what is not a
/// constant or a dimension of known size, times and shifted by constants.
std::optional<ReadExtent> getReadExtent(GenericOp op, mlir::AffineExpr expr);

/// The extent of a use along dimension `dim` of its tensor; none if it may be
/// all of it.
std::optional<ReadExtent> getReadExtent(mlir::OpOperand &use, int64_t dim);

} // namespace qcc

#endif // QCC_CALIBRATION_READEXTENT_H
