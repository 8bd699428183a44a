//===- ConvShape.h - sizes of a convolution and its reads -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_CONVSHAPE_H
#define QCC_TARGETS_X86_CONVSHAPE_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// The numbers of a convolution with one or two spatial dimensions; with one,
/// heights are 1. Sizes may depend on symbols, channels and window may not.
/// Of a qcc.int_conv with the channels last all but the order of dimensions is
/// the same. A transposed convolution is one of stride 1 over an input that has
/// `spread - 1` zeros between its elements, with the window turned round.
struct ConvShape {
  /// Of a qcc.conv, qcc.conv_transpose, qcc.int_conv or qcc.pool. `window` is
  /// the weight's spatial shape, which the packed type has lost.
  ConvShape(mlir::Operation *op, llvm::ArrayRef<int64_t> window);

  mlir::AffineExpr batch, inHeight, inWidth, outHeight, outWidth;
  std::optional<int64_t> inChannels, outChannels;
  int64_t groups, kernelHeight = 1, kernelWidth;
  int64_t strideHeight = 1, strideWidth, padTop = 0, padLeft;
  int64_t dilationHeight = 1, dilationWidth;
  int64_t spreadHeight = 1, spreadWidth = 1;
  unsigned spatialRank;

  int64_t kernelSize() const { return kernelHeight * kernelWidth; }
  /// True if each output pixel reads the input pixel of its own place.
  bool isPointwise() const;

  /// True if runs of output pixels may cross rows: the width is known and the
  /// epilogue reads each other operand either at the pixel's own place or
  /// independently of it.
  bool canFlatten(const Epilogue &epilogue) const;
  /// Makes the image one row where that changes nothing (1 x 1, stride 1).
  void flattenPointwise();
  /// True if many taps fall in the padding, as of windows with large dilations:
  /// those of a tile of pixels are then looked for.
  bool hasIdleTaps() const;
  /// Taps that lie neither before nor behind the image for all output pixels;
  /// all where sizes are not known. No list of taps is longer.
  int64_t countUsedTaps() const;
  /// Tiles of `nr` pixels per image: of all pixels, or of each row.
  mlir::AffineExpr getTiles(bool flat, int64_t nr) const;
};

/// Reads the inputs of `lanes` consecutive output pixels for one tap of the
/// window. The pixels lie in up to `segments` output rows; each row is a masked
/// read of its own.
class PixelReader {
public:
  PixelReader(KernelBuilder &b, const ConvShape &shape, bool flat,
              unsigned lanes);
  /// Output row and column of the first pixel; flat: row 0 and the pixel.
  void setPixels(mlir::Value row, mlir::Value column);
  /// The same for pixels of one row.
  void setRow(mlir::Value row, mlir::Value column) {
    firstRow = row;
    firstColumn = column;
  }
  /// The tap of the window to read for.
  void setTap(mlir::Value kh, mlir::Value kw);
  /// The vector of inputs in the channel at `base + channelOffset`; zeros where
  /// the tap falls in the padding.
  mlir::Value read(mlir::Value base, mlir::Value channelOffset);

private:
  struct Segment {
    mlir::Value offset, mask;
    mlir::Value lanes; ///< offset of each lane; null: consecutive ones
    llvm::SmallVector<mlir::Value, 2> wideMasks; ///< stride 2: of both loads
  };

  mlir::Value readSegment(mlir::Value base, mlir::Value offset,
                          unsigned segment);
  mlir::Value range(mlir::Value low, mlir::Value high);
  void spread(Segment &segment, mlir::Value first);

  KernelBuilder &b;
  const ConvShape &shape;
  unsigned lanes, segments = 1;
  mlir::Value firstRow, firstColumn;
  llvm::SmallVector<Segment> reads;
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_CONVSHAPE_H
