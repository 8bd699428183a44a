//===- Assign.td - a precision for each product ---------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Assign : Pass<"qcc-precision-assign", "::mlir::ModuleOp"> {
  let summary = "chooses a precision for each product within budgets (mixed precision)";
  let description = [{
    Measures on the calibration data what each of `formats` does to the model's first float output when one product alone has
    it, and chooses one for each product: without `max-drop` those with the least sum of these losses, with it those of the
    smallest size, within all budgets. The choice is an integer program that CBC solves.

    `max-size` is a part of the float weights (`0.3x`) or bytes (`120MB`), `max-latency` a part of the predicted time of the
    float model (`0.5x`), `max-drop` the rise of the perplexity, the share of rows with another largest class, or the squared
    error relative to the output's power (`1%`), measured with all chosen formats at once.

    Products that read one weight get one format: the weight is stored once then.

    The output head gets 6 bits or more, products that route between experts and those that `keep` names stay f32.
    `qcc.assigned` and `qcc.assigned_reason` on each product have the choice, `qcc.assignment` on the module everything that
    was measured (docs/mixed-precision.md).
  }];
  let options = [
    Option<"formats", "formats", "std::string", "\"mixed\"", "precisions to choose from, joined by commas">,
    ListOption<"keep", "keep", "std::string", "regular expressions of node names that stay in f32">,
    Option<"maxSize", "max-size", "std::string", "\"\"", "largest size of the weights">,
    Option<"maxDrop", "max-drop", "std::string", "\"\"", "largest loss of accuracy">,
    Option<"maxLatency", "max-latency", "std::string", "\"\"", "longest predicted time">,
    Option<"level", "level", "std::string", "\"avx2\"", "feature level that times are predicted for">,
    Option<"areOwn", "own-weights", "bool", "false",
           "products that read one weight store codes of their own, as algorithms that choose weights leave them">,
    Option<"sensitivity", "sensitivity", "std::string", "\"auto\"",
           "how losses are found: measured, estimated, or auto by the size of the model">,
  ];
  let dependentDialects = ["::qcc::QCCDialect"];
}
