//===- Recognize.td - named operations from their parts -------*- tablegen
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Recognize : Pass<"qcc-recognize", "::mlir::ModuleOp"> {
  let summary =
      "finds attention and normalisations that were exported as their parts";
  let description = [{
    Exporters write scaled dot-product attention as two matrix products around a softmax, layer normalisation before
    opset 17 as means, differences and a square root, and RMS normalisation without the differences. All are found by
    structure, never by name, and become `qcc.attention` and `qcc.norm`, for which targets have kernels of their own. A
    pattern whose values are used elsewhere too is left alone. Attention takes what exporters multiply its queries and keys
    with, and reads keys and values that they repeat for several heads where they are.

    Batch normalisation of a convolution's results, `x * scale + shift` per channel with constants, leaves the shift: the
    scale goes into the weight, and times the bias into the shift, unless the weight is not a parameter as it is in the
    model (codes of others).
  }];
  let dependentDialects = ["::qcc::QCCDialect", "::mlir::arith::ArithDialect"];
}
