//===- IntegerDot.cpp - exact dot products of bytes -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "IntegerDot.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <numeric>

using namespace mlir;
using namespace qcc;
using namespace qcc::x86;

/// Bytes of codes of one step: 16 columns by 4 rows.
static constexpr unsigned kStepBytes = 64;

IntegerDot::IntegerDot(const Capabilities &caps, unsigned maxCode,
                       int64_t unitK)
    : vectorBytes(caps.hasAvx512 ? 64 : 32), isOrdered(true) {
  // A 16-bit sum takes two products per four rows.
  int64_t steps = 32767 / std::max<int64_t>(int64_t(maxCode) * 127 * 2, 1),
          rows = steps * 4 / unitK * unitK;
  if (caps.hasVnni) {
    kind = Kind::Vnni;
  } else if (rows == 0) {
    kind = Kind::Words;
  } else {
    kind = Kind::Bytes;
    chunkRows = rows;
  }
}

IntegerDot::IntegerDot(const Capabilities &caps, DotSigns signs, bool pairsFit)
    : kind(caps.hasVnni ? Kind::Vnni
           : pairsFit   ? Kind::Pairs
                        : Kind::Words),
      vectorBytes(caps.hasAvx512 ? 64 : 32), signs(signs) {
  assert((!pairsFit || signs.codes) && "activations have no sign then");
}

int64_t IntegerDot::getActivationOffset() const {
  return kind == Kind::Pairs || kind == Kind::Vnni
             ? (signs.codes && signs.activations ? 128 : 0)
             : 0;
}

unsigned IntegerDot::getNumValues() const {
  switch (kind) {
  case Kind::Vnni:
    return 1;
  case Kind::Bytes:
  case Kind::Pairs:
    return kStepBytes / vectorBytes;
  case Kind::Words:
    return 2 * kStepBytes / vectorBytes;
  }
  llvm_unreachable("a kind without a name");
}

unsigned IntegerDot::getRegisters() const { return getNumValues(); }

static Value callIntrinsic(KernelBuilder &b, StringRef name, Type result,
                           ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, result, b.getStringAttr(name),
                                       operands)
      .getResult(0);
}

/// One instruction that LLVM leaves as it is, operands $1, $2, ... and the
/// result $0. With `inOrder` it also stays behind what was emitted before it.
static Value emitAsm(KernelBuilder &b, Type result, StringRef instruction,
                     StringRef constraints, ValueRange operands, bool inOrder) {
  return LLVM::InlineAsmOp::create(
             b, result, operands, instruction, constraints,
             /*has_side_effects=*/inOrder, /*is_align_stack=*/false,
             LLVM::TailCallKind::None,
             LLVM::AsmDialectAttr::get(b.getContext(),
                                       LLVM::AsmDialect::AD_ATT),
             /*operand_attrs=*/ArrayAttr())
      .getResult(0);
}

/// The same on vectors of the result's type.
static Value emitFixed(KernelBuilder &b, StringRef instruction,
                       ValueRange operands, bool inOrder = false) {
  std::string constraints = "=v";
  for (size_t i = 0; i < operands.size(); ++i)
    constraints += ",v";
  return emitAsm(b, operands[0].getType(), instruction, constraints, operands,
                 inOrder);
}

Value x86::shiftSplat(KernelBuilder &b, Value value, unsigned bits) {
  auto type = cast<VectorType>(value.getType());
  int64_t lanes = b.caps().f32Lanes(), count = type.getNumElements();
  auto part = [&]() -> Value {
    if (lanes == count)
      return value;
    return vector::ExtractStridedSliceOp::create(b, value, ArrayRef<int64_t>{0},
                                                 ArrayRef<int64_t>{lanes},
                                                 ArrayRef<int64_t>{1});
  };
  Value shifted =
      emitFixed(b, "vpslld $$" + std::to_string(bits) + ", $1, $0", {part()});
  if (lanes == count)
    return shifted;
  SmallVector<int64_t> order(count);
  for (int64_t i = 0; i < count; ++i)
    order[i] = i % lanes;
  return vector::ShuffleOp::create(b, shifted, shifted, order);
}

Value x86::broadcastInOrder(KernelBuilder &b, Value pointer, Value step) {
  Value index = arith::IndexCastOp::create(b, b.getI64Type(), step);
  return emitAsm(b, VectorType::get(8, b.getI32Type()),
                 "vpbroadcastd ($1,$2,4), $0", "=v,r,r,~{memory}",
                 {pointer, index}, /*inOrder=*/true);
}

/// Bytes as integers of `element`, each.
static Value extendBytes(KernelBuilder &b, Value bytes, bool isSigned,
                         Type element) {
  auto type = cast<VectorType>(bytes.getType()).clone(element);
  if (isSigned)
    return arith::ExtSIOp::create(b, type, bytes);
  return arith::ExtUIOp::create(b, type, bytes);
}

/// Sums of two products of words each.
static Value multiplyWords(KernelBuilder &b, Value lhs, Value rhs) {
  auto words = cast<VectorType>(lhs.getType());
  int64_t sums = words.getNumElements() / 2;
  return callIntrinsic(
      b, sums == 16 ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd",
      VectorType::get(sums, b.getI32Type()), {lhs, rhs});
}

Value x86::sumPairs(KernelBuilder &b, Value words) {
  return multiplyWords(b, words, b.constantInt(1, words.getType()));
}

