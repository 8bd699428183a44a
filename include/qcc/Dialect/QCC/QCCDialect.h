//===- QCCDialect.h - the qcc dialect ---------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_DIALECT_QCC_QCCDIALECT_H
#define QCC_DIALECT_QCC_QCCDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "qcc/Dialect/QCC/QCCDialect.h.inc"
#include "qcc/Dialect/QCC/QCCEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "qcc/Dialect/QCC/QCCAttrs.h.inc"
#define GET_OP_CLASSES
#include "qcc/Dialect/QCC/QCCOps.h.inc"

namespace qcc {
/// Marks an operation in a kernel whose weight operand is in packed order
/// (`qcc.pack`): the operand's type then is that of the packed bytes.
inline constexpr llvm::StringLiteral kPackedAttr = "qcc.packed";

/// On a kernel: the operand, a number, whose memory its result may be in some
/// launches. Each element of it is read before that of the result is written.
inline constexpr llvm::StringLiteral kInPlaceAttr = "qcc.in_place";

/// True if the value is a parameter, a constant, or computed from such only by
/// operations that are evaluated while the artifact is written.
bool isConstantExpression(mlir::Value value);
} // namespace qcc

#endif // QCC_DIALECT_QCC_QCCDIALECT_H
