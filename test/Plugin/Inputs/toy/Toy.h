//===- Toy.h - parts of the plugin ------------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef TOY_TOY_H
#define TOY_TOY_H

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/Pass.h"
#include <memory>

namespace toy {

/// Counts the matrix products of a model in the module attribute
/// `toy.matmuls`.
std::unique_ptr<mlir::Pass> createCountOps();

/// Registers the precision `toy-ternary`.
void registerTernary(mlir::DialectRegistry &registry);

/// Registers the precision `toy-codebook3`.
void registerCodebook(mlir::DialectRegistry &registry);

/// Registers the target `toy`.
void registerTarget(mlir::DialectRegistry &registry);

} // namespace toy

#endif // TOY_TOY_H
