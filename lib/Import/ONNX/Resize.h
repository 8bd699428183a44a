//===- Resize.h - resizing of images, one axis after the other --*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_IMPORT_ONNX_RESIZE_H
#define QCC_LIB_IMPORT_ONNX_RESIZE_H

#include "NodeContext.h"

namespace qcc::onnx_import {

/// How one axis is resized.
struct ResizedAxis {
  int64_t position;
  mlir::AffineExpr out;
  /// Output over input; 0 if it follows from sizes that are symbolic.
  double scale = 0;
  double roiBegin = 0, roiEnd = 1;
  /// Where the scale (and the region) is read at run time: the position of the
  /// axis in those tensors; -1 if they are known.
  int64_t scaleSlot = -1, roiSlot = -1;
};

/// Tensors that are read at run time; null where they are known.
struct ResizeInputs {
  mlir::Value scales, roi;
  int64_t numAxes = 0;
};

/// The attributes of a resize, as ONNX names their values.
struct ResizeSettings {
  std::string mode, coordinates, nearest;
  double cubic = -0.75, extrapolation = 0;
  bool excludeOutside = false, antialias = false;
};

/// The factor that an antialiasing filter is stretched by, or less: a scale
/// that is read at run time is at least that of the sizes, which are rounded
/// down. 0 if neither is known.
double getLeastShrink(const ResizedAxis &axis, mlir::AffineExpr in);

/// A tensor resized along one axis: of its element type in mode nearest, else
/// floats. Null, with an error, for filters that read too many elements.
mlir::Value resizeAxis(NodeContext &node, mlir::Value input,
                       const ResizeSettings &settings, const ResizedAxis &axis,
                       const ResizeInputs &runtime);

} // namespace qcc::onnx_import

#endif // QCC_LIB_IMPORT_ONNX_RESIZE_H
