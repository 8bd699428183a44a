//===- Plan.td - buffers and the host program -----------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Plan : Pass<"qcc-plan", "::mlir::ModuleOp"> {
  let summary = "assigns every value a slot and writes the host program";
  let description = [{
    Each function becomes a `qcc_host.entry`. A launch's result lives in the arena from its step to its last use,
    unless it is an output of the function, which the caller provides; reshapes share the slot of what they view.
    Constant expressions become weights, one `qcc_host.weights` for all entries. States are written after the last
    step. Offsets in the arena are computed from the buffers' sizes and lifetimes by one algorithm
    (qcc/Runtime/ArenaPlan.h): here for constant sizes, in the runtime for symbolic ones.
  }];
  let dependentDialects = ["::qcc::host::HostDialect"];
}
