//===- ByteRows.cpp - where the inputs of a product of bytes are *- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ByteRows.h"
#include "Tiles.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Bytes of a cache line: the table begins on one.
static constexpr int64_t kLine = 64;
/// Bytes of the row of zero points that are stored at once.
static constexpr int64_t kFill = 32;

int64_t ByteRows::getScratchBytes(int64_t inputs, int64_t entries) {
  return 2 * llvm::alignTo(inputs, kLine) + entries * int64_t(sizeof(void *));
}

static bool isUnsigned(Value tensor) {
  return cast<RankedTensorType>(tensor.getType())
      .getElementType()
      .isUnsignedInteger();
}

Value x86::loadZeroPoint(KernelBuilder &b, Value point) {
  Type i32 = b.getI32Type();
  Value byte =
      b.load(b.pointer(cast<BlockArgument>(point)), b.getI8Type(), b.idx(0));
  if (isUnsigned(point))
    return arith::ExtUIOp::create(b, i32, byte);
  return arith::ExtSIOp::create(b, i32, byte);
}

/// What stands in the padding, as i32.
static Value loadZero(KernelBuilder &b, Operation *op) {
  Type i32 = b.getI32Type();
  if (isa<PoolOp>(op))
    return b.constantInt(isUnsigned(op->getOperand(0)) ? 0 : -128, i32);
  if (isa<QMatMulOp>(op))
    return b.constantInt(0, i32);
  Value point = isa<IntConvOp>(op) ? Value(cast<IntConvOp>(op).getInputZero())
                                   : cast<IntMatMulOp>(op).getLhsZero();
  return point ? loadZeroPoint(b, point) : b.constantInt(0, i32);
}

ByteRows::ByteRows(KernelBuilder &b, Operation *op,
                   std::optional<ConvShape> shape, int64_t inputs,
                   bool readsWords)
    : b(b), shape(shape), inputs(inputs), width(inputs), readsWords(readsWords),
      isDirect(!shape || shape->isPointwise()) {
  input = b.pointer(cast<BlockArgument>(op->getOperand(0)));
  zero = loadZero(b, op);
  if (shape)
    width = inputs * shape->groups;
  table = b.elementPointer(b.scratch(), b.getI8Type(),
                           b.idx(2 * llvm::alignTo(inputs, kLine)));
}

void ByteRows::emitZeroRow() {
  if (!needsTable())
    return;
  Value byte = arith::TruncIOp::create(b, b.getI8Type(), zero);
  // Scratch is a multiple of a line: no need for a shorter store at the end.
  b.forLoop(b.idx(0), b.idx(inputs), b.idx(kFill), [&](Value at) {
    b.store(b.splat(byte, kFill), b.scratch(), b.getI8Type(), at);
  });
}

void ByteRows::emitTable(Value group, Value firstRow, Value endRow) {
  first = b.elementPointer(input, b.getI8Type(), b.mul(group, b.idx(inputs)));
  if (!needsTable())
    return;
  emitLastRow();
  SmallVector<AffineExpr> dims{shape->batch, shape->outHeight, shape->outWidth};
  b.forLoop(
      firstRow, endRow, b.idx(1),
      [&](Value pixel) {
        SmallVector<Value> at = splitIndex(b, pixel, dims);
        Value entry = b.mul(b.sub(pixel, firstRow), b.idx(shape->kernelSize()));
        Window window = {at[0],
                         b.sub(b.mul(at[1], b.idx(shape->strideHeight)),
                               b.idx(shape->padTop)),
                         b.sub(b.mul(at[2], b.idx(shape->strideWidth)),
                               b.idx(shape->padLeft))};
        if (shape->kernelSize() == 1)
          return emitEntries(entry, window);
        auto branch =
            scf::IfOp::create(b, isWhole(window), /*withElseRegion=*/true);
        OpBuilder::InsertionGuard restore(b);
        b.setInsertionPointToStart(branch.thenBlock());
        emitWholeEntries(entry, window);
        b.setInsertionPointToStart(branch.elseBlock());
        emitEntries(entry, window);
      },
      KernelBuilder::LoopHint::NoUnroll);
}

/// Copies the channels of the very last pixel.
void ByteRows::emitLastRow() {
  if (inputs % 4 == 0 || !isPadded())
    return;
  Value pixels = b.size(shape->batch * shape->inHeight * shape->inWidth);
  last = b.elementPointer(first, b.getI8Type(),
                          b.mul(b.sub(pixels, b.idx(1)), b.idx(width)));
  lastCopy = b.elementPointer(b.scratch(), b.getI8Type(),
                              b.idx(llvm::alignTo(inputs, kLine)));
  // An image without pixels has padding only.
  Value count = b.minIdx(b.idx(inputs), b.mul(pixels, b.idx(inputs)));
  b.forLoop(b.idx(0), count, b.idx(1), [&](Value at) {
    b.store(b.load(last, b.getI8Type(), at), lastCopy, b.getI8Type(), at);
  });
}

/// Below 0 is a large number without a sign.
Value ByteRows::isInside(Value at, Value size) {
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, at, size);
}

/// Where the pixel of a tap is, if it is one of the image.
Value ByteRows::getPixel(const Window &window, int64_t kh, int64_t kw) {
  Value y = b.add(window.top, b.idx(kh * shape->dilationHeight)),
        x = b.add(window.left, b.idx(kw * shape->dilationWidth)),
        plane = b.mul(window.image, b.size(shape->inHeight)),
        line = b.mul(b.add(plane, y), b.size(shape->inWidth));
  return b.elementPointer(first, b.getI8Type(),
                          b.mul(b.add(line, x), b.idx(width)));
}

