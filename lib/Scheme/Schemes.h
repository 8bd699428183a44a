//===- Schemes.h - the schemes of the tree ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_SCHEME_SCHEMES_H
#define QCC_LIB_SCHEME_SCHEMES_H

#include "qcc/Scheme/Scheme.h"

namespace qcc {
/// The range of weights, extended to hold 0, on the codes from 0 to `maxCode`:
/// scale `range / maxCode`, zero point the code nearest to `-low / scale`.
GroupAffine chooseAsymmetric(llvm::ArrayRef<float> weights, unsigned maxCode);

void registerInt8Scheme(mlir::DialectRegistry &registry);
void registerW4A8Scheme(mlir::DialectRegistry &registry);
void registerBfloat16Schemes(mlir::DialectRegistry &registry);
/// w8a16, w6a16, w4a16, w3a16, w2a16.
void registerLinearSchemes(mlir::DialectRegistry &registry);
/// fp8, fp8-e5m2, nf4.
void registerFloatSchemes(mlir::DialectRegistry &registry);
} // namespace qcc

#endif // QCC_LIB_SCHEME_SCHEMES_H
