//===- CpuTest.cpp - CPU features and hashes --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Cpu.h"
#include "Sha256.h"

#include "qcc/Runtime/Program.h"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iomanip>
#include <set>
#include <sstream>

using namespace qcc::runtime;

namespace {

/// The flags that the kernel prints for the first CPU.
std::set<std::string> kernelFlags() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line))
    if (line.rfind("flags", 0) == 0)
      break;
  std::istringstream words(line.substr(line.find(':') + 1));
  return {std::istream_iterator<std::string>(words), {}};
}

TEST(Cpu, AgreesWithTheKernel) {
  std::set<std::string> flags = kernelFlags();
  uint64_t features = hostFeatures(0);
  const std::pair<qcc_cpu_feature, const char *> names[] = {
      {QCC_CPU_SSE42, "sse4_2"},
      {QCC_CPU_AVX2, "avx2"},
      {QCC_CPU_FMA, "fma"},
      {QCC_CPU_F16C, "f16c"},
      {QCC_CPU_BMI, "bmi1"},
      {QCC_CPU_BMI2, "bmi2"},
      {QCC_CPU_LZCNT, "abm"},
      {QCC_CPU_AVXVNNI, "avx_vnni"},
      {QCC_CPU_AVX512F, "avx512f"},
      {QCC_CPU_AVX512VNNI, "avx512_vnni"},
      {QCC_CPU_AVX512BF16, "avx512_bf16"},
      {QCC_CPU_AVX512FP16, "avx512_fp16"}};
  for (auto [feature, name] : names)
    EXPECT_EQ(features >> feature & 1, flags.count(name)) << name;
  EXPECT_EQ(features >> QCC_CPU_AMX_TILE & 1, 0u) << "not asked for";
}

TEST(Cpu, FeaturesAreOnlyTakenAway) {
  uint64_t all = (uint64_t(1) << QCC_CPU_NUM_FEATURES) - 1;
  EXPECT_EQ(withoutFeatures(all, nullptr), all);
  EXPECT_EQ(withoutFeatures(all, ""), all);
  EXPECT_EQ(withoutFeatures(0, "+avx2,avx2"), 0u);
  EXPECT_EQ(withoutFeatures(all, "-avx512vnni,-amx_tile"),
            all & ~(uint64_t(1) << QCC_CPU_AVX512VNNI) &
                ~(uint64_t(1) << QCC_CPU_AMX_TILE));
  EXPECT_EQ(withoutFeatures(all, "-avx512,-,,-nothing"), all);
}

std::string hash(const std::string &text) {
  uint8_t digest[32];
  sha256(text.data(), text.size(), digest);
  std::ostringstream out;
  for (uint8_t byte : digest)
    out << std::hex << std::setw(2) << std::setfill('0') << unsigned(byte);
  return out.str();
}

// Values of FIPS 180-4's examples.
TEST(Sha256, KnownDigests) {
  EXPECT_EQ(hash(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hash(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

} // namespace
