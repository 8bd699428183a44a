//===- Inline.h - inlining elementwise producers ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_FUSE_INLINE_H
#define QCC_PASSES_FUSE_INLINE_H

#include "mlir/IR/PatternMatch.h"

namespace qcc {

/// Adds the patterns that merge elementwise generics: scalar constants move
/// into bodies, producers into their consumers, equal operands become one.
void populateInlinePatterns(mlir::RewritePatternSet &patterns);

} // namespace qcc

#endif // QCC_PASSES_FUSE_INLINE_H
