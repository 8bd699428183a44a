//===- DepthwiseByte.cpp - exact depthwise convolution of bytes -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// With the channels last a vector holds channels: each tap of the window is one
// vector of bytes times one of the weight, both widened to 32 bits. With VNNI
// the bytes of four taps are sorted by channels, for vpdpbusd. Inputs are found
// through the table of ByteRows.
//
//===----------------------------------------------------------------------===//
#include "ByteRows.h"
#include "Emitters.h"
#include "IntegerDot.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "qcc/Dialect/QCC/Pack.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

namespace {

/// Taps of a window that are unrolled; larger ones are left to loops.
constexpr int64_t kMaxTaps = 49;
/// Products that make a task worth its start, and the most pixels of one.
constexpr int64_t kTaskProducts = 1 << 16;
constexpr int64_t kMaxTaskPixels = 256;

class DepthwiseByteEmitter final : public KernelEmitter {
public:
  StringRef getName() const override { return "depthwise.int8"; }
  std::optional<KernelSchedule>
  match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
        function_ref<bool(unsigned)> isConstant) const override;
  LogicalResult emit(KernelBuilder &builder) const override;
};

/// State of one emission.
class DepthwiseByte {
public:
  DepthwiseByte(KernelBuilder &b, IntConvOp op, const ConvShape &shape,
                Epilogue epilogue);
  LogicalResult emit();

private:
  void emitTask(Value task);
  void emitChannels(Value pixel, ArrayRef<Value> taps, Value channel,
                    unsigned lanes);
  Value multiply(Value bytes, Value factors, unsigned lanes);
  Value addTap(Value sum, size_t tap, Value pointer, Value channel,
               unsigned lanes);
  Value addFourTaps(Value sum, int64_t first, ArrayRef<Value> pointers,
                    Value channel);

  KernelBuilder &b;
  ConvShape shape;
  ByteRows rows;
  Epilogue epilogue;
  int64_t channels, width, taskPixels;
  bool isSigned; ///< the input
  bool hasFours; ///< the weight has four taps side by side
  Type i8, i32, stored;
  Value weight, out;
  SmallVector<AffineExpr> leading;
  LogicalResult status = success();
};

/// The shape with all channels in one group: pixels are rows of all of them.
ConvShape joinGroups(ConvShape shape) {
  shape.groups = 1;
  return shape;
}

} // namespace

std::optional<KernelSchedule>
DepthwiseByteEmitter::match(DispatchOp dispatch, ArrayRef<Capabilities> levels,
                            function_ref<bool(unsigned)> isConstant) const {
  auto op = getRoot<IntConvOp>(dispatch.getBody().front());
  if (!op || !op.getChannelsLast() || op.getWeightZero() ||
      llvm::any_of(levels, [](const Capabilities &c) { return !c.hasFma; }))
    return std::nullopt;
  for (Value operand : op->getOperands())
    if (!isa<BlockArgument>(operand))
      return std::nullopt;
  auto weight = cast<BlockArgument>(op.getWeight());
  RankedTensorType type = op.getWeight().getType();
  Type input = op.getInput().getType().getElementType();
  if (!isConstant(weight.getArgNumber()) || op.getInput() == op.getWeight() ||
      !llvm::hasSingleElement(weight.getUses()) || type.getRank() > 4 ||
      !type.hasStaticShape() ||
      !(type.getElementType().isSignlessInteger(8) ||
        type.getElementType().isSignlessInteger(16)) ||
      input.getIntOrFloatBitWidth() != 8 || type.getDimSize(1) != 1 ||
      type.getDimSize(0) != int64_t(op.getGroups()))
    return std::nullopt;
  int64_t taps = 1;
  for (int64_t size : type.getShape().drop_front(2))
    taps *= size;
  if (taps < 1 || taps > kMaxTaps)
    return std::nullopt;
  int64_t channels = type.getDimSize(0),
          pixels = std::clamp<int64_t>(
              llvm::divideCeil(kTaskProducts, taps * channels), 4,
              kMaxTaskPixels);
  SmallVector<AffineExpr> dims = getDims(op.getResult().getType());
  dims.pop_back();
  Builder builder(op->getContext());
  KernelSchedule schedule;
  schedule.params = builder.getDictionaryAttr(
      {builder.getNamedAttr("pixels", builder.getI64IntegerAttr(pixels)),
       builder.getNamedAttr("window", builder.getDenseI64ArrayAttr(
                                          type.getShape().drop_front(2)))});
  schedule.tasks = product(dims, op.getContext()).ceilDiv(pixels);
  // vpdpbusd takes weights of bytes.
  bool inFours =
      type.getElementType().isSignlessInteger(8) &&
      llvm::any_of(levels, [](const Capabilities &c) { return c.hasVnni; });
  schedule.packs.push_back(
      {weight.getArgNumber(), inFours ? "tap4" : "tap", kDotColumns, false});
  schedule.scratchBytes = ByteRows::getScratchBytes(channels, pixels * taps);
  return schedule;
}

