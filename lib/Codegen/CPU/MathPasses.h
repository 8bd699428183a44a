//===- MathPasses.h - steps of expandMath -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_CPU_MATHPASSES_H
#define QCC_LIB_CODEGEN_CPU_MATHPASSES_H

namespace mlir {
class Operation;
} // namespace mlir

namespace qcc {

class GenericOp;

/// Computes f16 and bf16 arithmetic in f32, rounding each result; conversions
/// to and from bf16 become integer operations.
void promoteSmallFloats(mlir::Operation *root);

/// Integer divisions and remainders by zero, and of the smallest integer by
/// minus one, give an unspecified value instead of a trap.
void makeDivisionsSafe(mlir::Operation *root);

/// rsqrt, clampf, isinf, isnan, isfinite, fpowi and ipowi by simpler
/// operations; so are squares, cubes and conversions of rounded numbers to
/// integers unless `exact`.
void expandSimpleMath(mlir::Operation *root, bool exact);

/// True for functions that become polynomials or calls, in contrast to
/// rounding, absolute value and the like.
bool isTranscendental(mlir::Operation *op);

/// True for a generic that computes such functions.
bool computesFunctions(GenericOp generic);

} // namespace qcc

#endif // QCC_LIB_CODEGEN_CPU_MATHPASSES_H
