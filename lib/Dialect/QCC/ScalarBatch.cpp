//===- ScalarBatch.cpp - operations on many scalars -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What unpacks and dequantizes weights is done for each of them: the operations
// of such bodies have loops of their own, in which nothing is looked up.
//
//===----------------------------------------------------------------------===//
#include "ScalarOps.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>
#include <functional>

using namespace mlir;
using namespace qcc;
using namespace qcc::scalar;

//===----------------------------------------------------------------------===//
// Elements in memory
//===----------------------------------------------------------------------===//

template <typename T>
static void loadIntegers(ArrayRef<const char *> addresses, unsigned bits,
                         Scalar *values) {
  for (auto [i, address] : llvm::enumerate(addresses)) {
    T number;
    std::memcpy(&number, address, sizeof(T));
    values[i].i = llvm::SignExtend64(uint64_t(number), bits);
  }
}

void qcc::loadScalars(ArrayRef<const char *> addresses, Type type,
                      Scalar *values) {
  unsigned bits = isa<IntegerType>(type) ? type.getIntOrFloatBitWidth() : 0;
  if (bits && bits <= 8)
    return loadIntegers<uint8_t>(addresses, bits, values);
  if (bits == 32)
    return loadIntegers<uint32_t>(addresses, bits, values);
  bool isF32 = type.isF32();
  for (auto [i, address] : llvm::enumerate(addresses)) {
    values[i].i = 0;
    if (isF32)
      std::memcpy(&values[i].f, address, sizeof(float));
    else
      values[i] = loadScalar(address, type);
  }
}

void qcc::storeScalars(char *address, Type type, ArrayRef<Scalar> values) {
  int64_t bytes = getElementBytes(type);
  unsigned bits = isa<IntegerType>(type) ? type.getIntOrFloatBitWidth() : 0;
  bool isF32 = type.isF32(), isByte = bits == 8,
       isNarrow = bits == 1 || (bits && bits < 8 && type.isUnsignedInteger());
  auto mask = char((1u << (bits % 8)) - 1);
  for (Scalar value : values) {
    if (isF32)
      std::memcpy(address, &value.f, sizeof(float));
    else if (isByte)
      *address = char(value.i);
    else if (isNarrow)
      *address = char(value.i & mask);
    else
      storeScalar(address, type, value);
    address += bytes;
  }
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

Scalar ScalarInstruction::run(Scalar a, Scalar b, Scalar c) const {
  Scalar r;
  r.i = 0;
  if (code == Select)
    return a.i & 1 ? b : c;
  if (code == CmpF) {
    APFloat x = isDouble ? APFloat(a.d) : APFloat(a.f);
    APFloat y = isDouble ? APFloat(b.d) : APFloat(b.f);
    r.i = -int64_t(
        arith::applyCmpPredicate(arith::CmpFPredicate(predicate), x, y));
  } else if (code == CmpI) {
    r.i = -int64_t(
        compareIntegers(arith::CmpIPredicate(predicate), a.i, b.i, bits));
  } else if (code >= ExtF && code <= Bitcast) {
    return convert(code, a, from, to);
  } else if (code >= AddI) {
    r.i = runInteger(code, a.i, b.i, bits);
  } else if (isDouble) {
    r.d = runFloat(code, a.d, b.d, c.d);
  } else {
    r.f = runFloat(code, a.f, b.f, c.f);
  }
  return r;
}

namespace {
/// The operands and the result of an operation on many scalars.
struct Columns {
  const Scalar *a, *b;
  int64_t count;
  Scalar *out;

  template <typename Body> void floats(Body body) const {
    for (int64_t i = 0; i < count; ++i) {
      Scalar r;
      r.i = 0;
      r.f = body(a[i].f, b[i].f);
      out[i] = r;
    }
  }
  /// Results are sign-extended from `bits`.
  template <typename Body> void integers(unsigned bits, Body body) const {
    for (int64_t i = 0; i < count; ++i)
      out[i].i = llvm::SignExtend64(
          body(uint64_t(a[i].i), b ? uint64_t(b[i].i) : 0), bits);
  }
};
} // namespace

static uint64_t getMask(unsigned bits) {
  return bits >= 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
}

/// One of the frequent operations on integers; false if it is another one.
static bool runIntegers(const ScalarInstruction &inst, const Columns &columns) {
  unsigned bits = inst.bits;
  uint64_t mask = getMask(bits);
  switch (inst.code) {
  case AddI:
    columns.integers(bits, std::plus<uint64_t>());
    return true;
  case SubI:
    columns.integers(bits, std::minus<uint64_t>());
    return true;
  case MulI:
    columns.integers(bits, std::multiplies<uint64_t>());
    return true;
  case AndI:
    columns.integers(bits, std::bit_and<uint64_t>());
    return true;
  case OrI:
    columns.integers(bits, std::bit_or<uint64_t>());
    return true;
  case XorI:
    columns.integers(bits, std::bit_xor<uint64_t>());
    return true;
  case ShrUI:
    columns.integers(bits, [=](uint64_t a, uint64_t b) {
      b &= mask;
      return b < bits ? (a & mask) >> b : 0;
    });
    return true;
  default:
    return false;
  }
}

/// One of the frequent conversions; false if it is another one.
static bool runConversions(const ScalarInstruction &inst,
                           const Columns &columns) {
  uint64_t mask = getMask(getBits(inst.from));
  switch (inst.code) {
  case ExtSI:
  case TruncI:
  case IndexCast:
    columns.integers(getBits(inst.to), [](uint64_t a, uint64_t) { return a; });
    return true;
  case ExtUI:
    columns.integers(64, [=](uint64_t a, uint64_t) { return a & mask; });
    return true;
  case SIToFP:
  case UIToFP:
    if (inst.to.isF64())
      return false;
    for (int64_t i = 0; i < columns.count; ++i) {
      Scalar r;
      int64_t number = columns.a[i].i;
      r.i = 0;
      r.f =
          inst.code == SIToFP ? float(number) : float(uint64_t(number) & mask);
      columns.out[i] = r;
    }
    return true;
  default:
    return false;
  }
}

static bool runFloats(const ScalarInstruction &inst, const Columns &columns) {
  switch (inst.code) {
  case AddF:
    columns.floats(std::plus<float>());
    return true;
  case SubF:
    columns.floats(std::minus<float>());
    return true;
  case MulF:
    columns.floats(std::multiplies<float>());
    return true;
  case DivF:
    columns.floats(std::divides<float>());
    return true;
  default:
    return false;
  }
}

void ScalarInstruction::run(const Scalar *a, const Scalar *b, const Scalar *c,
                            int64_t count, Scalar *out) const {
  Columns columns{a, b, count, out};
  bool isDone = code >= ExtF && code <= Bitcast ? runConversions(*this, columns)
                : code >= AddI                  ? runIntegers(*this, columns)
                : isDouble                      ? false
                                                : runFloats(*this, columns);
  if (isDone)
    return;
  Scalar none;
  none.i = 0;
  for (int64_t i = 0; i < count; ++i)
    out[i] = run(a ? a[i] : none, b ? b[i] : none, c ? c[i] : none);
}
