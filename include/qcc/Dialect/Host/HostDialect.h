//===- HostDialect.h - the host program -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_DIALECT_HOST_HOSTDIALECT_H
#define QCC_DIALECT_HOST_HOSTDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "qcc/Dialect/Host/HostDialect.h.inc"
#include "qcc/Dialect/Host/HostEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "qcc/Dialect/Host/HostAttrs.h.inc"
#define GET_OP_CLASSES
#include "qcc/Dialect/Host/HostOps.h.inc"

#endif // QCC_DIALECT_HOST_HOSTDIALECT_H
