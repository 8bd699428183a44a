//===- ConvShape.cpp - sizes of a convolution and its reads -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ConvShape.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <numeric>

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {
/// Attributes that both operations have.
struct WindowAttrs {
  ArrayRef<int64_t> strides, pads, dilations;
  int64_t groups;
  bool transposed, channelsLast;
};
} // namespace

static WindowAttrs getAttrs(Operation *op) {
  if (auto conv = dyn_cast<ConvOp>(op))
    return {conv.getStrides(),         conv.getPads(), conv.getDilations(),
            int64_t(conv.getGroups()), false,          false};
  if (auto conv = dyn_cast<IntConvOp>(op))
    return {conv.getStrides(),         conv.getPads(), conv.getDilations(),
            int64_t(conv.getGroups()), false,          conv.getChannelsLast()};
  if (auto pool = dyn_cast<PoolOp>(op))
    return {pool.getStrides(), pool.getPads(), pool.getDilations(),
            /*groups=*/1,      false,          pool.getChannelsLast()};
  auto conv = cast<ConvTransposeOp>(op);
  return {conv.getStrides(),         conv.getPads(), conv.getDilations(),
          int64_t(conv.getGroups()), true,           false};
}

ConvShape::ConvShape(Operation *op, ArrayRef<int64_t> window) {
  SmallVector<AffineExpr> in = getDims(op->getOperand(0).getType()),
                          out = getDims(op->getResult(0).getType());
  WindowAttrs attrs = getAttrs(op);
  if (attrs.channelsLast) {
    std::rotate(in.begin() + 1, in.end() - 1, in.end());
    std::rotate(out.begin() + 1, out.end() - 1, out.end());
  }
  spatialRank = in.size() - 2;
  AffineExpr one = getAffineConstantExpr(1, op->getContext());
  batch = in[0];
  inChannels = getConstantSize(in[1]);
  outChannels = getConstantSize(out[1]);
  inWidth = in.back();
  outWidth = out.back();
  inHeight = spatialRank == 2 ? in[2] : one;
  outHeight = spatialRank == 2 ? out[2] : one;
  groups = attrs.groups;
  auto setAxis = [&](size_t i, int64_t &kernel, int64_t &stride, int64_t &pad,
                     int64_t &dilation, int64_t &spread) {
    kernel = window[i];
    dilation = attrs.dilations[i];
    stride = attrs.transposed ? 1 : attrs.strides[i];
    spread = attrs.transposed ? attrs.strides[i] : 1;
    pad = attrs.transposed ? dilation * (kernel - 1) - attrs.pads[i]
                           : attrs.pads[i];
  };
  setAxis(spatialRank - 1, kernelWidth, strideWidth, padLeft, dilationWidth,
          spreadWidth);
  if (spatialRank == 2)
    setAxis(0, kernelHeight, strideHeight, padTop, dilationHeight,
            spreadHeight);
}

/// True if `map` reads its operand at the pixel of the last two of `rank`
/// dimensions, or at a place that does not depend on the pixel.
static bool readsAtPixel(AffineMap map, Type operand, Type result,
                         unsigned rank) {
  auto usesPixel = [&](AffineExpr e) {
    return e.isFunctionOfDim(rank - 1) || e.isFunctionOfDim(rank - 2);
  };
  ArrayRef<AffineExpr> results = map.getResults();
  if (llvm::none_of(results, usesPixel))
    return true;
  MLIRContext *context = map.getContext();
  size_t n = results.size();
  if (n < 2 || results[n - 1] != getAffineDimExpr(rank - 1, context) ||
      results[n - 2] != getAffineDimExpr(rank - 2, context) ||
      llvm::any_of(results.drop_back(2), usesPixel))
    return false;
  SmallVector<AffineExpr> from = getDims(operand), to = getDims(result);
  return from[n - 1] == to[rank - 1] && from[n - 2] == to[rank - 2];
}

