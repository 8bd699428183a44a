//===- ElementTypes.h - which types operators take --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_ELEMENTTYPES_H
#define QCC_LIB_IMPORT_ONNX_ELEMENTTYPES_H

#include "mlir/IR/Types.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace qcc::onnx_import {

/// A set of element types, one bit each.
using TypeSet = uint32_t;

/// Of an operator: the input whose element type says what is computed with (its
/// type parameter T in ONNX's schema, mostly), and what that may be. Nothing is
/// in the set of one that is not known.
struct DataTypes {
  unsigned input = 0;
  TypeSet types = 0;
};

/// What an operator takes. Nodes with another type are refused before they are
/// converted, and the table of operators in docs/ is made of it.
DataTypes getDataTypes(llvm::StringRef domain, llvm::StringRef op);

/// The set of one type; empty for a type that no tensor of ONNX has here.
TypeSet getTypeSet(mlir::Type elementType);

/// The types of a set as text: classes of them where all of a class are in it.
std::string describeTypes(TypeSet types);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_ELEMENTTYPES_H
