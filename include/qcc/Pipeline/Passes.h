//===- Passes.h - the passes of the tree by constructor ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Generated from the .td file in each folder of passes/.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_PIPELINE_PASSES_H
#define QCC_PIPELINE_PASSES_H

#include "mlir/Pass/Pass.h"

namespace qcc {
#define GEN_PASS_DECL
#include "qcc/passes/AWQ.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Assign.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/FormInteger.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Fuse.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/GPTQ.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Layout.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Plan.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Recognize.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Rotate.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/RoundToNearest.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Schedule.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/SmoothQuant.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/Specialize.h.inc"
#define GEN_PASS_DECL
#include "qcc/passes/StaticInt8.h.inc"
} // namespace qcc

#endif // QCC_PIPELINE_PASSES_H
