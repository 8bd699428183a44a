//===- Scores.h - what lies before the softmax of attention -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_RECOGNIZE_SCORES_H
#define QCC_PASSES_RECOGNIZE_SCORES_H

#include "mlir/IR/PatternMatch.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// What is added to scores: a tensor, or where that is of bits a number where
/// they do not let a score through.
struct Addend {
  mlir::Value tensor;
  int64_t rank = 0; ///< of the scores that it is added to
  double hidden = 0;
  bool hidesSet = false; ///< the number stands where a bit is set
  double factor = 1;     ///< what a tensor of floats is multiplied with
};

/// What lies between the first product and the softmax: scores * scale + masks,
/// or softcap * tanh(scores * scale / softcap) + masks, as `[B, H, S, T]`, as
/// `[N, S, T]` for N = B * H, or first the one and then the other.
struct ScoreChain {
  MatMulOp product;
  double scale = 1.0;
  double softcap = 0;                 // 0: none
  llvm::SmallVector<Addend, 2> masks; // all that is added
  double least = 0;                   // the sum of masks is not below; 0: none
  /// B and H, where the chain says them.
  std::optional<std::pair<mlir::AffineExpr, mlir::AffineExpr>> heads;
};

/// Follows what a softmax reads back to the product of queries and keys; none
/// if anything between is of another form, or is read by others.
std::optional<ScoreChain> followScores(mlir::Value scores);

/// The tensor that `value` is a reshape of which groups other dimensions than
/// the last two; both of rank 3 or 4. Null if `value` is of another form.
mlir::Value matchRegrouped(mlir::Value value);

/// Scores `[B, H, S, T]` that share a softmax with one more for each head.
struct SinkedScores {
  SoftmaxOp softmax;
  mlir::Value scores;
  mlir::Value column; ///< that score, `[B, H, S, 1]`
};

/// The parts of `softmax(concat(scores, sink))[..., :T]`, as gpt-oss is
/// exported; none if `weights` is something else, or others read what is
/// between.
std::optional<SinkedScores> matchSink(mlir::Value weights);
/// The further score as qcc.attention takes it, `[H]`.
mlir::Value makeSink(const SinkedScores &scores,
                     mlir::PatternRewriter &rewriter);

} // namespace qcc

#endif // QCC_PASSES_RECOGNIZE_SCORES_H
