//===- GPTQ.td - weights chosen by their effect on outputs ----*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def GPTQ : Pass<"qcc-quantize-gptq", "::mlir::ModuleOp"> {
  let summary = "chooses the rounded weights of products by the error of their outputs on calibration data";
  let description = [{
    For each product with a constant weight that the scheme can take: rounds the weight to nearest and by each of
    `methods`, and keeps the result with the least error of the outputs on the calibration data, measured with the Gram
    matrix of the inputs. The product stays a `qcc.matmul` whose weight lies on the scheme's grid; scales and zero points
    are parameters named in its attributes, which `qcc-quantize-rtn` stores. `qcc.error` has the relative error of the
    outputs when rounded to nearest, and as chosen.

    Methods: `clip` (scales of clipped weights, chosen by the error), `gptq` (GPTQ, static groups, order by activations),
    `gptq-clip` (the same with clip's scales) and `refine` (the best of the others, its scales and codes moved one at a
    time to where the error is least). `sequential`: the inputs of a product are those that the weights chosen
    before it give, else those of the float model. `correct` is the share, from 0 to 1, of the difference between the
    outputs for these inputs and those of the float model that weights make up for before they are rounded (sequential
    only).
  }];
  let options = [
    Option<"scheme", "scheme", "std::string", "\"int8\"", "key of the scheme">,
    ListOption<"keep", "keep", "std::string", "regular expressions of node names that stay in f32">,
    ListOption<"methods", "methods", "std::string", "clip, gptq, gptq-clip, refine">,
    Option<"sequential", "sequential", "bool", "false", "inputs of each product are those of the quantized model">,
    Option<"correct", "correct", "double", "0", "share of earlier errors that weights make up for">,
    Option<"damping", "damping", "double", "0.01", "share of the mean of the diagonal that is added to it">,
  ];
  let dependentDialects = ["::qcc::QCCDialect"];
}
