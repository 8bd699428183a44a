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

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_ATTENTION_H