LogicalResult DepthwiseByteEmitter::emit(KernelBuilder &builder) const {
  auto op = getRoot<IntConvOp>(builder.kernel().getBody().front());
  if (!op)
    return failure();
  auto window =
      builder.kernel().getSchedule().getAs<DenseI64ArrayAttr>("window");
  ConvShape shape = joinGroups(ConvShape(op, window.asArrayRef()));
  return DepthwiseByte(builder, op, shape, *getEpilogue(op)).emit();
}

DepthwiseByte::DepthwiseByte(KernelBuilder &b, IntConvOp op,
                             const ConvShape &shape, Epilogue epilogue)
    : b(b), shape(shape),
      rows(b, op, shape, *shape.outChannels, /*readsWords=*/false),
      epilogue(std::move(epilogue)), channels(*shape.outChannels),
      i8(b.getI8Type()), i32(b.getI32Type()),
      leading(getDims(op.getResult().getType())) {
  leading.pop_back();
  auto packed = cast<RankedTensorType>(op.getWeight().getType());
  width = packed.getDimSize(1);
  hasFours = packed.getDimSize(0) > 1 + shape.kernelSize();
  taskPixels = b.kernel().getSchedule().getAs<IntegerAttr>("pixels").getInt();
  isSigned = !op.getInput().getType().getElementType().isUnsignedInteger();
  stored = getStoredType(b.kernel().getBody().front());
  weight = b.pointer(cast<BlockArgument>(op.getWeight()));
  out = b.resultPointer(0);
}

LogicalResult DepthwiseByte::emit() {
  rows.emitZeroRow();
  b.forLoop(
      b.taskBegin(), b.taskEnd(), b.idx(1), [&](Value task) { emitTask(task); },
      KernelBuilder::LoopHint::NoUnroll);
  return status;
}

