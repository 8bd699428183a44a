//===- Array.cpp - named tensors and their types ----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Array.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

using namespace qcc::run;

const char *qcc::run::getDiagnosticCode(ExitCode code) {
  switch (code) {
  case Usage:
    return "QCC-E401";
  case BadModel:
    return "QCC-E702";
  case Unsupported:
    return "QCC-E306";
  case BadData:
    return "QCC-E201";
  case Missed:
    return "QCC-E801";
  case Resources:
    return "QCC-E501";
  case CannotWrite:
    return "QCC-E601";
  case Integrity:
    return "QCC-E701";
  default:
    return "QCC-E901";
  }
}

static const TypeInfo types[] = {
    {"bool", kDLBool, 8, 9, "|b1", ""},
    {"int8", kDLInt, 8, 3, "|i1", ""},
    {"int16", kDLInt, 16, 5, "<i2", ""},
    {"int32", kDLInt, 32, 6, "<i4", ""},
    {"int64", kDLInt, 64, 7, "<i8", ""},
    {"uint8", kDLUInt, 8, 2, "|u1", ""},
    {"uint16", kDLUInt, 16, 4, "<u2", ""},
    {"uint32", kDLUInt, 32, 12, "<u4", ""},
    {"uint64", kDLUInt, 64, 13, "<u8", ""},
    {"float16", kDLFloat, 16, 10, "<f2", ""},
    {"float32", kDLFloat, 32, 1, "<f4", ""},
    {"float64", kDLFloat, 64, 11, "<f8", ""},
    {"complex64", kDLComplex, 64, 14, "<c8", ""},
    {"complex128", kDLComplex, 128, 15, "<c16", ""},
    {"bfloat16", kDLBfloat, 16, 16, "<u2", "bf16"},
    {"float8_e4m3fn", kDLFloat8_e4m3fn, 8, 17, "|u1", "f8e4m3fn"},
    {"float8_e4m3fnuz", kDLFloat8_e4m3fnuz, 8, 18, "|u1", "f8e4m3fnuz"},
    {"float8_e5m2", kDLFloat8_e5m2, 8, 19, "|u1", "f8e5m2"},
    {"float8_e5m2fnuz", kDLFloat8_e5m2fnuz, 8, 20, "|u1", "f8e5m2fnuz"},
    {"float8_e8m0", kDLFloat8_e8m0fnu, 8, 24, "|u1", "f8e8m0"},
    // One element a byte: what models take. Before the packed form, which
    // only ONNX files have.
    {"float4_e2m1", kDLFloat4_e2m1fn, 8, 0, "|u1", "f4e2m1"},
    {"packed float4_e2m1", kDLFloat4_e2m1fn, 4, 23, "|u1", "f4e2m1"},
    {"uint4", kDLUInt, 4, 21, "|u1", "uint4"},
    {"int4", kDLInt, 4, 22, "|i1", "int4"},
    {"uint2", kDLUInt, 2, 25, "|u1", "uint2"},
    {"int2", kDLInt, 2, 26, "|i1", "int2"},
};

const TypeInfo *qcc::run::findType(DLDataType dtype) {
  for (const TypeInfo &type : types)
    if (type.code == dtype.code && type.bits == dtype.bits && dtype.lanes == 1)
      return &type;
  return nullptr;
}

const TypeInfo *qcc::run::findOnnxType(int64_t number) {
  for (const TypeInfo &type : types)
    if (type.onnx == number)
      return &type;
  return nullptr;
}

const TypeInfo *qcc::run::findNpyType(const std::string &npy,
                                      const std::string &suffix) {
  for (const TypeInfo &type : types) {
    // One byte has no order; numpy writes '|', others '<' too.
    bool same = npy == type.npy || (type.npy[0] == '|' && npy.size() > 1 &&
                                    npy.substr(1) == type.npy + 1);
    // Small integers may be of either sign: the bits are the same.
    bool small = !suffix.empty() && type.bits <= 8 &&
                 (npy.substr(1) == "u1" || npy.substr(1) == "i1");
    if (suffix == type.suffix && (same || small))
      return &type;
  }
  return nullptr;
}

