//===- Window.h - attributes that convolution and pooling share -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_WINDOW_H
#define QCC_LIB_IMPORT_ONNX_WINDOW_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// A window over the spatial dimensions: one number per dimension, `pads` the
/// begins and then the ends.
struct SpatialWindow {
  llvm::SmallVector<int64_t> kernel, strides, pads, dilations;
  bool ceilMode = false;

  size_t size() const { return kernel.size(); }
};

/// Reads `strides`, `pads`, `dilations`, `auto_pad` and `ceil_mode` for a
/// kernel over the dimensions of `in` that follow batch and channels. None with
/// a problem recorded if an attribute is wrong, or if automatic padding depends
/// on a symbolic size. `isTransposed`: SAME_UPPER and SAME_LOWER are left to
/// the caller, as they mean another thing.
std::optional<SpatialWindow> readWindow(NodeContext &node,
                                        llvm::ArrayRef<int64_t> kernel,
                                        llvm::ArrayRef<mlir::AffineExpr> in,
                                        bool isTransposed = false);

/// Sizes of the result of sliding the window over `in`.
std::optional<Dims> getWindowedDims(NodeContext &node,
                                    const SpatialWindow &window,
                                    llvm::ArrayRef<mlir::AffineExpr> in);

/// Sizes of the kernel of a weight tensor, which must be static.
std::optional<llvm::SmallVector<int64_t>>
getKernelSizes(NodeContext &node, llvm::ArrayRef<mlir::AffineExpr> dims);

/// The window of a pooling over `in`, `[N, C, spatial...]`, and the shape that
/// it gives. None with a problem recorded.
std::optional<std::pair<SpatialWindow, Dims>>
readPooling(NodeContext &node, llvm::ArrayRef<int64_t> kernel, const Dims &in);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_WINDOW_H
