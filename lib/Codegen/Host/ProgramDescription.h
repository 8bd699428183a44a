//===- ProgramDescription.h - the blob of a planned module ------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_HOST_PROGRAMDESCRIPTION_H
#define QCC_LIB_CODEGEN_HOST_PROGRAMDESCRIPTION_H

#include "qcc/Codegen/HostEmitter.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// The size expression that the runtime evaluates for an affine expression
/// without dimensions.
SizeExpr toSizeExpr(mlir::AffineExpr expr);

/// DLPack's code and bits of an element type as it lies in memory.
std::pair<uint8_t, uint8_t> getDLType(mlir::Type elementType);

/// The blob of Program.h for a planned module. Sites are numbered in the order
/// in which entries and their operations stand.
std::vector<uint8_t> describeProgram(mlir::ModuleOp planned,
                                     const HostOptions &options);

} // namespace qcc

#endif // QCC_LIB_CODEGEN_HOST_PROGRAMDESCRIPTION_H
