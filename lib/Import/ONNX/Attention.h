//===- Attention.h - what kinds of attention share --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_ATTENTION_H
#define QCC_LIB_IMPORT_ONNX_ATTENTION_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// `[B, S, H * D]` as `[B, H, S, D]`; BadAttribute if the number of heads does
/// not divide the last dimension.
mlir::Value splitHeads(NodeContext &node, mlir::Value input, int64_t heads);
/// `[B, H, S, D]` as `[B, S, H * D]`.
mlir::Value joinHeads(NodeContext &node, mlir::Value input);
/// Each head of `[B, G, T, D]` `H / G` times, `[B, H, T, D]`; BadShape if G
/// does not divide H.
mlir::Value repeatHeads(NodeContext &node, mlir::Value input,
                        mlir::AffineExpr heads);

/// A cache `[B, ...]` with the rows of `update`, along `axis`, from the row on
/// that `begins` `[B]` has for each batch, or the first one if that is null.
/// What does not fit is left out, or goes on at the first row.
mlir::Value writeRows(NodeContext &node, mlir::Value cache, mlir::Value update,
                      mlir::Value begins, int64_t axis, bool isCircular);

/// The attribute `softcap`; BadAttribute, which is recorded, if it is infinite
/// or NaN.
double readSoftcap(NodeContext &node);

/// What becomes of the products of queries and keys.
struct ScoreOptions {
  double scale = 1;
  /// `softcap * tanh(score / softcap)` before anything is added; 0: none.
  double softcap = 0;
  /// Added to the scores `[B, H, S, T]`, which it broadcasts to; may be null.
  mlir::Value bias;
  /// The score of each head, `[H]`, for a key whose value is 0; may be null.
  mlir::Value sink;
};

/// An attention in single operations, where the named one cannot say it: its
/// scores without and with what is added, their softmax, and the result
/// `[B, H, S, E]`; null where a problem was recorded.
struct SpelledOut {
  mlir::Value scores, biased, weights, result;
};

/// Spells an attention of heads `[B, H, S, D]`, `[B, G, T, D]` and
/// `[B, G, T, E]` out. A row whose keys are all hidden is 0.
SpelledOut spellOut(NodeContext &node, mlir::Value query, mlir::Value key,
                    mlir::Value value, const ScoreOptions &options);

/// How pairs of elements of each head are rotated (ONNX RotaryEmbedding).
struct Rotation {
  /// `[P, D / 2]` with positions `[B, S]`, or `[B, S, D / 2]` without.
  mlir::Value cosine, sine, positions;
  /// Heads in the last dimension of `[B, S, H * D]`.
  int64_t heads = 0;
  /// The first elements of each head that are rotated; 0 for all.
  int64_t elements = 0;
  /// A pair is two neighbours, not the same place of the two halves.
  bool isInterleaved = false;
};

/// `[B, S, H * D]` or `[B, H, S, D]` rotated. Null with BadShape or
/// BadAttribute recorded where the shapes do not fit.
mlir::Value rotate(NodeContext &node, mlir::Value input,
                   const Rotation &rotation);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_ATTENTION_H
