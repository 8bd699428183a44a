//===- Fuse.td - forming dispatches ---------------------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Fuse : Pass<"qcc-fuse", "::mlir::ModuleOp"> {
  let summary = "forms dispatches: a root with the elementwise work around it";
  let description = [{
    First inlines elementwise generics into the generics that read them, so that chains of elementwise operations
    become one. Then wraps every root together with the elementwise generics that follow it, and what is left each on
    its own, in a `qcc.dispatch`. Reshapes, parameters, constants and their constant expressions stay outside:
    reshapes are views, constant expressions are evaluated while the artifact is written.

    A producer is inlined when that repeats no work, or when it only copies, or when repeating it is cheaper than
    storing it (a few simple operations).

    Where floats between sums of integers and 8-bit codes are rounded away, quotients by constants become products,
    products with several constants one, `x (1 + y)` a fused multiply-add, and `erf` is marked as one that may be
    approximated (`afn`).
  }];
  let dependentDialects = ["::qcc::QCCDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}
