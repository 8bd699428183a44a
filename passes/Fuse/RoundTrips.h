//===- RoundTrips.h - codes that are not stored -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_FUSE_ROUNDTRIPS_H
#define QCC_PASSES_FUSE_ROUNDTRIPS_H

#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// Keeps codes that are dequantized where they were made in 32 bits: narrowing
/// them to their type and back, and adding a zero point and taking it away,
/// changes no value, as the bounds before the rounding show. Between the layers
/// of a model that comes quantized that is half of an epilogue's operations.
void dropRoundTrips(GenericOp generic);

} // namespace qcc

#endif // QCC_PASSES_FUSE_ROUNDTRIPS_H