Value x86::multiplyBytes(KernelBuilder &b, Value plain, Value other) {
  auto bytes = cast<VectorType>(plain.getType());
  int64_t sums = bytes.getNumElements() / 2;
  return callIntrinsic(b,
                       sums == 32 ? "llvm.x86.avx512.pmaddubs.w.512"
                                  : "llvm.x86.avx2.pmadd.ub.sw",
                       VectorType::get(sums, b.getI16Type()), {plain, other});
}

SmallVector<Value> IntegerDot::zero(KernelBuilder &b) const {
  Type element = kind == Kind::Bytes ? b.getI16Type() : b.getI32Type();
  unsigned lanes = vectorBytes / (kind == Kind::Bytes ? 2 : 4);
  if (kind == Kind::Vnni)
    lanes = 16;
  Value zero = b.constantInt(0, VectorType::get(lanes, element));
  return SmallVector<Value>(getNumValues(), zero);
}

Value IntegerDot::prepareActivation(KernelBuilder &b, Value word) const {
  Type i8 = b.getI8Type(), i16 = b.getI16Type();
  if (getActivationOffset()) // 128 more of each byte is its highest bit turned
    word = arith::XOrIOp::create(
        b, word, b.constantInt(int32_t(0x80808080), word.getType()));
  if (kind != Kind::Words) {
    unsigned bytes = kind == Kind::Vnni ? kStepBytes : vectorBytes;
    return vector::BitCastOp::create(b, VectorType::get(bytes, i8),
                                     b.splat(word, bytes / 4));
  }
  // Widened by one sign extension of the word in every lane.
  unsigned words = vectorBytes / 2;
  Value bytes = vector::BitCastOp::create(b, VectorType::get(words, i8),
                                          b.splat(word, words / 4));
  return extendBytes(b, bytes, signs.activations, i16);
}

Value IntegerDot::prepareCodes(KernelBuilder &b, Value codes,
                               unsigned part) const {
  if (kind == Kind::Vnni)
    return codes;
  int64_t piece = kind == Kind::Words ? vectorBytes / 2 : vectorBytes;
  if (piece != kStepBytes)
    codes = vector::ExtractStridedSliceOp::create(
        b, codes, ArrayRef<int64_t>{part * piece}, ArrayRef<int64_t>{piece},
        ArrayRef<int64_t>{1});
  return kind == Kind::Words
             ? extendBytes(b, codes, signs.codes, b.getI16Type())
             : codes;
}

Value IntegerDot::loadWords(KernelBuilder &b, Value pointer,
                            unsigned part) const {
  assert(kind == Kind::Words && "bytes are multiplied as they are");
  int64_t lanes = vectorBytes / 2;
  return b.load(pointer, b.getI16Type(), b.idx(part * lanes), lanes);
}

Value IntegerDot::loadPart(KernelBuilder &b, Value pointer,
                           unsigned part) const {
  if (kind == Kind::Words)
    return loadWords(b, pointer, part);
  int64_t bytes = kStepBytes / getNumValues();
  return b.load(pointer, b.getI8Type(), b.idx(part * bytes), bytes);
}

void IntegerDot::stepPart(KernelBuilder &b, Value &sum, Value part,
                          Value activation) const {
  if (kind == Kind::Vnni) {
    Value plain = part, other = activation;
    if (signs.codes)
      std::swap(plain, other);
    if (!sum)
      sum = zero(b)[0];
    sum = callIntrinsic(b, "llvm.x86.avx512.vpdpbusd.512", sum.getType(),
                        {sum, plain, other});
    return;
  }
  Value products;
  if (kind == Kind::Words)
    products = multiplyWords(b, part, activation);
  else if (kind == Kind::Bytes)
    products = multiplyBytes(b, part, activation);
  else
    products = sumPairs(b, multiplyBytes(b, activation, part));
  if (!sum)
    sum = products;
  else if (isOrdered)
    sum = emitFixed(
        b, kind == Kind::Bytes ? "vpaddw $2, $1, $0" : "vpaddd $2, $1, $0",
        {sum, products}, /*inOrder=*/true);
  else
    sum = arith::AddIOp::create(b, sum, products);
}

Value IntegerDot::concatenate(KernelBuilder &b, ArrayRef<Value> parts) {
  SmallVector<Value> work(parts);
  while (work.size() > 1) {
    SmallVector<Value> next;
    for (size_t i = 0; i < work.size(); i += 2) {
      int64_t lanes = cast<VectorType>(work[i].getType()).getNumElements();
      SmallVector<int64_t> order(2 * lanes);
      std::iota(order.begin(), order.end(), 0);
      next.push_back(vector::ShuffleOp::create(b, work[i], work[i + 1], order));
    }
    work = next;
  }
  return work[0];
}

SmallVector<Value> IntegerDot::widen(KernelBuilder &b,
                                     ArrayRef<Value> accumulator) const {
  SmallVector<Value> sums(accumulator);
  if (kind != Kind::Bytes)
    return sums;
  for (Value &sum : sums)
    sum = sumPairs(b, sum);
  return sums;
}

Value IntegerDot::finish(KernelBuilder &b, ArrayRef<Value> widened) const {
  if (kind == Kind::Vnni)
    return widened[0];
  Value all = concatenate(b, widened);
  if (kind != Kind::Words)
    return all;
  SmallVector<int64_t> even, odd;
  for (int64_t i = 0; i < 16; ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
  }
  return arith::AddIOp::create(b, vector::ShuffleOp::create(b, all, all, even),
                               vector::ShuffleOp::create(b, all, all, odd));
}
