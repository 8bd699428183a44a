//===- Window.cpp - attributes that convolution and pooling share -*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Window.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace qcc::onnx_import {

/// Largest stride, pad, dilation or kernel: keeps all sums of them far from
/// overflow.
static constexpr int64_t kMaxWindow = int64_t(1) << 24;

/// An attribute of `count` numbers in [low, kMaxWindow].
static std::optional<SmallVector<int64_t>>
readNumbers(NodeContext &node, StringRef name, size_t count, int64_t low,
            int64_t defaultValue) {
  std::optional<SmallVector<int64_t>> given = node.attrInts(name);
  if (!given)
    return SmallVector<int64_t>(count, defaultValue);
  if (given->size() != count) {
    (void)node.refuse(Diag::BadAttribute,
                      "expected " + Twine(count) + " elements of '" + name +
                          "', but got " + Twine(given->size()));
    return std::nullopt;
  }
  for (int64_t value : *given)
    if (value < low || value > kMaxWindow) {
      (void)node.refuse(Diag::BadAttribute, "expected '" + name +
                                                "' of at least " + Twine(low) +
                                                ", but got " + Twine(value));
      return std::nullopt;
    }
  return given;
}

/// Pads that make the result as large as the input divided by the stride.
static bool padAutomatically(NodeContext &node, SpatialWindow &window,
                             ArrayRef<AffineExpr> in, bool atEnd) {
  for (size_t i = 0; i < window.size(); ++i) {
    int64_t span = (window.kernel[i] - 1) * window.dilations[i] + 1,
            total = span - 1;
    if (window.strides[i] != 1) {
      std::optional<int64_t> extent = getConstantSize(in[i]);
      if (!extent) {
        (void)node.refuse(Diag::UnsupportedShape,
                          "automatic padding with a stride needs a size that "
                          "is known");
        return false;
      }
      int64_t out = llvm::divideCeil(*extent, window.strides[i]);
      total =
          std::max<int64_t>(0, (out - 1) * window.strides[i] + span - *extent);
    }
    window.pads[i] = atEnd ? total / 2 : total - total / 2;
    window.pads[i + window.size()] = total - window.pads[i];
  }
  return true;
}

std::optional<SpatialWindow> readWindow(NodeContext &node,
                                        ArrayRef<int64_t> kernel,
                                        ArrayRef<AffineExpr> in,
                                        bool isTransposed) {
  SpatialWindow window;
  size_t count = in.size();
  window.kernel.assign(kernel.begin(), kernel.end());
  for (int64_t size : kernel)
    if (size < 1 || size > kMaxWindow) {
      (void)node.refuse(Diag::BadAttribute,
                        "expected a kernel of 1 or more, but got " +
                            Twine(size));
      return std::nullopt;
    }
  if (kernel.size() != count || count < 1 || count > 3) {
    (void)node.refuse(
        Diag::BadShape,
        "expected a kernel for 1 to 3 spatial dimensions, but got " +
            Twine(kernel.size()) + " for " + Twine(count));
    return std::nullopt;
  }
  auto strides = readNumbers(node, "strides", count, 1, 1),
       dilations = readNumbers(node, "dilations", count, 1, 1);
  auto pads = readNumbers(node, "pads", 2 * count, -kMaxWindow, 0);
  if (!strides || !dilations || !pads)
    return std::nullopt;
  window.strides = *strides;
  window.dilations = *dilations;
  window.pads = *pads;
  window.ceilMode = node.attrInt("ceil_mode", 0) != 0;
  std::string automatic = node.attrString("auto_pad", "NOTSET");
  if (automatic == "VALID")
    window.pads.assign(2 * count, 0);
  else if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    if (!isTransposed &&
        !padAutomatically(node, window, in, automatic == "SAME_UPPER"))
      return std::nullopt;
  } else if (automatic != "NOTSET") {
    (void)node.refuse(
        Diag::BadAttribute,
        "expected auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER, but got '" +
            automatic + "'");
    return std::nullopt;
  }
  return window;
}

std::optional<Dims> getWindowedDims(NodeContext &node,
                                    const SpatialWindow &window,
                                    ArrayRef<AffineExpr> in) {
  Dims result;
  for (size_t i = 0; i < window.size(); ++i) {
    int64_t span = (window.kernel[i] - 1) * window.dilations[i] + 1,
            stride = window.strides[i];
    AffineExpr room = simplifyDim(
        in[i] + (window.pads[i] + window.pads[i + window.size()] - span));
    if (std::optional<int64_t> known = getConstantSize(room);
        known && *known < 0) {
      (void)node.refuse(Diag::BadShape,
                        "expected an input of at least the kernel's size");
      return std::nullopt;
    }
    AffineExpr out = simplifyDim(
        (window.ceilMode ? room.ceilDiv(stride) : room.floorDiv(stride)) + 1);
    // A window that would start beyond the input and its padding in front is
    // not one.
    if (window.ceilMode) {
      std::optional<int64_t> known = getConstantSize(out),
                             extent = getConstantSize(in[i]);
      if (known && extent && (*known - 1) * stride >= *extent + window.pads[i])
        out = node.size(*known - 1);
      if (!known && stride > 1 && span < stride) {
        (void)node.refuse(Diag::UnsupportedShape,
                          "ceil mode with a stride above the kernel needs a "
                          "size that is known");
        return std::nullopt;
      }
    }
    result.push_back(out);
  }
  return result;
}

std::optional<SmallVector<int64_t>> getKernelSizes(NodeContext &node,
                                                   ArrayRef<AffineExpr> dims) {
  SmallVector<int64_t> kernel;
  for (AffineExpr dim : dims) {
    std::optional<int64_t> size = getConstantSize(dim);
    if (!size) {
      (void)node.refuse(Diag::UnsupportedShape,
                        "expected a weight of static shape");
      return std::nullopt;
    }
    kernel.push_back(*size);
  }
  return kernel;
}

std::optional<std::pair<SpatialWindow, Dims>>
readPooling(NodeContext &node, ArrayRef<int64_t> kernel, const Dims &in) {
  ArrayRef<AffineExpr> spatial = ArrayRef(in).drop_front(2);
  std::optional<SpatialWindow> window = readWindow(node, kernel, spatial);
  if (!window)
    return std::nullopt;
  std::optional<Dims> out = getWindowedDims(node, *window, spatial);
  if (!out)
    return std::nullopt;
  Dims result = {in[0], in[1]};
  llvm::append_range(result, *out);
  return std::pair(std::move(*window), std::move(result));
}

} // namespace qcc::onnx_import
