//===- Learning.h - what operators of ai.onnx.ml share ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_LEARNING_H
#define QCC_LIB_IMPORT_ONNX_LEARNING_H

#include "NodeContext.h"

namespace qcc::onnx_import {

inline constexpr llvm::StringLiteral kLearningDomain = "ai.onnx.ml";

/// A list of strings as an attribute; none if it is not there.
std::optional<llvm::SmallVector<std::string>> readStrings(NodeContext &node,
                                                          llvm::StringRef name);

/// A constant `[n]` of f32.
mlir::Value constantFloats(NodeContext &node, llvm::ArrayRef<double> values);

/// The attribute `post_transform` on scores `[N, E]`: NONE, SOFTMAX or
/// LOGISTIC; UnsupportedForm for the others.
mlir::Value applyTransform(NodeContext &node, mlir::Value scores,
                           llvm::StringRef name);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_LEARNING_H
