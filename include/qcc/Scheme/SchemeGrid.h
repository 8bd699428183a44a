//===- SchemeGrid.h - a scheme as a grid for algorithms ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SCHEME_SCHEMEGRID_H
#define QCC_SCHEME_SCHEMEGRID_H

#include "qcc/Scheme/Grid.h"
#include "qcc/Scheme/Scheme.h"

namespace qcc {

/// The numbers that a scheme stores, for what knows no schemes.
class SchemeGrid final : public WeightGrid {
public:
  explicit SchemeGrid(const Scheme &scheme) : scheme(scheme) {}

  int64_t getGroup() const override { return scheme.getGroup(); }

  GridAffine choose(llvm::ArrayRef<float> weights,
                    llvm::ArrayRef<float> importance) const override {
    GroupAffine affine = scheme.choose(weights, importance);
    return {affine.scale, affine.zero};
  }

  float round(float weight, GridAffine affine) const override {
    GroupAffine map{affine.scale, affine.zero};
    uint8_t code = 0;
    scheme.assign(weight, map, code);
    return scheme.value(code, map);
  }

  float storeScale(float scale) const override {
    bool isHalf = scheme.hasHalfScales() && scheme.getGroup() != 0;
    return isHalf ? roundToHalf(scale) : scale;
  }

private:
  const Scheme &scheme;
};

} // namespace qcc

#endif // QCC_SCHEME_SCHEMEGRID_H
