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
                       int64_t groupK) {
  vectorBytes = caps.hasAvx512 ? 64 : 32;
  // A 16-bit sum takes two products per four rows.
  int64_t largest = int64_t(maxCode) * 127 * 2 * llvm::divideCeil(groupK, 4);
  if (caps.hasVnni)
    kind = Kind::Vnni;
  else
    kind = largest <= 32767 ? Kind::Bytes : Kind::Words;
}

IntegerDot::IntegerDot(const Capabilities &caps, DotSigns signs)
    : kind(caps.hasVnni ? Kind::Vnni : Kind::Words),
      vectorBytes(caps.hasAvx512 ? 64 : 32), signs(signs) {}

int64_t IntegerDot::getActivationOffset() const {
  return kind == Kind::Vnni && signs.codes && signs.activations ? 128 : 0;
}

unsigned IntegerDot::getNumValues() const {
  switch (kind) {
  case Kind::Vnni:
    return 1;
  case Kind::Bytes:
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

/// Bytes as integers of `element`, each.
static Value widen(KernelBuilder &b, Value bytes, bool isSigned, Type element) {
  auto type = cast<VectorType>(bytes.getType()).clone(element);
  if (isSigned)
    return arith::ExtSIOp::create(b, type, bytes);
  return arith::ExtUIOp::create(b, type, bytes);
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
  if (kind == Kind::Vnni || kind == Kind::Bytes) {
    unsigned bytes = kind == Kind::Vnni ? kStepBytes : vectorBytes;
    return vector::BitCastOp::create(b, VectorType::get(bytes, i8),
                                     b.splat(word, bytes / 4));
  }
  // Widened by one sign extension of the word in every lane.
  unsigned words = vectorBytes / 2;
  Value bytes = vector::BitCastOp::create(b, VectorType::get(words, i8),
                                          b.splat(word, words / 4));
  return widen(b, bytes, signs.activations, i16);
}

Value IntegerDot::prepareCodes(KernelBuilder &b, Value codes,
                               unsigned part) const {
  if (kind == Kind::Vnni)
    return codes;
  int64_t piece = kind == Kind::Bytes ? vectorBytes : vectorBytes / 2;
  if (piece != kStepBytes)
    codes = vector::ExtractStridedSliceOp::create(
        b, codes, ArrayRef<int64_t>{part * piece}, ArrayRef<int64_t>{piece},
        ArrayRef<int64_t>{1});
  return kind == Kind::Words ? widen(b, codes, signs.codes, b.getI16Type())
                             : codes;
}

Value IntegerDot::loadWords(KernelBuilder &b, Value pointer,
                            unsigned part) const {
  assert(kind == Kind::Words && "bytes are multiplied as they are");
  int64_t lanes = vectorBytes / 2;
  return b.load(pointer, b.getI16Type(), b.idx(part * lanes), lanes);
}

SmallVector<Value> IntegerDot::prepareCodes(KernelBuilder &b,
                                            Value codes) const {
  SmallVector<Value> parts;
  for (unsigned part = 0; part < getNumValues(); ++part)
    parts.push_back(prepareCodes(b, codes, part));
  return parts;
}

void IntegerDot::stepPart(KernelBuilder &b, Value &sum, Value part,
                          Value activation) const {
  if (kind == Kind::Vnni) {
    Value plain = part, other = activation;
    if (signs.codes)
      std::swap(plain, other);
    sum = callIntrinsic(b, "llvm.x86.avx512.vpdpbusd.512", sum.getType(),
                        {sum, plain, other});
    return;
  }
  bool wide = vectorBytes == 64;
  StringRef name =
      kind == Kind::Bytes
          ? (wide ? "llvm.x86.avx512.pmaddubs.w.512"
                  : "llvm.x86.avx2.pmadd.ub.sw")
          : (wide ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd");
  Value products = callIntrinsic(b, name, sum.getType(), {part, activation});
  sum = arith::AddIOp::create(b, sum, products);
}

void IntegerDot::step(KernelBuilder &b, MutableArrayRef<Value> accumulator,
                      ArrayRef<Value> codes, Value activation) const {
  for (auto [sum, part] : llvm::zip_equal(accumulator, codes))
    stepPart(b, sum, part, activation);
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

Value IntegerDot::finish(KernelBuilder &b, ArrayRef<Value> accumulator) const {
  if (kind == Kind::Vnni)
    return accumulator[0];
  if (kind == Kind::Bytes) {
    // Pairs of 16-bit sums of a column: one product with ones.
    SmallVector<Value> sums;
    bool wide = vectorBytes == 64;
    auto type = VectorType::get(vectorBytes / 4, b.getI32Type());
    for (Value part : accumulator) {
      Value ones = b.constantInt(1, part.getType());
      sums.push_back(callIntrinsic(
          b, wide ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd",
          type, {part, ones}));
    }
    return concatenate(b, sums);
  }
  Value all = concatenate(b, accumulator);
  SmallVector<int64_t> even, odd;
  for (int64_t i = 0; i < 16; ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
  }
  return arith::AddIOp::create(b, vector::ShuffleOp::create(b, all, all, even),
                               vector::ShuffleOp::create(b, all, all, odd));
}
