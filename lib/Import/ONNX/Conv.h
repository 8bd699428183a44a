//===- Conv.h - what float and integer convolutions share -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_CONV_H
#define QCC_LIB_IMPORT_ONNX_CONV_H

#include "Window.h"

namespace qcc::onnx_import {

/// A checked convolution: window, groups and the result `[N, O, out...]`.
struct ConvShape {
  SpatialWindow window;
  int64_t groups = 1;
  Dims result;
};

/// Reads the attributes of a convolution of `[N, C, spatial...]` with `[O,
/// C/groups, kernel...]`.
std::optional<ConvShape> readConv(NodeContext &node, mlir::Value input,
                                  mlir::Value weight);

/// Adds a vector over channels to a `[N, C, ...]` tensor; a null bias adds
/// nothing.
mlir::Value addChannelBias(NodeContext &node, mlir::Value result,
                           mlir::Value bias);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_CONV_H