bool qcc::run::splitSuffix(const std::string &name, std::string &stem,
                           std::string &suffix) {
  size_t dot = name.rfind('.');
  for (const TypeInfo &type : types) {
    if (dot == std::string::npos || !*type.suffix ||
        name.substr(dot + 1) != type.suffix)
      continue;
    stem = name.substr(0, dot);
    suffix = type.suffix;
    return true;
  }
  stem = name;
  suffix.clear();
  return false;
}

uint64_t qcc::run::elementCount(const std::vector<int64_t> &shape) {
  // Bounded so that sizes in bits do not overflow either.
  constexpr uint64_t limit = uint64_t(1) << 48;
  uint64_t count = 1;
  bool empty = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      throw RunError(BadData, "expected dims of at least 0, but got " +
                                  std::to_string(dim));
    empty |= dim == 0;
    if (dim != 0 && count > limit / uint64_t(dim))
      count = limit + 1;
    else if (dim != 0)
      count *= uint64_t(dim);
  }
  if (empty)
    return 0;
  if (count > limit)
    throw RunError(BadData, "a tensor has more than 2^48 elements");
  return count;
}

uint64_t qcc::run::byteCount(uint64_t count, const TypeInfo &type) {
  return (count * type.bits + 7) / 8;
}

std::string qcc::run::describe(const TypeInfo *type,
                               const std::vector<int64_t> &shape) {
  std::string text = std::string(type ? type->name : "unknown") + "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") +
            (shape[i] < 0 ? std::string("?") : std::to_string(shape[i]));
  return text + "]";
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

/// The value of a small float: sign, `exponentBits`, `mantissaBits`. IEEE-like
/// ones have infinities; "fn" ones only NaN (all ones), "fnuz" ones only NaN
/// (negative zero) and one more bias. Formats: OCP OFP8 1.0 and ONNX.
static double smallFloat(uint32_t raw, int exponentBits, int mantissaBits,
                         bool finite, bool unsignedZero) {
  uint32_t mantissa = raw & ((1u << mantissaBits) - 1);
  uint32_t exponent = raw >> mantissaBits & ((1u << exponentBits) - 1);
  bool negative = raw >> (mantissaBits + exponentBits) & 1;
  uint32_t maxExponent = (1u << exponentBits) - 1;
  int bias = (1 << (exponentBits - 1)) - (unsignedZero ? 0 : 1);
  double nan = std::numeric_limits<double>::quiet_NaN();
  if (unsignedZero && negative && exponent == 0 && mantissa == 0)
    return nan;
  if (!unsignedZero && exponent == maxExponent) {
    if (!finite)
      return mantissa != 0 ? nan : negative ? -INFINITY : INFINITY;
    if (exponentBits == 4 && mantissa == (1u << mantissaBits) - 1)
      return nan;
  }
  double value = exponent == 0
                     ? std::ldexp(double(mantissa), 1 - bias - mantissaBits)
                     : std::ldexp(double(mantissa | 1u << mantissaBits),
                                  int(exponent) - bias - mantissaBits);
  return negative ? -value : value;
}

