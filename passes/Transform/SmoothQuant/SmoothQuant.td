//===- SmoothQuant.td - large activations moved into weights --*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def SmoothQuant : Pass<"qcc-transform-smoothquant", "::mlir::ModuleOp"> {
  let summary = "moves large channels of activations into weights so that both round well to 8 bits (SmoothQuant)";
  let description = [{
    For each activation that products with constant weights read, divides its channels by scales
    `max|x|^alpha / max|w|^(1 - alpha)` in the weights that make it and multiplies the rows of the products' weights by
    them. `alpha` is searched for each by the error of the outputs on the calibration data, with both rounded as the
    scheme does, unless it is given. Where the division cannot be folded it is an operation of its own with `explicit`, else
    nothing is done. The model computes the same in float, which is checked. `qcc.transform` says for each product what was
    done, or why nothing was.
  }];
  let options = [
    Option<"scheme", "scheme", "std::string", "\"int8\"", "key of the scheme">,
    ListOption<"keep", "keep", "std::string", "regular expressions of node names that stay in f32">,
    Option<"alpha", "alpha", "double", "-1", "share of the range that weights take, 0 to 1; negative: searched">,
    Option<"divide", "explicit", "bool", "false", "divide in an operation of its own where nothing can be folded into">,
  ];
  let dependentDialects = ["::qcc::QCCDialect"];
}
