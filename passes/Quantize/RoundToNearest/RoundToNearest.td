//===- RoundToNearest.td - weights rounded to codes -----------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def RoundToNearest : Pass<"qcc-quantize-rtn", "::mlir::ModuleOp"> {
  let summary = "encodes constant weights in a scheme, each rounded to its nearest code";
  let description = [{
    Replaces each product of a float activation with a constant matrix by `qcc.encode` of the weight and `qcc.qmatmul`,
    with `qcc.quantize_rows` of the activation for schemes with integer compute. Needs no calibration data: scales of
    activations are found at run time, those of weights by the scheme.

    A weight that the model has in integer codes (MatMulNBits, DequantizeLinear in front of MatMul) stays in them, with the
    model's scales and zero points, where `scheme` is `f32`, an integer format of as many bits or more with float
    activations, or `w4a8` for codes of 4 bits; not where an algorithm or a budget has chosen. With `f32` nothing
    else is done.

    Every operation with a weight says in `qcc.requested`, `qcc.executed` and `qcc.reason` what became of it: as asked,
    kept in f32 (by name, or because low precision does not pay), or not supported.
  }];
  let options = [
    Option<"scheme", "scheme", "std::string", "\"int8\"", "key of the scheme, with its parameters, or f32">,
    ListOption<"keep", "keep", "std::string", "regular expressions of node names that stay in f32">,
  ];
  let dependentDialects = ["::qcc::QCCDialect"];
}
