//===- ConvF32.h - f32 convolution as an implicit product -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_CONVF32_H
#define QCC_TARGETS_X86_CONVF32_H

#include "ConvShape.h"
#include "TapLists.h"
#include "Tiles.h"

namespace qcc::x86 {

/// A convolution in f32 with one or two spatial dimensions, of an input in
/// memory and a constant weight that nothing else reads.
struct ConvOperands {
  mlir::Operation *op; ///< qcc.conv or qcc.conv_transpose
  mlir::BlockArgument weight;
  ConvShape shape;
};

/// The convolution of a dispatch, if it is one that the kernels take: channels
/// and window are known, it is not depthwise, and all levels have FMA.
std::optional<ConvOperands>
findConvF32(DispatchOp dispatch, llvm::ArrayRef<Capabilities> levels,
            llvm::function_ref<bool(unsigned)> isConstant);

/// State of one emission of a convolution as a product: tasks and tiles
/// (ConvF32.cpp), panels of pixels (ConvF32Panel.cpp), and of those what the
/// taps hold that do not lie in the padding (ConvF32Taps.cpp).
class ConvGemm {
public:
  ConvGemm(KernelBuilder &b, mlir::Operation *op, const ConvShape &shape,
           Epilogue epilogue);
  mlir::LogicalResult emit();

private:
  void emitTask(mlir::Value task);
  void emitBlock(mlir::Value channelBegin, int64_t channels, bool first,
                 bool last);
  void emitPack(mlir::Value channelBegin, int64_t channels);
  void copyPixels(mlir::Value base, mlir::Value from, mlir::Value k,
                  int64_t kCount);
  void listTaps();
  mlir::Value isTapLive(mlir::Value kh, mlir::Value kw, mlir::Value first,
                        mlir::Value last);
  void packTaps(mlir::Value base, int64_t channels);
  void packTap(mlir::Value base, mlir::Value tile, mlir::Value slot,
               mlir::Value tap, int64_t channels);
  mlir::Value findInside(mlir::Value pixel);
  void packInside(mlir::Value from, mlir::Value k, mlir::Value target);
  void packMasked(mlir::Value base, mlir::Value pixel, mlir::Value target,
                  int64_t channels);
  void emitChannels(mlir::Value kBegin, int64_t kCount, bool first, bool last);
  void emitPanel(mlir::Value panel, int64_t liveRows, mlir::Value kBegin,
                 int64_t kCount, bool first, bool last);
  void emitColumns(mlir::Value channel, mlir::Value weights, unsigned rows,
                   int64_t kCount, bool first, bool last);
  void emitTile(mlir::Value channel, mlir::Value weights, unsigned rows,
                unsigned vectors, mlir::Value tileIndex, mlir::Value tileColumn,
                mlir::Value lastLanes, int64_t kCount, bool first, bool last);
  llvm::SmallVector<mlir::Value>
  emitProducts(const Tile &tile, mlir::Value weights, mlir::Value tileIndex,
               mlir::Value tileColumn, int64_t kCount,
               llvm::ArrayRef<mlir::Value> init);

  KernelBuilder &b;
  ConvShape shape;
  Epilogue epilogue;
  mlir::Type f32, stored;
  mlir::Value input, weight, out;
  bool flat;
  int64_t mr, nr, panels, chunk, blockChannels, taskTiles;
  /// Most taps that a tile has in its panel, one after the other; 0: all, those
  /// of a channel side by side.
  int64_t tapSlots = 0;
  std::optional<TapLists> tapLists; ///< of each tile of the task
  unsigned lanes, tileRows, tileVectors;
  // Of the current task.
  mlir::Value image, group, firstPanel, endPanel, row, column, live;
  mlir::Value
      ahead; ///< bytes from a panel's weights to those that are read next
  std::optional<TileStore> tileStore;
  mlir::LogicalResult status = mlir::success();
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_CONVF32_H
