//===- Levels.cpp - feature levels of x86-64 --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Levels.h"
#include "qcc/Runtime/Program.h"
#include "llvm/ADT/StringSwitch.h"
#include <array>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

using namespace qcc;
using namespace qcc::x86;

namespace {
enum Level : unsigned { AVX2, AVX512, VNNI, AMX, NumLevels };

/// The bits of Program.h for a list of features.
uint64_t featureMask(std::initializer_list<qcc_cpu_feature> features) {
  uint64_t mask = 0;
  for (qcc_cpu_feature feature : features)
    mask |= uint64_t(1) << feature;
  return mask;
}

/// L2 sizes are those of the smallest server core of the level.
std::array<Capabilities, NumLevels> makeLevels() {
  std::array<Capabilities, NumLevels> levels;
  Capabilities c;
  c.level = "avx2";
  c.llvmCpu = "haswell";
  c.vectorBits = 256;
  c.hasFma = true;
  c.cpuFeatures = featureMask(
      {QCC_CPU_SSE42, QCC_CPU_POPCNT, QCC_CPU_MOVBE, QCC_CPU_LZCNT, QCC_CPU_BMI,
       QCC_CPU_BMI2, QCC_CPU_AVX, QCC_CPU_F16C, QCC_CPU_FMA, QCC_CPU_AVX2});
  c.l1Bytes = 32 << 10;
  c.l2Bytes = 512 << 10;
  levels[AVX2] = c;
  c.level = "avx512";
  c.llvmCpu = "skylake-avx512";
  c.vectorBits = 512;
  c.hasAvx512 = true;
  c.cpuFeatures |=
      featureMask({QCC_CPU_AVX512F, QCC_CPU_AVX512CD, QCC_CPU_AVX512BW,
                   QCC_CPU_AVX512DQ, QCC_CPU_AVX512VL});
  c.l2Bytes = 1 << 20;
  levels[AVX512] = c;
  c.level = "avx512-vnni";
  c.llvmCpu = "cascadelake";
  c.hasVnni = true;
  c.cpuFeatures |= featureMask({QCC_CPU_AVX512VNNI});
  levels[VNNI] = c;
  c.level = "amx";
  c.llvmCpu = "sapphirerapids";
  c.hasAmx = true;
  // What -mcpu=sapphirerapids lets LLVM use besides the tiles.
  c.cpuFeatures |=
      featureMask({QCC_CPU_AVXVNNI, QCC_CPU_AVX512VBMI, QCC_CPU_AVX512VBMI2,
                   QCC_CPU_AVX512BF16, QCC_CPU_AVX512FP16, QCC_CPU_AMX_TILE,
                   QCC_CPU_AMX_INT8, QCC_CPU_AMX_BF16});
  c.l1Bytes = 48 << 10;
  c.l2Bytes = 2 << 20;
  levels[AMX] = c;
  return levels;
}

/// Number of a level by name or alias.
std::optional<unsigned> findLevel(llvm::StringRef name) {
  if (name == "native")
    return detectNativeLevel();
  return llvm::StringSwitch<std::optional<unsigned>>(name)
      .Case("avx2", AVX2)
      .Case("avx512", AVX512)
      .Cases({"avx512-vnni", "cascadelake", "icelake"}, VNNI)
      .Cases({"amx", "sapphirerapids"}, AMX)
      .Default(std::nullopt);
}
} // namespace

llvm::ArrayRef<Capabilities> x86::getLevels() {
  static const std::array<Capabilities, NumLevels> levels = makeLevels();
  return levels;
}

std::optional<unsigned> x86::detectNativeLevel() {
#if defined(__x86_64__)
  auto has = [](unsigned reg, unsigned bit) { return (reg >> bit & 1) != 0; };
  unsigned a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d))
    return std::nullopt;
  bool fma = has(c, 12), osxsave = has(c, 27), f16c = has(c, 29);
  if (!fma || !osxsave || !f16c)
    return std::nullopt;
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned ymmState = 0x6, zmmState = 0xe6, tileState = 0x60000;
  if ((low & ymmState) != ymmState || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
    return std::nullopt;
  bool avx2 = has(b, 5), bmi2 = has(b, 8);
  if (!avx2 || !bmi2)
    return std::nullopt;
  bool foundation = has(b, 16) && has(b, 17) && has(b, 28) && has(b, 30) &&
                    has(b, 31); // F, DQ, CD, BW, VL
  if (!foundation || (low & zmmState) != zmmState)
    return AVX2;
  bool vnni = has(c, 11);
  if (!vnni)
    return AVX512;
  bool amx = has(d, 22) && has(d, 24) && has(d, 25); // BF16, TILE, INT8
  unsigned a1, b1, c1, d1;
  bool bf16 = __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1) && has(a1, 5);
  bool fp16 = has(d, 23);
  return amx && bf16 && fp16 && (low & tileState) == tileState ? AMX : VNNI;
#else
  return std::nullopt;
#endif
}

llvm::SmallVector<Capabilities> x86::parseLevels(llvm::StringRef value) {
  std::array<bool, NumLevels> chosen{};
  llvm::SmallVector<llvm::StringRef> parts;
  value.split(parts, '+');
  for (llvm::StringRef part : parts) {
    std::optional<unsigned> level = findLevel(part);
    if (!level)
      return {};
    chosen[*level] = true;
  }
  llvm::SmallVector<Capabilities> result;
  for (unsigned i = 0; i < NumLevels; ++i)
    if (chosen[i])
      result.push_back(getLevels()[i]);
  return result;
}