bool ConvShape::canFlatten(const Epilogue &epilogue) const {
  if (spatialRank == 1)
    return true;
  if (!getConstantSize(outWidth) || !getConstantSize(outHeight))
    return false;
  Value previous = epilogue.rootResult;
  for (GenericOp generic : epilogue.chain) {
    Type result = generic.getResult().getType();
    for (auto [i, operand] : llvm::enumerate(generic.getInputs()))
      if (operand != previous &&
          (!isa<BlockArgument>(operand) ||
           !readsAtPixel(generic.getMap(i), operand.getType(), result, 4)))
        return false;
    WalkResult indexed = generic.getBody().walk([](IndexOp index) {
      return index.getDim() >= 2 ? WalkResult::interrupt()
                                 : WalkResult::advance();
    });
    if (indexed.wasInterrupted())
      return false;
    previous = generic.getResult();
  }
  return true;
}

bool ConvShape::isPointwise() const {
  return kernelSize() == 1 && strideHeight == 1 && strideWidth == 1 &&
         spreadHeight == 1 && spreadWidth == 1 && padTop == 0 && padLeft == 0 &&
         inHeight == outHeight && inWidth == outWidth;
}

void ConvShape::flattenPointwise() {
  if (!isPointwise())
    return;
  AffineExpr pixels = simplifySize(inHeight * inWidth);
  inWidth = outWidth = pixels;
  inHeight = outHeight = getAffineConstantExpr(1, pixels.getContext());
}

namespace {
/// The taps of one axis of a window.
struct AxisTaps {
  int64_t used = 0;   ///< that reach the image
  double live = 0;    ///< mean of those of an output pixel
  bool known = false; ///< sizes are
};
} // namespace

static AxisTaps countTaps(AffineExpr in, AffineExpr out, int64_t kernel,
                          int64_t stride, int64_t pad, int64_t dilation) {
  std::optional<int64_t> inSize = getConstantSize(in),
                         outSize = getConstantSize(out);
  if (!inSize || !outSize || *outSize <= 0)
    return {kernel, double(kernel), false};
  AxisTaps taps{0, 0, true};
  for (int64_t k = 0; k < kernel; ++k) {
    // Output places `i` with 0 <= i * stride + shift < inSize.
    int64_t shift = k * dilation - pad,
            first =
                std::max<int64_t>(llvm::divideCeilSigned(-shift, stride), 0),
            end = std::min(llvm::divideCeilSigned(*inSize - shift, stride),
                           *outSize);
    // What lists of taps look at are ranges of pixels: one that steps over a
    // narrow image counts.
    taps.used += shift < *inSize && (*outSize - 1) * stride + shift >= 0;
    taps.live += double(std::max<int64_t>(end - first, 0)) / double(*outSize);
  }
  return taps;
}

bool ConvShape::hasIdleTaps() const {
  constexpr double mostLive = 0.8;
  constexpr int64_t largeDilation = 6; // where sizes are not known
  if (spreadHeight > 1 || spreadWidth > 1 || kernelSize() == 1)
    return false;
  AxisTaps rows = countTaps(inHeight, outHeight, kernelHeight, strideHeight,
                            padTop, dilationHeight),
           columns = countTaps(inWidth, outWidth, kernelWidth, strideWidth,
                               padLeft, dilationWidth);
  if (rows.known && columns.known) {
    // Without dilations the pixels of a tile read what any do: only taps that
    // none reads could be left out.
    bool isDense = dilationHeight == 1 && dilationWidth == 1 &&
                   rows.used * columns.used == kernelSize();
    return !isDense &&
           rows.live * columns.live < mostLive * double(kernelSize());
  }
  return spatialRank == 2 && kernelHeight > 1 &&
         std::min(dilationHeight, padTop) >= largeDilation;
}

int64_t ConvShape::countUsedTaps() const {
  int64_t used = countTaps(inHeight, outHeight, kernelHeight, strideHeight,
                           padTop, dilationHeight)
                     .used *
                 countTaps(inWidth, outWidth, kernelWidth, strideWidth, padLeft,
                           dilationWidth)
                     .used;
  return std::max<int64_t>(used, 1);
}

