//===- OwnCodes.h - weights that a model has in codes -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_ROUNDTONEAREST_OWNCODES_H
#define QCC_PASSES_QUANTIZE_ROUNDTONEAREST_OWNCODES_H

#include "qcc/Scheme/Products.h"

namespace qcc {

/// The scheme in which a product's weight stays in the codes that the model has
/// it in, for `target`, null for f32; where that is no loss and what was asked
/// for:
///   f32                                 activations in f32
///   integer weights, f32 activations    of as many bits or more: the same
///   nf4                                 numbers of NF4
///   w4a8                                integer codes of 4 bits
/// It has the model's groups, and scales as exact as the model's. Null, with
/// the reason in `why` ("not supported: ...", "kept: ..."), where no scheme can
/// store such codes; null without one where there are none or `target` is
/// something else.
const Scheme *findOwnScheme(MatMulOp op, const Scheme *target,
                            std::string &why);

/// A weight [K, N] with the model's scales and zero points, as qcc.encode takes
/// them.
struct OwnCodes {
  mlir::Value weight; ///< f32 [K, N]
  mlir::Value scales; ///< f32 [groups, N]
  mlir::Value zeros;  ///< i32 [groups, N]; null if the scheme has one for all
};

/// Those of a product that findOwnScheme has found `scheme` for.
OwnCodes buildOwnCodes(mlir::OpBuilder &b, MatMulOp op, const Scheme &scheme);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_ROUNDTONEAREST_OWNCODES_H
