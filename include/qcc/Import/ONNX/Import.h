//===- Import.h - from an ONNX file to the qcc dialect ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_IMPORT_ONNX_IMPORT_H
#define QCC_IMPORT_ONNX_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "qcc/Support/ParameterStore.h"
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace qcc {

/// What is known of a symbolic dimension beforehand.
struct DimRule {
  std::string name;
  /// One size fixes it; several make an entry for each.
  std::vector<int64_t> sizes;
  /// Bounds, both included, where there is no size.
  int64_t min = 0, max = INT64_MAX;
  /// Another dimension that it always equals; empty: none.
  std::string same;
};

/// Reads what `--dim=NAME=` is followed by: a size `8`, sizes `1,8`, bounds
/// `1..4096` (each may be left out), or the name of another dimension. Errors:
/// Usage.
llvm::Expected<DimRule> parseDimRule(llvm::StringRef name,
                                     llvm::StringRef text);

struct ImportOptions {
  /// Rules by name of the dimension, as text (parseDimRule).
  std::vector<std::pair<std::string, std::string>> dims;
  /// Go on after a node that cannot be imported, to report all of them.
  bool collectAll = false;
  /// Leave convolutions over depth and transposed ones as they are, not as
  /// others that have kernels: for a model that is written as ONNX again.
  bool keepsConvolutions = false;
  /// Told of each node that is imported and its operator; calls of functions
  /// are the nodes in them. Bodies of loops may be told of more than once.
  std::function<void(llvm::StringRef node, llvm::StringRef op)> onNode = {};
  /// Told of each input of the graph that is none of the module, because the
  /// value that it has there (an initializer) is taken for a constant.
  std::function<void(llvm::StringRef name)> onConstantInput = {};
};

/// On a module whose model has products of weights of 4 bits that may have
/// activations of int8: MatMulNBits with an `accuracy_level` of 4.
inline constexpr llvm::StringLiteral kAllowsInt8Attr = "qcc.allows_int8";

/// Reads an ONNX model (opset 6 to 28) as a module with one function
/// `main`: arguments are the graph's inputs that have no initializer, results
/// its outputs, both named by the attribute `qcc.name`. Every operation has the
/// name of its ONNX node as location. Weights become entries of `parameters`,
/// which keeps the files mapped. All shapes are known afterwards as expressions
/// of the module's symbols. Errors: one `CodedError`, or several joined ones
/// with `collectAll`; each names the node, the operator and a remedy.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
importOnnx(llvm::StringRef path, const ImportOptions &options,
           mlir::MLIRContext &context, ParameterStore &parameters);

/// An operator that can be imported: from which opset of its domain on, which
/// element types it takes, and what of it cannot be.
struct OpSupport {
  llvm::StringRef domain, op;
  int64_t sinceOpset;
  std::string types;
  llvm::StringRef notes;
};
/// All of them, sorted by domain, operator and opset. The source of
/// docs/onnx-support.md.
llvm::ArrayRef<OpSupport> getSupportedOps();

/// The table above as Markdown.
void printSupportedOps(llvm::raw_ostream &os);

} // namespace qcc

#endif // QCC_IMPORT_ONNX_IMPORT_H