template <typename T> static T load(const Array &array, uint64_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

static double integerAt(const Array &array, uint64_t i) {
  bool isSigned = array.type->code == kDLInt;
  switch (array.type->bits) {
  case 8:
    if (array.type->code == kDLFloat4_e2m1fn)
      return smallFloat(load<uint8_t>(array, i) & 15, 2, 1, true, false);
    return isSigned ? double(load<int8_t>(array, i))
                    : double(load<uint8_t>(array, i));
  case 16:
    return isSigned ? double(load<int16_t>(array, i))
                    : double(load<uint16_t>(array, i));
  case 32:
    return isSigned ? double(load<int32_t>(array, i))
                    : double(load<uint32_t>(array, i));
  case 64:
    return isSigned ? double(load<int64_t>(array, i))
                    : double(load<uint64_t>(array, i));
  default:
    break;
  }
  unsigned bits = array.type->bits;
  unsigned perByte = 8 / bits;
  unsigned raw = unsigned(array.bytes[i / perByte]) >> (i % perByte * bits) &
                 ((1u << bits) - 1);
  if (array.type->code == kDLFloat4_e2m1fn)
    return smallFloat(raw, 2, 1, true, false);
  return isSigned && raw >> (bits - 1) ? double(raw) - double(1u << bits)
                                       : double(raw);
}

double Array::at(uint64_t i) const {
  switch (type->code) {
  case kDLFloat:
    if (type->bits == 16)
      return smallFloat(load<uint16_t>(*this, i), 5, 10, false, false);
    return type->bits == 32 ? double(load<float>(*this, i))
                            : load<double>(*this, i);
  case kDLBfloat:
    return double(
        std::bit_cast<float>(uint32_t(load<uint16_t>(*this, i)) << 16));
  case kDLComplex:
    return type->bits == 64 ? double(load<float>(*this, 2 * i))
                            : load<double>(*this, 2 * i);
  case kDLFloat8_e4m3fn:
    return smallFloat(load<uint8_t>(*this, i), 4, 3, true, false);
  case kDLFloat8_e4m3fnuz:
    return smallFloat(load<uint8_t>(*this, i), 4, 3, true, true);
  case kDLFloat8_e5m2:
    return smallFloat(load<uint8_t>(*this, i), 5, 2, false, false);
  case kDLFloat8_e5m2fnuz:
    return smallFloat(load<uint8_t>(*this, i), 5, 2, true, true);
  case kDLFloat8_e8m0fnu: {
    uint8_t raw = load<uint8_t>(*this, i);
    return raw == 255 ? std::numeric_limits<double>::quiet_NaN()
                      : std::ldexp(1.0, raw - 127);
  }
  default:
    return integerAt(*this, i);
  }
}

double Array::imaginaryAt(uint64_t i) const {
  if (type->code != kDLComplex)
    return 0;
  return type->bits == 64 ? double(load<float>(*this, 2 * i + 1))
                          : load<double>(*this, 2 * i + 1);
}

std::vector<std::byte> qcc::run::unpack(const Array &array) {
  if (array.type->bits >= 8)
    return array.bytes;
  unsigned bits = array.type->bits, perByte = 8 / bits;
  std::vector<std::byte> result(array.count());
  for (uint64_t i = 0; i < result.size(); ++i) {
    unsigned raw = unsigned(array.bytes[i / perByte]) >> (i % perByte * bits) &
                   ((1u << bits) - 1);
    if (array.type->code == kDLInt && raw >> (bits - 1))
      raw |= 0xffu << bits; // as a signed byte
    result[i] = std::byte(raw & 0xff);
  }
  return result;
}

Array qcc::run::widen(Array array) {
  if (array.type->bits >= 8)
    return array;
  std::vector<std::byte> bytes = unpack(array);
  array.type = findType({array.type->code, 8, 1});
  array.bytes = std::move(bytes);
  return array;
}

std::vector<std::byte> qcc::run::pack(const std::vector<std::byte> &bytes,
                                      const TypeInfo &type) {
  if (type.bits >= 8)
    return bytes;
  unsigned bits = type.bits, perByte = 8 / bits;
  std::vector<std::byte> result(byteCount(bytes.size(), type));
  for (uint64_t i = 0; i < bytes.size(); ++i)
    result[i / perByte] |= std::byte((unsigned(bytes[i]) & ((1u << bits) - 1))
                                     << (i % perByte * bits));
  return result;
}
