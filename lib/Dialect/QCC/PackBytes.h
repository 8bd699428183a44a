//===- PackBytes.h - the layouts of exact products of bytes -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_PACKBYTES_H
#define QCC_LIB_DIALECT_QCC_PACKBYTES_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Support/LLVM.h"

namespace qcc {

/// True for the layouts of weights of bytes: `dot`, `dot16`, `dotfit`, `dot4`,
/// `pair`, `flat`, `quad` and `quad4`, with groups or without, `tap` and `tap4`
/// (qcc/Dialect/QCC/Pack.h).
bool isByteLayout(llvm::StringRef layout);

/// The packed type of a static weight of bytes, or of i4 in bytes; null where
/// it does not fit.
mlir::RankedTensorType packedByteType(mlir::RankedTensorType weight,
                                      llvm::StringRef layout, bool transposed);

/// Writes the packed form; `packed` is what packedByteType() gave. Fails where
/// a size does not match.
mlir::LogicalResult packBytes(llvm::ArrayRef<char> in,
                              mlir::RankedTensorType weight,
                              llvm::StringRef layout, bool transposed,
                              mlir::RankedTensorType packed,
                              llvm::MutableArrayRef<char> out);

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_PACKBYTES_H
