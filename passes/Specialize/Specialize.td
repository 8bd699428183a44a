//===- Specialize.td - an entry for each size -----------------*- tablegen -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
include "mlir/Pass/PassBase.td"

def Specialize : Pass<"qcc-specialize", "::mlir::ModuleOp"> {
  let summary = "makes a function for each combination of the sizes that were asked for";
  let description = [{
    The module's `qcc.sizes` holds arrays of a symbol's position and its sizes (`--dim=batch=1,8`). Each function is
    replaced by copies in which these symbols are constants, named `main_batch1`, `main_batch8`; the combination of the
    first sizes comes first. All copies share their weights. What was assumed of sizes is checked for each.
  }];
  let dependentDialects = ["::qcc::QCCDialect"];
}
