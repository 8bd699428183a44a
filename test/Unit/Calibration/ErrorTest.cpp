//===- ErrorTest.cpp - errors that become diagnostics -----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/IR/MLIRContext.h"
#include "qcc/Calibration/Workspace.h"
#include "qcc/Support/Diagnostics.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace mlir;

/// The node of the diagnostic that an error becomes, `|`, and its text.
static std::string convert(llvm::StringRef where, llvm::StringRef node = "") {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  std::string told;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    told = getNodeName(diagnostic.getLocation()).str() + "|" + diagnostic.str();
    return success();
  });
  Location loc = UnknownLoc::get(&context);
  if (!node.empty())
    loc = NameLoc::get(StringAttr::get(&context, node));
  EXPECT_TRUE(failed(
      emitError(loc, makeError(Diag::BadCalibration, where, "it is wrong"))));
  return told;
}

TEST(EmitError, TellsNodesFromFiles) {
  EXPECT_EQ(convert("node 'fc'"), "fc|[QCC-E201] it is wrong");
  EXPECT_EQ(convert("node 'fc'", "other"), "fc|[QCC-E201] it is wrong");
  EXPECT_EQ(convert("folder/gptq-3.ckpt"),
            "|[QCC-E201] folder/gptq-3.ckpt: it is wrong");
  EXPECT_EQ(convert("--algo", "fc"), "fc|[QCC-E201] --algo: it is wrong");
  EXPECT_EQ(convert("", "fc"), "fc|[QCC-E201] it is wrong");
}
