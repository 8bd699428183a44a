//===- RotateMath.h - rotations of channels ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Orthogonal matrices that spread every channel over all others (QuaRot,
// Ashkboos et al., 2024; quantization.md 1.6): random signs, then a Hadamard
// matrix as far as the size has one. No MLIR here.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PASSES_TRANSFORM_ROTATE_ROTATEMATH_H
#define QCC_PASSES_TRANSFORM_ROTATE_ROTATEMATH_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <optional>
#include <vector>

namespace qcc::rotate {

/// An orthogonal matrix Q [size, size] = S (H x B): S are signs that depend on
/// a seed, H the Hadamard matrix of a power of two, B a small matrix for the
/// rest of the size: Hadamard by Paley's construction where there is one, else
/// that of the Hartley transform, whose elements are at most sqrt(2 / size).
class Rotation {
public:
  /// Factors of sizes that are no powers of two are at most this.
  static constexpr int64_t kMaxBase = 1024;

  /// None for sizes below 2 and those with a larger odd factor.
  static std::optional<Rotation> make(int64_t size, uint64_t seed);

  int64_t getSize() const { return int64_t(signs.size()); }
  /// True if all elements have the same magnitude.
  bool isHadamard() const { return hadamard; }

  /// x^T Q in place of a vector of `getSize()` elements. The same makes Q^T x
  /// of a column x.
  void apply(double *x, std::vector<double> &scratch) const;

  /// W Q of a matrix of rows, W [rows, blocks * size]: each block of columns by
  /// itself. Computed in f64, rounded once.
  void applyToRows(llvm::MutableArrayRef<float> values, int64_t rows,
                   int64_t columns) const;
  /// Q^T W, W [blocks * size, columns]: each block of rows by itself. Rows are
  /// multiplied by `gains` [rows] before, unless there are none.
  void applyToColumns(llvm::MutableArrayRef<float> values, int64_t rows,
                      int64_t columns, llvm::ArrayRef<float> gains = {}) const;

private:
  Rotation() = default;

  std::vector<double> signs;
  int64_t base = 1;          ///< size of B
  std::vector<double> small; ///< B [base, base]
  bool hadamard = true;
};

} // namespace qcc::rotate

#endif // QCC_PASSES_TRANSFORM_ROTATE_ROTATEMATH_H