AffineExpr ConvShape::getTiles(bool flat, int64_t nr) const {
  AffineExpr tiles = flat ? (outHeight * outWidth).ceilDiv(nr)
                          : outHeight * outWidth.ceilDiv(nr);
  return simplifySize(tiles);
}

//===----------------------------------------------------------------------===//
// PixelReader
//===----------------------------------------------------------------------===//

PixelReader::PixelReader(KernelBuilder &b, const ConvShape &shape, bool flat,
                         unsigned lanes)
    : b(b), shape(shape), lanes(lanes) {
  std::optional<int64_t> width = getConstantSize(shape.outWidth),
                         height = getConstantSize(shape.outHeight);
  if (flat && width && height && *width > 0) {
    // The first pixel's column is a multiple of the common divisor.
    int64_t step = std::gcd(*width, int64_t(lanes));
    segments = (*width - step + lanes - 1) / *width + 1;
    segments = std::min<int64_t>(segments, std::max<int64_t>(*height, 1));
  }
}

void PixelReader::setPixels(Value row, Value column) {
  if (getConstantSize(shape.outHeight) == 1) {
    firstRow = row;
    firstColumn = column;
    return;
  }
  Value width = b.size(shape.outWidth);
  firstRow = b.add(row, b.divFloor(column, width));
  firstColumn = b.mod(column, width);
}

/// Lanes [low, high).
Value PixelReader::range(Value low, Value high) {
  Value below = b.firstLanes(high, lanes);
  Value skip = b.firstLanes(b.minIdx(low, high), lanes);
  return arith::XOrIOp::create(b, below, skip);
}

void PixelReader::setTap(Value kh, Value kw) {
  reads.clear();
  int64_t stride = shape.strideWidth;
  // With the zeros between elements.
  auto spreadSize = [&](AffineExpr size, int64_t by) {
    return by == 1 ? b.size(size)
                   : b.add(b.mul(b.sub(b.size(size), b.idx(1)), b.idx(by)),
                           b.idx(1));
  };
  Value inWidth = spreadSize(shape.inWidth, shape.spreadWidth),
        inHeight = spreadSize(shape.inHeight, shape.spreadHeight),
        outWidth = b.size(shape.outWidth);
  // Input column of output column c: c * stride + shift.
  Value shift =
      b.sub(b.mul(kw, b.idx(shape.dilationWidth)), b.idx(shape.padLeft));
  // Divisions are done on numbers made positive.
  int64_t lift = shape.kernelWidth * shape.dilationWidth + 1 +
                 std::max<int64_t>(-shape.padLeft, 0);
  Value firstIn =
      b.sub(b.divFloor(b.sub(b.idx(lift * stride + stride - 1), shift),
                       b.idx(stride)),
            b.idx(lift));
  Value endIn = b.sub(b.divFloor(b.add(b.sub(inWidth, shift),
                                       b.idx(stride - 1 + lift * stride)),
                                 b.idx(stride)),
                      b.idx(lift));
  Value low = b.maxIdx(firstIn, b.idx(0)), high = b.minIdx(endIn, outWidth);
  for (unsigned s = 0; s < segments; ++s) {
    Segment segment;
    // Lane of output column 0 in this row.
    Value origin = b.sub(b.mul(b.idx(s), outWidth), firstColumn);
    Value from = b.maxIdx(b.add(low, origin), b.idx(0));
    Value to = b.minIdx(b.add(high, origin), b.idx(lanes));
    Value outRow = b.add(firstRow, b.idx(s));
    Value inRow = b.sub(b.add(b.mul(outRow, b.idx(shape.strideHeight)),
                              b.mul(kh, b.idx(shape.dilationHeight))),
                        b.idx(shape.padTop));
    Value inside = arith::AndIOp::create(
        b, b.less(b.idx(-1), inRow),
        arith::AndIOp::create(b, b.less(inRow, inHeight),
                              b.less(outRow, b.size(shape.outHeight))));
    // A row that is not there is not an address either.
    inRow = b.maxIdx(b.minIdx(inRow, b.sub(inHeight, b.idx(1))), b.idx(0));
    if (shape.spreadHeight > 1) {
      Value between = b.mod(inRow, b.idx(shape.spreadHeight));
      inside = arith::AndIOp::create(b, inside, b.less(between, b.idx(1)));
      inRow = b.divFloor(inRow, b.idx(shape.spreadHeight));
    }
    to = arith::SelectOp::create(b, inside, to, b.idx(0));
    Value first = b.sub(shift, b.mul(origin, b.idx(stride)));
    segment.offset = b.mul(inRow, b.size(shape.inWidth));
    segment.mask = range(from, to);
    if (shape.spreadWidth > 1)
      spread(segment, first);
    else
      segment.offset = b.add(segment.offset, first);
    if (stride == 2) {
      Value wideFrom = b.mul(from, b.idx(2)),
            wideTo = b.sub(b.mul(to, b.idx(2)), b.idx(1));
      for (unsigned half = 0; half < 2; ++half) {
        Value skip = b.idx(half * lanes);
        segment.wideMasks.push_back(
            range(b.sub(wideFrom, skip), b.sub(wideTo, skip)));
      }
    }
    reads.push_back(segment);
  }
}

