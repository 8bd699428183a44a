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

/// Makes a convolution of an input and a weight.
using ConvolveFn = llvm::function_ref<mlir::Value(
    mlir::Value input, mlir::Value weight, const ConvShape &conv)>;

/// A convolution over three dimensions, of floats or codes, by one over two,
/// that `convolve` makes with what follows per channel; `outside` (null: 0) is
/// what stands beyond the ends of the input, one element of its type. Null
/// where it has no such form: other dimensions, sizes that cannot be written,
/// convolutions that are to stay as they are.
mlir::Value convolvePlanes(NodeContext &node, mlir::Value input,
                           mlir::Value outside, mlir::Value weight,
                           const ConvShape &conv, ConvolveFn convolve);

/// A convolution with its bias (may be null); one over three dimensions in f32
/// by one over two.
mlir::Value convolve(NodeContext &node, mlir::Value input, mlir::Value weight,
                     const ConvShape &conv, mlir::Value bias);

/// A transposed convolution of `[N, C, spatial...]` with `[C, O, kernel...]` by
/// a convolution or a product, with its bias (may be null); `conv` holds the
/// operator's window, `extra` its output_padding. Null where it has no such
/// form: dilations, weights that are no constants, pads beyond the
/// kernel, strides far beyond it, doubles. Where the kernel is no multiple of
/// the strides, zeros are multiplied too, so that infinite inputs give NaN at
/// their neighbours.
mlir::Value convolveTransposed(NodeContext &node, mlir::Value input,
                               mlir::Value weight, const ConvShape &conv,
                               llvm::ArrayRef<int64_t> extra, mlir::Value bias);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_CONV_H