void ByteRows::storeEntry(Value entry, int64_t tap, Value pointer) {
  LLVM::StoreOp::create(
      b, pointer,
      b.elementPointer(table, b.getI64Type(), b.add(entry, b.idx(tap))));
}

/// True (i1) if all taps are in the image and none is read from the copy.
Value ByteRows::isWhole(const Window &window) {
  auto both = [&](Value lhs, Value rhs) -> Value {
    return arith::AndIOp::create(b, lhs, rhs);
  };
  auto fits = [&](Value begin, int64_t reach, AffineExpr size) {
    return both(isInside(begin, b.size(size)),
                isInside(b.add(begin, b.idx(reach)), b.size(size)));
  };
  int64_t lastHigh = shape->kernelHeight - 1, lastWide = shape->kernelWidth - 1;
  Value result =
      both(fits(window.top, lastHigh * shape->dilationHeight, shape->inHeight),
           fits(window.left, lastWide * shape->dilationWidth, shape->inWidth));
  if (last)
    result =
        both(result,
             LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::ne,
                                  getPixel(window, lastHigh, lastWide), last));
  return result;
}

/// The entries of an output pixel whose window is whole, which most are.
void ByteRows::emitWholeEntries(Value entry, const Window &window) {
  bool onlyEnds = readsRuns && getRun() > 1;
  for (int64_t kh = 0; kh < shape->kernelHeight; ++kh)
    for (int64_t kw = 0; kw < shape->kernelWidth; ++kw)
      if (!onlyEnds || kw == 0 || kw == shape->kernelWidth - 1)
        storeEntry(entry, kh * shape->kernelWidth + kw,
                   getPixel(window, kh, kw));
}

/// The entries of one output pixel.
void ByteRows::emitEntries(Value entry, const Window &window) {
  Value height = b.size(shape->inHeight), widthSize = b.size(shape->inWidth);
  for (int64_t kh = 0; kh < shape->kernelHeight; ++kh) {
    Value insideRow =
        isInside(b.add(window.top, b.idx(kh * shape->dilationHeight)), height);
    for (int64_t kw = 0; kw < shape->kernelWidth; ++kw) {
      Value x = b.add(window.left, b.idx(kw * shape->dilationWidth));
      Value inside =
          arith::AndIOp::create(b, insideRow, isInside(x, widthSize));
      Value there = getPixel(window, kh, kw);
      if (last) {
        Value isLast =
            LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::eq, there, last);
        there = arith::SelectOp::create(b, isLast, lastCopy, there);
      }
      storeEntry(entry, kh * shape->kernelWidth + kw,
                 arith::SelectOp::create(b, inside, there, b.scratch()));
    }
  }
}

int64_t ByteRows::getRun() const {
  // With many inputs a tap fills vectors of its own. A run that is shorter than
  // a line never reaches from the row of zeros to the copy behind it.
  bool isDense = needsTable() && shape->dilationWidth == 1 && width == inputs &&
                 inputs < kFewInputs && shape->kernelWidth * inputs <= kLine;
  return isDense ? shape->kernelWidth : 1;
}

Value ByteRows::isRun(Value row, Value firstRow, Value tap) {
  int64_t taps = getRun() - 1;
  Value begin = getPointer(row, firstRow, tap),
        end = getPointer(row, firstRow, b.add(tap, b.idx(taps)));
  auto compare = [&](LLVM::ICmpPredicate predicate, Value other,
                     Value pointer) -> Value {
    return LLVM::ICmpOp::create(b, predicate, pointer, other);
  };
  // Where the first and the last tap lie in the image, so do the others.
  Value isInside = arith::AndIOp::create(
      b, compare(LLVM::ICmpPredicate::ne, b.scratch(), begin),
      compare(LLVM::ICmpPredicate::ne, b.scratch(), end));
  Value expected = b.elementPointer(begin, b.getI8Type(), b.idx(taps * inputs));
  return arith::AndIOp::create(b, isInside,
                               compare(LLVM::ICmpPredicate::eq, expected, end));
}

Value ByteRows::isInImage(Value row, Value firstRow, Value tap) {
  return LLVM::ICmpOp::create(b, LLVM::ICmpPredicate::ne, b.scratch(),
                              getPointer(row, firstRow, tap));
}

Value ByteRows::getPointer(Value row, Value firstRow, Value tap) {
  if (!needsTable())
    return b.elementPointer(first, b.getI8Type(), b.mul(row, b.idx(width)));
  Value entry =
      b.add(b.mul(b.sub(row, firstRow), b.idx(shape->kernelSize())), tap);
  return LLVM::LoadOp::create(b, LLVM::LLVMPointerType::get(b.getContext()),
                              b.elementPointer(table, b.getI64Type(), entry));
}

Value x86::loadWord(KernelBuilder &b, Value pointer, Value offset,
                    int64_t live) {
  Type i8 = b.getI8Type(), i32 = b.getI32Type();
  // Rows of bytes begin anywhere. A false alignment would also hold for the
  // single bytes below, and LLVM reads those that are aligned as words.
  if (live >= 4)
    return LLVM::LoadOp::create(b, i32, b.elementPointer(pointer, i8, offset),
                                /*alignment=*/1);
  Value word;
  for (int64_t i = 0; i < live; ++i) {
    Value byte = arith::ExtUIOp::create(
        b, i32, b.load(pointer, i8, b.add(offset, b.idx(i))));
    if (i)
      byte = arith::ShLIOp::create(b, byte, b.constantInt(8 * i, i32));
    word = word ? Value(arith::OrIOp::create(b, word, byte)) : byte;
  }
  return word;
}
