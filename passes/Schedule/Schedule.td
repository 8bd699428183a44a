//===- Schedule.td - choosing kernels -------------------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Lower : Pass<"qcc-lower", "::mlir::ModuleOp"> {
  let summary = "decomposes what the target has no kernel for";
  let description = [{
    Runs before Fuse. A named operation for which no emitter of the target has a kernel is replaced by its
    decomposition to `qcc.generic`, which every target can run. A `qcc.int_conv` and a maximum of bytes get their
    channels last, between two copies, where the target has a kernel for that.
  }];
  let options = [Option<"target", "target", "std::string", "\"native\"", "a value of --target">];
  let dependentDialects = ["::qcc::QCCDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect"];
}

def Schedule : Pass<"qcc-schedule", "::mlir::ModuleOp"> {
  let summary = "chooses a kernel for each dispatch and shares equal ones";
  let description = [{
    Asks the target's emitters in order for a schedule, inserts the weight packings they want, and outlines the
    dispatch as a `qcc.kernel` whose symbols are renumbered from s0. Dispatches of equal work, layouts and schedule
    share one kernel. A root that no emitter takes together with its epilogue is scheduled without it. A dispatch with
    `qcc.schedule` gets the schedule of that text, one of those that its emitter offers (`--tune`).
  }];
  let options = [Option<"target", "target", "std::string", "\"native\"", "a value of --target">];
  let dependentDialects = ["::qcc::QCCDialect", "::mlir::arith::ArithDialect"];
}
