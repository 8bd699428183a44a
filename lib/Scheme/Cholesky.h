//===- Cholesky.h - factor of a large matrix --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_SCHEME_CHOLESKY_H
#define QCC_LIB_SCHEME_CHOLESKY_H

#include <cstdint>

namespace qcc {

/// Replaces the lower triangle of a symmetric matrix [k, k] by L with
/// A = L L^T (Golub and Van Loan, Matrix Computations, 4.2.9: by blocks); what
/// is above the diagonal is neither read nor written. False, with the matrix
/// spoiled, if A is not positive definite as far as doubles tell. Takes k^3 / 6
/// fused products and about 8 * 96 * k bytes; its bits depend neither on
/// threads nor on the machine. Why not Eigen's: that is compiled for any
/// machine of the architecture, which is a quarter of the speed of one with
/// AVX2, and uses one thread; at k = 8192 this is minutes for each group of
/// layers.
bool factorCholesky(double *matrix, int64_t k, unsigned threads);

} // namespace qcc

#endif // QCC_LIB_SCHEME_CHOLESKY_H