/// Lanes whose column, counted from `first`, is that of an element; others are
/// zeros between elements.
void PixelReader::spread(Segment &segment, Value first) {
  auto type = VectorType::get(lanes, b.getIndexType());
  SmallVector<Attribute> steps;
  for (unsigned i = 0; i < lanes; ++i)
    steps.push_back(b.getIndexAttr(i));
  Value column = arith::AddIOp::create(
      b, arith::ConstantOp::create(b, DenseElementsAttr::get(type, steps)),
      vector::BroadcastOp::create(b, type, first));
  Value by = b.constantInt(shape.spreadWidth, type);
  segment.lanes = arith::DivUIOp::create(b, column, by);
  Value between = arith::RemUIOp::create(b, column, by);
  Value element = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, between,
                                        b.constantInt(0, type));
  segment.mask = arith::AndIOp::create(b, segment.mask, element);
}

Value PixelReader::readSegment(Value base, Value offset, unsigned s) {
  Type f32 = b.getF32Type();
  const Segment &segment = reads[s];
  offset = b.add(offset, segment.offset);
  if (segment.lanes)
    return b.gather(b.elementPointer(base, f32, offset), f32, segment.lanes,
                    segment.mask);
  if (shape.strideWidth == 1)
    return b.load(base, f32, offset, lanes, segment.mask);
  if (shape.strideWidth == 2) {
    Value low = b.load(base, f32, offset, lanes, segment.wideMasks[0]);
    Value high = b.load(base, f32, b.add(offset, b.idx(lanes)), lanes,
                        segment.wideMasks[1]);
    SmallVector<int64_t> even;
    for (unsigned i = 0; i < lanes; ++i)
      even.push_back(2 * i);
    return vector::ShuffleOp::create(b, low, high, even);
  }
  auto lanesType = VectorType::get(lanes, b.getIndexType());
  SmallVector<Attribute> steps;
  for (unsigned i = 0; i < lanes; ++i)
    steps.push_back(b.getIndexAttr(i * shape.strideWidth));
  Value offsets =
      arith::ConstantOp::create(b, DenseElementsAttr::get(lanesType, steps));
  Value start = vector::BroadcastOp::create(b, lanesType, offset);
  return b.gather(base, f32, arith::AddIOp::create(b, start, offsets),
                  segment.mask);
}

Value PixelReader::read(Value base, Value channelOffset) {
  Value result = readSegment(base, channelOffset, 0);
  for (unsigned s = 1; s < segments; ++s)
    result = arith::SelectOp::create(
        b, reads[s].mask, readSegment(base, channelOffset, s), result);
  return result;
}
