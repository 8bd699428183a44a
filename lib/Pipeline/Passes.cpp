//===- Passes.cpp - registration of dialects and passes ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Pipeline/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/Passes.h"
#include "qcc/Codegen/Lowering.h"
#include "qcc/Dialect/Host/HostDialect.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Pipeline/Compiler.h"
#include "qcc/Scheme/Scheme.h"
#include "qcc/Target/Target.h"

namespace qcc {
#define GEN_PASS_REGISTRATION
#include "qcc/passes/AWQ.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Assign.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/FormInteger.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Fuse.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/GPTQ.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Layout.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Plan.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Recognize.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Rotate.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/RoundToNearest.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Schedule.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/SmoothQuant.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/Specialize.h.inc"
#define GEN_PASS_REGISTRATION
#include "qcc/passes/StaticInt8.h.inc"
} // namespace qcc

void qcc::registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<QCCDialect, host::HostDialect, mlir::arith::ArithDialect,
                  mlir::cf::ControlFlowDialect, mlir::func::FuncDialect,
                  mlir::LLVM::LLVMDialect, mlir::math::MathDialect,
                  mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  registerSchemes(registry);
  registry.addExtension(+[](mlir::MLIRContext *, QCCDialect *dialect) {
    registerReferenceTarget(getTargets(*dialect));
    registerX86Target(getTargets(*dialect));
  });
  registerCodegenDialects(registry);
}

void qcc::registerAllPasses() {
  registerAWQPasses();
  registerAssignPasses();
  registerFormIntegerPasses();
  registerFusePasses();
  registerGPTQPasses();
  registerLayoutPasses();
  registerPlanPasses();
  registerRecognizePasses();
  registerRotatePasses();
  registerRoundToNearestPasses();
  registerSchedulePasses();
  registerSmoothQuantPasses();
  registerSpecializePasses();
  registerStaticInt8Passes();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
}
