//===- Rounded.h - weights and activations as rounded ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_ROUNDED_H
#define QCC_PASSES_PRECISION_ASSIGN_ROUNDED_H

#include "mlir/IR/Builders.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Scheme/Scheme.h"
#include <vector>

namespace qcc::assign {

/// Whether products of the format have rounded activations: integer ones, and
/// those that round tokens. False for null (f32).
bool roundsActivations(const Scheme *scheme);

/// `x + toggle * (x' - x)`, x' the activation [..., k] as products of the
/// format see it, in f32; x' itself without a toggle (a tensor of one f32).
mlir::Value roundActivation(mlir::OpBuilder &builder, mlir::Value x,
                            const Scheme &scheme, mlir::Value toggle);

/// The weight [k, n] of a product as the format rounds it to nearest, in f32.
mlir::Value roundWeight(mlir::OpBuilder &builder, MatMulOp product,
                        const Scheme &scheme);

/// Mean squares [k] of what rounding changes in the elements of `rows` [count,
/// k].
std::vector<double> getRoundingErrors(llvm::ArrayRef<float> rows, int64_t k,
                                      const Scheme &scheme);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_ROUNDED_H
