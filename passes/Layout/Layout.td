//===- Layout.td - where copies that permute are needed -------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Layout : Pass<"qcc-layout", "::mlir::ModuleOp"> {
  let summary = "moves permuting copies down the graph until they meet and cancel";
  let description = [{
    Kernels with the channels last stand between two permuting copies. Each copy moves below the elementwise operations,
    concatenations and copies dimension by dimension (slices, resizes to the nearest) that read it, which are computed in the order of its source instead, as long as all their other
    operands of full shape are permuted alike; two copies that undo each other vanish. Extremes over dimensions are found in the order of the source. What is left stands where the
    order matters: at inputs, outputs and operations of a fixed layout.
  }];
  let dependentDialects = ["::qcc::QCCDialect"];
}
