//===- FormInteger.td - integer products from dequantized ones -*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def FormInteger : Pass<"qcc-form-integer", "::mlir::ModuleOp"> {
  let summary = "computes products and convolutions of dequantized codes in integers";
  let description = [{
    A float product of `qcc.dequantize` results, or a convolution with a constant weight, becomes `qcc.int_matmul` or
    `qcc.int_conv` of the codes and one `qcc.dequantize` of its sums, whose scale is the product of both scales: exact
    sums and one rounding in place of one per addition.

    Maxima of windows are taken among codes, codes that are taken for floats and found again with the same scale are
    kept, an activation with nothing below zero is dropped before codes that have nothing below it, and sums are
    quantized again with the reciprocal of the scale.

    Averages of windows and sums over dimensions are exact sums of codes in i32 (i64 where the number of elements is not known), one `qcc.dequantize` and a division by the
    number of elements, which for windows that the padding cuts is what they have. The scale and that of the codes which an
    average becomes are one factor.

    Kernels take signed codes without a zero point. A constant weight with others, also of an integer operation that the model
    has, becomes that: 128 less of codes without a sign, and what a zero point is off is added in the epilogue, times the
    sums of the inputs (a product with a weight of ones). Sums of 32 bits wrap, so all results are exact. With
    `qcc.zeros_fit` the codes less their zero points fit signed bytes and are the weight; of a depthwise convolution they are, in
    i16, in any case.

    Of two activations, or with a weight of several matrices, both operands keep their zero points. Where the inner
    dimension is not known the left operand has to be codes of a softmax, which add up to 1: sums of others may not fit.

    A depthwise convolution with several outputs per channel has no kernel for bytes: its codes less their zero points are
    convolved as f32, where sums stay below 2^24 and are exact.

    A constant weight may have signed codes of 4 bits, or 8 as the zero point of those without a sign, which are stored so.
    Others of fewer than 8 bits are 8 bits wide here if they are of a convolution; products have formats for them.

    Codes of what a copy, a concatenation or a reshape gives are found before it, and what slices, gathers or joins floats
    of one scale moves their codes.

    Left alone, for no target has an exact kernel that pays: codes of more than 8 bits, a scale per element along the
    inner dimension, so many rows that a sum may not fit 32 bits, three spatial dimensions. `qcc.reason` says which.
  }];
  let dependentDialects = ["::qcc::QCCDialect", "::mlir::arith::ArithDialect"];
}
