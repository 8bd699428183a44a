//===- Cpu.cpp - what this machine's CPU can do -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Leaves and bits: Intel SDM volume 2A, CPUID; volume 1, 13.2 (XCR0). AMX
// permission: Linux Documentation/arch/x86/xstate.rst.
//===----------------------------------------------------------------------===//

#include "Cpu.h"

#include "qcc/Runtime/Program.h"

#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace qcc::runtime;

namespace {

enum Register : uint8_t { EAX, EBX, ECX, EDX };

/// State components of XCR0 that must be on.
constexpr uint64_t noState = 0;
constexpr uint64_t ymmState = 0x6;      // SSE, AVX
constexpr uint64_t zmmState = 0xe6;     // and opmask, upper halves, upper 16
constexpr uint64_t tileState = 0x60000; // TILECFG, TILEDATA

/// One feature: where CPUID has it and what it is called. Its place in the
/// table is its number in qcc_cpu_feature.
struct Feature {
  const char *name;
  uint64_t state;
  uint32_t leaf;
  uint32_t subleaf;
  Register reg;
  uint8_t bit;
};

constexpr Feature featureTable[QCC_CPU_NUM_FEATURES] = {
    {"sse4_2", noState, 1, 0, ECX, 20},
    {"popcnt", noState, 1, 0, ECX, 23},
    {"movbe", noState, 1, 0, ECX, 22},
    {"lzcnt", noState, 0x80000001, 0, ECX, 5},
    {"bmi1", noState, 7, 0, EBX, 3},
    {"bmi2", noState, 7, 0, EBX, 8},
    {"avx", ymmState, 1, 0, ECX, 28},
    {"f16c", ymmState, 1, 0, ECX, 29},
    {"fma", ymmState, 1, 0, ECX, 12},
    {"avx2", ymmState, 7, 0, EBX, 5},
    {"avxvnni", ymmState, 7, 1, EAX, 4},
    {"avx512f", zmmState, 7, 0, EBX, 16},
    {"avx512cd", zmmState, 7, 0, EBX, 28},
    {"avx512bw", zmmState, 7, 0, EBX, 30},
    {"avx512dq", zmmState, 7, 0, EBX, 17},
    {"avx512vl", zmmState, 7, 0, EBX, 31},
    {"avx512vnni", zmmState, 7, 0, ECX, 11},
    {"avx512vbmi", zmmState, 7, 0, ECX, 1},
    {"avx512vbmi2", zmmState, 7, 0, ECX, 6},
    {"avx512bf16", zmmState, 7, 1, EAX, 5},
    {"avx512fp16", zmmState, 7, 0, EDX, 23},
    {"amx_tile", tileState, 7, 0, EDX, 24},
    {"amx_int8", tileState, 7, 0, EDX, 25},
    {"amx_bf16", tileState, 7, 0, EDX, 22},
};

constexpr uint64_t amxFeatures = (1ull << QCC_CPU_AMX_TILE) |
                                 (1ull << QCC_CPU_AMX_INT8) |
                                 (1ull << QCC_CPU_AMX_BF16);

} // namespace

/// XCR0, or 0 when the operating system has not turned XSAVE on.
static uint64_t enabledState() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)))
    return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

/// Asks Linux for tile registers; they are inherited by later threads.
static bool requestTiles() {
  constexpr long reqXcompPerm = 0x1023; // ARCH_REQ_XCOMP_PERM
  constexpr long tileData = 18;         // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, reqXcompPerm, tileData) == 0;
}

uint64_t qcc::runtime::hostFeatures(uint64_t wanted) {
  uint64_t state = enabledState();
  uint64_t features = 0;
  for (uint32_t i = 0; i < QCC_CPU_NUM_FEATURES; ++i) {
    const Feature &feature = featureTable[i];
    uint32_t regs[4] = {0, 0, 0, 0};
    // __get_cpuid_count refuses leaves above the highest of their range.
    if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[EAX],
                           &regs[EBX], &regs[ECX], &regs[EDX]))
      continue;
    if ((regs[feature.reg] >> feature.bit & 1) &&
        (state & feature.state) == feature.state)
      features |= 1ull << i;
  }
  if ((features & amxFeatures) && (!(wanted & amxFeatures) || !requestTiles()))
    features &= ~amxFeatures;
  return features;
}

const char *qcc::runtime::featureName(uint32_t feature) {
  return feature < QCC_CPU_NUM_FEATURES ? featureTable[feature].name
                                        : "unknown";
}

uint64_t qcc::runtime::withoutFeatures(uint64_t features, const char *list) {
  while (list && *list) {
    const char *end = strchr(list, ',');
    size_t length = end ? size_t(end - list) : strlen(list);
    for (uint32_t i = 0; i < QCC_CPU_NUM_FEATURES && list[0] == '-'; ++i)
      if (strlen(featureTable[i].name) == length - 1 &&
          strncmp(featureTable[i].name, list + 1, length - 1) == 0)
        features &= ~(1ull << i);
    list = end ? end + 1 : nullptr;
  }
  return features;
}
