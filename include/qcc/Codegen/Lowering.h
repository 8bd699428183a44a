//===- Lowering.h - from a kernel's MLIR to an object file ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CODEGEN_LOWERING_H
#define QCC_CODEGEN_LOWERING_H

#include "qcc/Codegen/KernelBuilder.h"

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace qcc {

/// Registers the dialects that kernels are made of and how they are lowered and
/// translated.
void registerCodegenDialects(mlir::DialectRegistry &registry);

/// Replaces what neither LLVM nor the machine does by itself: transcendental
/// functions become polynomials of vectors or scalars alike (calls of libm in
/// f64 with `exactMath`), 16-bit floats are computed in f32, integer division
/// by zero gives an unspecified number instead of a trap. Bounds are in
/// docs/numerics.md.
void expandMath(mlir::Operation *root, const Capabilities &caps);

/// Lowers a module of func, scf, cf, arith, math, vector, amx and llvm to the
/// llvm dialect. Contracts no multiplication and addition: only `math.fma` is
/// fused. Fails with MLIR diagnostics.
mlir::LogicalResult lowerKernelModule(mlir::ModuleOp module,
                                      const Capabilities &caps);

/// What `emitCode` writes.
enum class CodeKind { Object, Assembly };

/// Compiles a module of the llvm dialect at -O3 for the level: a position
/// independent ELF object (or assembly to read), equal for equal input. Fails
/// with MLIR diagnostics.
mlir::LogicalResult emitCode(mlir::ModuleOp module, const Capabilities &caps,
                             llvm::SmallVectorImpl<char> &code,
                             CodeKind kind = CodeKind::Object);
inline mlir::LogicalResult emitObject(mlir::ModuleOp module,
                                      const Capabilities &caps,
                                      llvm::SmallVectorImpl<char> &object) {
  return emitCode(module, caps, object, CodeKind::Object);
}

} // namespace qcc

#endif // QCC_CODEGEN_LOWERING_H
