//===- AWQ.td - scales that protect important channels --------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def AWQ : Pass<"qcc-transform-awq", "::mlir::ModuleOp"> {
  let summary = "scales the inputs of products so that their weights round better (AWQ)";
  let description = [{
    For each activation that products with constant weights read, searches scales of its channels by the error of the
    products' outputs on the calibration data, with weights rounded to nearest (`judge=rtn`) or by GPTQ (`judge=gptq`).
    Inputs are divided by them in the weights that make them, found from the graph (norms, the product before, values of an
    attention whose heads may be shared); rows of weights are multiplied by them. The model computes the same in float,
    which is checked. `qcc.transform` says for each product what was done, or why nothing was.
  }];
  let options = [
    Option<"scheme", "scheme", "std::string", "\"int8\"", "key of the scheme">,
    ListOption<"keep", "keep", "std::string", "regular expressions of node names that stay in f32">,
    Option<"onlyChanged", "only-changed", "bool", "false",
           "take only activations with a product whose precision is assigned and not `scheme`">,
    Option<"judge", "judge", "std::string", "\"rtn\"", "how weights are rounded when scales are compared: rtn, gptq">,
  ];
  let dependentDialects = ["::qcc::QCCDialect"];
}
