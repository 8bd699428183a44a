//===- Approximate.h - floats that are rounded to codes ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_FUSE_APPROXIMATE_H
#define QCC_PASSES_FUSE_APPROXIMATE_H

#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// Makes the floats between exact sums of integers and the 8-bit codes that
/// they are rounded to cheaper, where that changes a value by a few units of
/// its last place, as much as the operations before do: a quotient by a
/// constant becomes a product, products with constants become one, `x (1 + y)`
/// a fused multiply-add, and `erf` may be approximated (`afn`: its error is
/// absolute, see docs/numerics.md). Does nothing to other generics.
void approximateRounded(GenericOp generic);

} // namespace qcc

#endif // QCC_PASSES_FUSE_APPROXIMATE_H
