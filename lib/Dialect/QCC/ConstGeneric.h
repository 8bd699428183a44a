//===- ConstGeneric.h - values of generics ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_CONSTGENERIC_H
#define QCC_LIB_DIALECT_QCC_CONSTGENERIC_H

#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/Support/Error.h"

namespace qcc {

/// Evaluates a generic of static sizes. `operands` and `out` are bytes in
/// memory (getTensorBytes). Errors: Internal for a body that cannot be
/// evaluated.
llvm::Error evaluateGeneric(GenericOp op,
                            llvm::ArrayRef<llvm::ArrayRef<char>> operands,
                            llvm::MutableArrayRef<char> out);

/// True if all elements of a result are one value: there is nothing to read but
/// single elements, and the body does not ask where it is.
bool isSpread(GenericOp op);

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_CONSTGENERIC_H
