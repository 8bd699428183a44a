//===- RecurrentCodes.h - recurrent layers with integer weights -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What com.microsoft's DynamicQuantizeLSTM has beside LSTM: weights are integer
// codes, and inputs and states are rounded to bytes by the range of all their
// elements. So it matters what else is in a tensor: padding behind the longest
// sequence, states of sequences that have ended, and which steps of a batch
// come together in a reversed direction. All of that is as in ONNX Runtime.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_LIB_IMPORT_ONNX_RECURRENTCODES_H
#define QCC_LIB_IMPORT_ONNX_RECURRENTCODES_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// The weight `[rows, gates * H]` of a direction, with one scale and zero point
/// or one per column.
struct CodedWeight {
  mlir::Value codes, scale, zero;
};

/// Part `direction` of the weight that is input `i`; its scale is input
/// `scaleAt`, and the zero point follows that. Records BadGraph, BadShape and
/// UnsupportedType.
std::optional<CodedWeight> readCodedWeight(NodeContext &node, unsigned i,
                                           unsigned scaleAt, int64_t direction);

/// The f32 product of `[M, rows]`, rounded to bytes, with a coded weight.
mlir::Value multiplyCoded(NodeContext &node, mlir::Value rows,
                          const CodedWeight &weight);

/// A tensor `[steps, B, ...]` whose sequences are turned around within their
/// `lengths`, `[B]`; what is behind them stays.
mlir::Value turnSequences(NodeContext &node, mlir::Value tensor,
                          mlir::Value lengths);
/// The same tensor with zeros from the end of the longest sequence on.
mlir::Value dropPadding(NodeContext &node, mlir::Value tensor,
                        mlir::Value lengths);
/// States `[B, H]` in front of a step, zeros for sequences that ended before
/// the step in front of it.
mlir::Value dropEnded(NodeContext &node, mlir::Value states,
                      mlir::Value lengths, mlir::AffineExpr step);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_RECURRENTCODES_H