void DepthwiseByte::emitTask(Value task) {
  Value first = b.mul(task, b.idx(taskPixels)),
        end = b.minIdx(b.add(first, b.idx(taskPixels)),
                       b.size(product(leading, b.getContext())));
  rows.emitTable(b.idx(0), first, end);
  b.forLoop(
      first, end, b.idx(1),
      [&](Value pixel) {
        SmallVector<Value> taps;
        for (int64_t tap = 0; tap < shape.kernelSize(); ++tap)
          taps.push_back(rows.getPointer(pixel, first, b.idx(tap)));
        int64_t whole = channels / kDotColumns * kDotColumns;
        if (whole)
          b.forLoop(
              b.idx(0), b.idx(whole), b.idx(kDotColumns),
              [&](Value channel) {
                emitChannels(pixel, taps, channel, kDotColumns);
              },
              KernelBuilder::LoopHint::NoUnroll);
        // No byte beyond the last channel is read: the pieces that are left.
        int64_t at = whole;
        for (unsigned lanes = kDotColumns / 2; lanes > 0; lanes /= 2)
          if (channels - at >= int64_t(lanes)) {
            emitChannels(pixel, taps, b.idx(at), lanes);
            at += lanes;
          }
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Products of bytes without a sign and numbers of at most 16 bits.
Value DepthwiseByte::multiply(Value bytes, Value factors, unsigned lanes) {
  Type wide = lanes > 1 ? Type(VectorType::get(lanes, i32)) : i32;
  Value input = arith::ExtUIOp::create(b, wide, bytes);
  if (lanes < 8)
    return arith::MulIOp::create(b, input, factors);
  // The upper half of each input is zero, so a sum of two products of 16 bits
  // is the one of the lower halves: one instruction, where a product of 32
  // bits is two.
  unsigned step = b.caps().hasAvx512 && lanes == 16 ? 16 : 8;
  StringRef name =
      step == 16 ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd";
  auto halves = VectorType::get(2 * step, b.getI16Type());
  auto part = [&](Value vector, unsigned at) -> Value {
    if (step != lanes)
      vector = vector::ExtractStridedSliceOp::create(
          b, vector, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{step},
          ArrayRef<int64_t>{1});
    return vector::BitCastOp::create(b, halves, vector);
  };
  Value result;
  for (unsigned at = 0; at < lanes; at += step) {
    Value products = LLVM::CallIntrinsicOp::create(
                         b, VectorType::get(step, i32), b.getStringAttr(name),
                         ValueRange{part(input, at), part(factors, at)})
                         .getResult(0);
    if (step == lanes)
      return products;
    if (!result)
      result = b.constantInt(0, wide);
    result = vector::InsertStridedSliceOp::create(
        b, products, result, ArrayRef<int64_t>{at}, ArrayRef<int64_t>{1});
  }
  return result;
}

/// Adds the products of one tap.
Value DepthwiseByte::addTap(Value sum, size_t tap, Value pointer, Value channel,
                            unsigned lanes) {
  Value bytes = b.load(pointer, i8, channel, lanes);
  if (isSigned) // 128 more is the highest bit turned
    bytes =
        arith::XOrIOp::create(b, bytes, b.constantInt(-128, bytes.getType()));
  Value factors = b.load(
      weight, i32, b.add(b.idx(int64_t(tap + 1) * width), channel), lanes);
  return arith::AddIOp::create(b, sum, multiply(bytes, factors, lanes));
}

/// Adds the products of up to four taps of 16 channels; the weight is zero
/// where there are fewer.
Value DepthwiseByte::addFourTaps(Value sum, int64_t first,
                                 ArrayRef<Value> pointers, Value channel) {
  SmallVector<Value> parts;
  for (Value pointer : pointers)
    parts.push_back(b.load(pointer, i8, channel, kDotColumns));
  while (parts.size() < kDotRows)
    parts.push_back(b.constantInt(0, parts.front().getType()));
  Value bytes = IntegerDot::concatenate(b, parts);
  // Words of four channels to the lane of these channels, then their bytes:
  // there is no instruction for both before VBMI.
  constexpr int64_t kLane = 16;
  SmallVector<int64_t> words, order;
  for (int64_t i = 0; i < kDotColumns; ++i)
    words.push_back(i % kDotRows * kDotRows + i / kDotRows);
  for (int64_t i = 0; i < kDotColumns * kDotRows; ++i)
    order.push_back(i / kLane * kLane + i % kDotRows * kDotRows +
                    i % kLane / kDotRows);
  auto wordsType = VectorType::get(kDotColumns, i32);
  auto bytesType = cast<VectorType>(bytes.getType());
  bytes = vector::BitCastOp::create(b, wordsType, bytes);
  bytes = vector::ShuffleOp::create(b, bytes, bytes, words);
  bytes = vector::BitCastOp::create(b, bytesType, bytes);
  bytes = vector::ShuffleOp::create(b, bytes, bytes, order);
  if (isSigned)
    bytes = arith::XOrIOp::create(b, bytes, b.constantInt(-128, bytesType));
  int64_t row = 1 + shape.kernelSize() + first / kDotRows;
  Value codes = b.load(weight, i32, b.add(b.idx(row * width), channel),
                       unsigned(kDotColumns));
  codes = vector::BitCastOp::create(b, bytesType, codes);
  IntegerDot dot(b.caps(), {/*codes=*/true, /*activations=*/false});
  dot.stepPart(b, sum, codes, bytes);
  return sum;
}

void DepthwiseByte::emitChannels(Value pixel, ArrayRef<Value> taps,
                                 Value channel, unsigned lanes) {
  Value shift = rows.getZero();
  if (isSigned)
    shift = arith::AddIOp::create(b, shift, b.constantInt(128, i32));
  if (lanes > 1)
    shift = b.splat(shift, lanes);
  Type wide = lanes > 1 ? Type(VectorType::get(lanes, i32)) : i32;
  Value sum = arith::SubIOp::create(
      b, b.constantInt(0, wide),
      arith::MulIOp::create(b, b.load(weight, i32, channel, lanes), shift));
  if (hasFours && b.caps().hasVnni && lanes == kDotColumns) {
    for (size_t i = 0; i < taps.size(); i += kDotRows)
      sum = addFourTaps(sum, int64_t(i), taps.slice(i).take_front(kDotRows),
                        channel);
  } else {
    for (auto [i, tap] : llvm::enumerate(taps))
      sum = addTap(sum, i, tap, channel, lanes);
  }
  SmallVector<Value> indices = splitIndex(b, pixel, leading);
  indices.push_back(channel);
  if (failed(storeWithEpilogue(b, epilogue, sum, indices, lanes, Value(), out,
                               stored,
                               b.add(b.mul(pixel, b.idx(channels)), channel))))
    status = failure();
}

std::unique_ptr<KernelEmitter> x86::createDepthwiseByteEmitter() {
  return std::make_unique<DepthwiseByteEmitter>();
}
