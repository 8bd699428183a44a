//===- Activations.h - activations as a format rounds them ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PRECISION_ASSIGN_ACTIVATIONS_H
#define QCC_PASSES_PRECISION_ASSIGN_ACTIVATIONS_H

#include "mlir/IR/Builders.h"
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

/// Mean squares [k] of what that changes in the elements of `rows` [count, k].
std::vector<double> getRoundingErrors(llvm::ArrayRef<float> rows, int64_t k,
                                      const Scheme &scheme);

} // namespace qcc::assign

#endif // QCC_PASSES_PRECISION_ASSIGN_ACTIVATIONS_H
