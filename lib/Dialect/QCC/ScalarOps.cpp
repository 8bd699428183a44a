//===- ScalarOps.cpp - arithmetic of the interpreter ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "ScalarOps.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace qcc;
using namespace qcc::scalar;

//===----------------------------------------------------------------------===//
// Elements in memory
//===----------------------------------------------------------------------===//

template <typename T> static T loadAs(const char *address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

Scalar qcc::loadScalar(const char *address, Type type) {
  Scalar s;
  s.i = 0;
  if (type.isF64()) {
    s.d = loadAs<double>(address);
  } else if (type.isF32()) {
    s.f = loadAs<float>(address);
  } else if (type.isF16()) {
    s.f = static_cast<float>(loadAs<_Float16>(address));
  } else if (type.isBF16()) {
    uint32_t bits = uint32_t(loadAs<uint16_t>(address)) << 16;
    std::memcpy(&s.f, &bits, 4);
  } else {
    int64_t raw = 0;
    std::memcpy(&raw, address, getElementBytes(type));
    unsigned bits = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
    s.i = llvm::SignExtend64(raw, bits);
  }
  return s;
}

void qcc::storeScalar(char *address, Type type, Scalar s) {
  if (type.isF64()) {
    std::memcpy(address, &s.d, 8);
  } else if (type.isF32()) {
    std::memcpy(address, &s.f, 4);
  } else if (type.isF16()) {
    auto half = static_cast<_Float16>(s.f);
    std::memcpy(address, &half, 2);
  } else if (isa<BFloat16Type>(type)) {
    APFloat value(s.f);
    bool lost = false;
    value.convert(APFloat::BFloat(), APFloat::rmNearestTiesToEven, &lost);
    uint64_t bits = value.bitcastToAPInt().getZExtValue();
    std::memcpy(address, &bits, getElementBytes(type));
  } else if (type.isInteger(1)) {
    *address = static_cast<char>(s.i & 1);
  } else if (type.getIntOrFloatBitWidth() < 8 &&
             (type.isUnsignedInteger() || isa<FloatType>(type))) {
    // One byte each, zero-extended.
    *address =
        static_cast<char>(s.i & ((1 << type.getIntOrFloatBitWidth()) - 1));
  } else {
    std::memcpy(address, &s.i, getElementBytes(type));
  }
}

Code scalar::getCode(StringRef name) {
  return llvm::StringSwitch<Code>(name)
      .Case("arith.addf", AddF)
      .Case("arith.subf", SubF)
      .Case("arith.mulf", MulF)
      .Case("arith.divf", DivF)
      .Case("arith.remf", RemF)
      .Case("arith.negf", NegF)
      .Case("arith.maximumf", MaximumF)
      .Case("arith.minimumf", MinimumF)
      .Case("arith.maxnumf", MaxNumF)
      .Case("arith.minnumf", MinNumF)
      .Case("arith.cmpf", CmpF)
      .Case("math.fma", Fma)
      .Case("math.exp", Exp)
      .Case("math.exp2", Exp2)
      .Case("math.expm1", Expm1)
      .Case("math.log", Log)
      .Case("math.log1p", Log1p)
      .Case("math.log2", Log2)
      .Case("math.sqrt", Sqrt)
      .Case("math.rsqrt", Rsqrt)
      .Case("math.absf", AbsF)
      .Case("math.tanh", Tanh)
      .Case("math.erf", Erf)
      .Case("math.sin", Sin)
      .Case("math.cos", Cos)
      .Case("math.tan", Tan)
      .Case("math.sinh", Sinh)
      .Case("math.cosh", Cosh)
      .Case("math.asin", Asin)
      .Case("math.acos", Acos)
      .Case("math.atan", Atan)
      .Case("math.asinh", Asinh)
      .Case("math.acosh", Acosh)
      .Case("math.atanh", Atanh)
      .Case("math.powf", PowF)
      .Case("math.floor", Floor)
      .Case("math.ceil", Ceil)
      .Case("math.trunc", Trunc)
      .Case("math.round", Round)
      .Case("math.roundeven", RoundEven)
      .Case("math.copysign", CopySign)
      .Case("arith.addi", AddI)
      .Case("arith.subi", SubI)
      .Case("arith.muli", MulI)
      .Case("arith.divsi", DivSI)
      .Case("arith.divui", DivUI)
      .Case("arith.floordivsi", FloorDivSI)
      .Case("arith.ceildivsi", CeilDivSI)
      .Case("arith.remsi", RemSI)
      .Case("arith.remui", RemUI)
      .Case("arith.andi", AndI)
      .Case("arith.ori", OrI)
      .Case("arith.xori", XorI)
      .Case("arith.shli", ShlI)
      .Case("arith.shrsi", ShrSI)
      .Case("arith.shrui", ShrUI)
      .Case("arith.maxsi", MaxSI)
      .Case("arith.maxui", MaxUI)
      .Case("arith.minsi", MinSI)
      .Case("arith.minui", MinUI)
      .Case("arith.cmpi", CmpI)
      .Case("math.absi", AbsI)
      .Case("arith.select", Select)
      .Case("arith.extf", ExtF)
      .Case("arith.truncf", TruncF)
      .Case("arith.extsi", ExtSI)
      .Case("arith.extui", ExtUI)
      .Case("arith.trunci", TruncI)
      .Case("arith.sitofp", SIToFP)
      .Case("arith.uitofp", UIToFP)
      .Case("arith.fptosi", FPToSI)
      .Case("arith.fptoui", FPToUI)
      .Case("arith.index_cast", IndexCast)
      .Case("arith.bitcast", Bitcast)
      .Case("arith.constant", Constant)
      .Case("qcc.index", Index)
      .Case("qcc.extent", Extent)
      .Case("qcc.read", Read)
      .Case("scf.if", If)
      .Case("scf.for", For)
      .Default(Unknown);
}

unsigned scalar::getBits(Type type) {
  return type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
}

/// One float operation on T, for float and double alike.
template <typename T> static T runFloatOn(unsigned code, T a, T b, T c) {
  bool nan = std::isnan(a) || std::isnan(b);
  switch (code) {
  case AddF:
    return a + b;
  case SubF:
    return a - b;
  case MulF:
    return a * b;
  case DivF:
    return a / b;
  case RemF:
    return std::fmod(a, b);
  case NegF:
    return -a;
  case MaximumF:
    return nan ? a + b : std::fmax(a, b);
  case MinimumF:
    return nan ? a + b : std::fmin(a, b);
  case MaxNumF:
    return std::fmax(a, b);
  case MinNumF:
    return std::fmin(a, b);
  case Fma:
    return std::fma(a, b, c);
  case Exp:
    return std::exp(a);
  case Exp2:
    return std::exp2(a);
  case Expm1:
    return std::expm1(a);
  case Log:
    return std::log(a);
  case Log1p:
    return std::log1p(a);
  case Log2:
    return std::log2(a);
  case Sqrt:
    return std::sqrt(a);
  case Rsqrt:
    return T(1) / std::sqrt(a);
  case AbsF:
    return std::fabs(a);
  case Tanh:
    return std::tanh(a);
  case Erf:
    return std::erf(a);
  case Sin:
    return std::sin(a);
  case Cos:
    return std::cos(a);
  case Tan:
    return std::tan(a);
  case Sinh:
    return std::sinh(a);
  case Cosh:
    return std::cosh(a);
  case Asin:
    return std::asin(a);
  case Acos:
    return std::acos(a);
  case Atan:
    return std::atan(a);
  case Asinh:
    return std::asinh(a);
  case Acosh:
    return std::acosh(a);
  case Atanh:
    return std::atanh(a);
  case PowF:
    return std::pow(a, b);
  case Floor:
    return std::floor(a);
  case Ceil:
    return std::ceil(a);
  case Trunc:
    return std::trunc(a);
  case Round:
    return std::round(a);
  case RoundEven:
    return std::nearbyint(a);
  case CopySign:
    return std::copysign(a, b);
  default:
    return T(0);
  }
}

float scalar::runFloat(unsigned code, float a, float b, float c) {
  return runFloatOn(code, a, b, c);
}
double scalar::runFloat(unsigned code, double a, double b, double c) {
  return runFloatOn(code, a, b, c);
}

int64_t scalar::runInteger(unsigned code, int64_t a, int64_t b, unsigned bits) {
  auto zext = [&](int64_t v) {
    return bits == 64 ? uint64_t(v) : uint64_t(v) & ((uint64_t(1) << bits) - 1);
  };
  uint64_t ua = zext(a), ub = zext(b);
  bool zero = b == 0, overflow = b == -1;
  uint64_t r = 0;
  switch (code) {
  case AddI:
    r = uint64_t(a) + uint64_t(b);
    break;
  case SubI:
    r = uint64_t(a) - uint64_t(b);
    break;
  case MulI:
    r = uint64_t(a) * uint64_t(b);
    break;
  case DivSI:
    r = zero ? 0 : overflow ? uint64_t(0) - uint64_t(a) : uint64_t(a / b);
    break;
  case FloorDivSI:
    r = zero       ? 0
        : overflow ? uint64_t(0) - uint64_t(a)
                   : uint64_t(llvm::divideFloorSigned(a, b));
    break;
  case CeilDivSI:
    r = zero       ? 0
        : overflow ? uint64_t(0) - uint64_t(a)
                   : uint64_t(llvm::divideCeilSigned(a, b));
    break;
  case DivUI:
    r = ub ? ua / ub : 0;
    break;
  case RemSI:
    r = zero || overflow ? 0 : uint64_t(a % b);
    break;
  case RemUI:
    r = ub ? ua % ub : 0;
    break;
  case AndI:
    r = uint64_t(a & b);
    break;
  case OrI:
    r = uint64_t(a | b);
    break;
  case XorI:
    r = uint64_t(a ^ b);
    break;
  case ShlI:
    r = ub < bits ? uint64_t(a) << ub : 0;
    break;
  case ShrSI:
    r = uint64_t(a >> (ub < bits ? ub : bits - 1));
    break;
  case ShrUI:
    r = ub < bits ? ua >> ub : 0;
    break;
  case MaxSI:
    r = uint64_t(std::max(a, b));
    break;
  case MinSI:
    r = uint64_t(std::min(a, b));
    break;
  case MaxUI:
    r = uint64_t(ua > ub ? a : b);
    break;
  case MinUI:
    r = uint64_t(ua < ub ? a : b);
    break;
  case AbsI:
    r = a < 0 ? uint64_t(0) - uint64_t(a) : uint64_t(a);
    break;
  default:
    break;
  }
  return llvm::SignExtend64(r, bits);
}

bool scalar::compareIntegers(arith::CmpIPredicate predicate, int64_t a,
                             int64_t b, unsigned bits) {
  APInt x(bits, uint64_t(a), false, /*implicitTrunc=*/true);
  APInt y(bits, uint64_t(b), false, /*implicitTrunc=*/true);
  return arith::applyCmpPredicate(predicate, x, y);
}

Scalar scalar::convert(unsigned code, Scalar a, Type from, Type to) {
  Scalar r;
  r.i = 0;
  auto real = [&] { return from.isF64() ? a.d : double(a.f); };
  auto setReal = [&](double v, float narrow) {
    if (to.isF64())
      r.d = v;
    else
      r.f = narrow;
  };
  unsigned fromBits = getBits(from), toBits = getBits(to);
  uint64_t bits = fromBits == 64
                      ? uint64_t(a.i)
                      : uint64_t(a.i) & ((uint64_t(1) << fromBits) - 1);
  switch (code) {
  case ExtF:
    setReal(real(), a.f);
    break;
  case TruncF: {
    char buffer[8];
    r.f = from.isF64() ? float(a.d) : a.f;
    if (!to.isF32()) { // round to the storage format and back
      storeScalar(buffer, to, r);
      r = loadScalar(buffer, to);
    }
    break;
  }
  case ExtUI:
    r.i = int64_t(bits);
    break;
  case SIToFP:
    setReal(double(a.i), float(a.i));
    break;
  case UIToFP:
    setReal(double(bits), float(bits));
    break;
  case FPToSI:
  case FPToUI: {
    double v = std::trunc(real());
    bool fits = std::fabs(v) < 9.2e18;
    r.i = fits ? llvm::SignExtend64(uint64_t(int64_t(v)), toBits) : 0;
    break;
  }
  case Bitcast: {
    char buffer[8] = {};
    storeScalar(buffer, from, a);
    r = loadScalar(buffer, to);
    break;
  }
  default: // ExtSI, TruncI, IndexCast
    r.i = llvm::SignExtend64(uint64_t(a.i), toBits);
    break;
  }
  return r;
}
