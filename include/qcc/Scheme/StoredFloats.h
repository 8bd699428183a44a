//===- StoredFloats.h - weights that are stored as floats -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SCHEME_STOREDFLOATS_H
#define QCC_SCHEME_STOREDFLOATS_H

#include "qcc/Scheme/Scheme.h"

namespace qcc {

/// A scheme that stores each weight as a narrower float: there is no scale to
/// choose and no code to assign, a weight is rounded and that is all. Its one
/// code means 0. Algorithms that choose scales or codes do not apply.
///
/// The layout is that of a scheme with scales of whole channels, all of them 1,
/// so kernels need not know of it. The product is computed in f32.
class StoredFloatScheme : public Scheme {
public:
  /// The nearest number of the format, as f32; infinite where that is larger
  /// than all of the format's. `weight` is finite.
  virtual float round(float weight) const = 0;
  /// Stores rounded weights [unit.k][16] (row-major) in `unit.bytes` bytes.
  virtual void store(llvm::ArrayRef<float> weights,
                     llvm::MutableArrayRef<char> bytes) const = 0;

  SchemeCompute getCompute() const final { return SchemeCompute::Float; }
  int64_t getGroup() const final { return 0; }
  unsigned getMaxCode() const final { return 0; }
  std::optional<int32_t> getZero() const final { return 0; }
  bool isLinear() const final { return false; }
  GroupAffine choose(llvm::ArrayRef<float>, llvm::ArrayRef<float>) const final {
    return {1, 0};
  }
  /// The only code is that of 0, whose bytes are 0.
  void pack(llvm::ArrayRef<uint8_t>,
            llvm::MutableArrayRef<char> bytes) const final {
    llvm::fill(bytes, 0);
  }

  const StoredFloatScheme *asStoredFloats() const final { return this; }
  static bool classof(const Scheme *scheme) { return scheme->asStoredFloats(); }
};

} // namespace qcc

#endif // QCC_SCHEME_STOREDFLOATS_H
