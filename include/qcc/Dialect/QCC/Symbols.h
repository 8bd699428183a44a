//===- Symbols.h - replacing size symbols in IR -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_DIALECT_QCC_SYMBOLS_H
#define QCC_DIALECT_QCC_SYMBOLS_H

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringRef.h"

namespace qcc {

/// Name of the function attribute that holds what was assumed of sizes: maps
/// with two results each that must be equal when the model runs. Entries check
/// them before their first step. Two more results, if there are any, are the
/// sizes to show in the error.
inline constexpr llvm::StringLiteral kChecksAttr = "qcc.checks";
/// Checks are equations: "at least" is one where a difference, divided by this
/// and rounded down, is 0. Sizes are smaller.
inline constexpr int64_t kSizeRange = int64_t(1) << 40;
/// Name of the function attribute with the name of a node for each of them.
inline constexpr llvm::StringLiteral kCheckNodesAttr = "qcc.check_nodes";

/// What a node computes for the size of a sequence whose step is 0, so that the
/// run ends with that as the reason: no other arithmetic makes it, and f32
/// holds it.
inline constexpr int64_t kZeroStep = -(int64_t(3) << 61);

/// Name of the module attribute with bounds of symbols: arrays of a position, a
/// least and a greatest value.
inline constexpr llvm::StringLiteral kBoundsAttr = "qcc.bounds";
/// The bounds by the symbols' positions, of those that have any.
llvm::DenseMap<int64_t, std::pair<int64_t, int64_t>>
getSymbolBounds(mlir::ModuleOp module);

/// Name of the module attribute with sizes that get an entry each: arrays of a
/// position and the sizes.
inline constexpr llvm::StringLiteral kSizesAttr = "qcc.sizes";

/// True if an expression mentions a symbol at or behind position `first`.
bool usesSymbolsFrom(mlir::AffineExpr expr, size_t first);

/// Replaces symbol i by `replacement[i]` (an expression without dimensions) in
/// every type and attribute of `root` and of what is nested in it. Symbols
/// beyond the list stay. Tensor types and size maps come out canonical: a size
/// that becomes a constant becomes static.
void substituteSymbols(mlir::Operation *root,
                       llvm::ArrayRef<mlir::AffineExpr> replacement);

/// The map that applies `inner` and then `outer`: dimensions of `outer` are the
/// results of `inner`, and symbol i stays the module's symbol i. (AffineMap's
/// own composition gives each map symbols of its own.)
mlir::AffineMap composeSizeMaps(mlir::AffineMap outer, mlir::AffineMap inner);

/// Positions of all symbols that types and attributes of `root` and of what is
/// nested in it use, ascending.
llvm::SmallVector<unsigned> collectSymbols(mlir::Operation *root);

/// Names of the module's symbols by position.
llvm::SmallVector<llvm::StringRef> getSymbolNames(mlir::ModuleOp module);
/// A size with the names of symbols by position, for people to read.
std::string printSize(mlir::AffineExpr expr,
                      llvm::ArrayRef<llvm::StringRef> names);

} // namespace qcc

#endif // QCC_DIALECT_QCC_SYMBOLS_H
