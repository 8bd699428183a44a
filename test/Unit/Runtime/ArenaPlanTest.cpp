//===- ArenaPlanTest.cpp - no two live buffers overlap ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "qcc/Runtime/ArenaPlan.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <vector>

using namespace qcc;

namespace {

uint64_t plan(std::vector<ArenaBuffer> &buffers) {
  std::vector<uint32_t> order(buffers.size());
  uint64_t bytes = 0;
  EXPECT_TRUE(
      planArena(buffers.data(), uint32_t(buffers.size()), order.data(), bytes));
  return bytes;
}

std::vector<ArenaBuffer> randomBuffers(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<ArenaBuffer> buffers(random() % 60);
  for (ArenaBuffer &buffer : buffers) {
    uint32_t first = random() % 40;
    buffer = {random() % 5 == 0 ? 0 : random() % 5000, first,
              first + uint32_t(random() % 8), 0};
  }
  return buffers;
}

TEST(ArenaPlan, LiveBuffersNeverOverlap) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    std::vector<ArenaBuffer> buffers = randomBuffers(seed);
    uint64_t bytes = plan(buffers);
    for (const ArenaBuffer &a : buffers) {
      EXPECT_EQ(a.offset % arenaAlignment, 0u);
      EXPECT_LE(a.offset + a.bytes, bytes);
      for (const ArenaBuffer &b : buffers) {
        bool together =
            &a != &b && a.firstStep <= b.lastStep && b.firstStep <= a.lastStep;
        bool apart =
            a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
        EXPECT_TRUE(!together || apart || a.bytes == 0 || b.bytes == 0)
            << "seed " << seed;
      }
    }
  }
}

TEST(ArenaPlan, IsAtLeastAndNearWhatIsLive) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::vector<ArenaBuffer> buffers = randomBuffers(seed);
    uint64_t bytes = plan(buffers), peak = 0, total = 0;
    auto padded = [](const ArenaBuffer &b) { return (b.bytes + 63) / 64 * 64; };
    for (uint32_t step = 0; step < 50; ++step) {
      uint64_t live = 0;
      for (const ArenaBuffer &b : buffers)
        live += b.firstStep <= step && step <= b.lastStep ? padded(b) : 0;
      peak = std::max(peak, live);
    }
    for (const ArenaBuffer &b : buffers)
      total += padded(b);
    EXPECT_GE(bytes, peak);
    EXPECT_LE(bytes, std::min(total, peak * 3 / 2));
  }
}

TEST(ArenaPlan, ReusesSpace) {
  std::vector<ArenaBuffer> chain;
  for (uint32_t i = 0; i < 100; ++i)
    chain.push_back({1000, i, i + 1, 0});
  EXPECT_EQ(plan(chain), 2048u);
}

TEST(ArenaPlan, IsDeterministic) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::vector<ArenaBuffer> one = randomBuffers(seed), two = one;
    EXPECT_EQ(plan(one), plan(two));
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_EQ(one[i].offset, two[i].offset);
  }
}

TEST(ArenaPlan, RefusesTooMuch) {
  uint64_t bytes;
  uint32_t order[2];
  ArenaBuffer huge[] = {{UINT64_MAX - 1, 0, 0, 0}};
  EXPECT_FALSE(planArena(huge, 1, order, bytes));
  ArenaBuffer two[] = {{arenaLimit - 64, 0, 1, 0}, {128, 1, 1, 0}};
  EXPECT_FALSE(planArena(two, 2, order, bytes));
}

TEST(ArenaPlan, NothingToPlace) {
  uint64_t bytes = 1;
  EXPECT_TRUE(planArena(nullptr, 0, nullptr, bytes));
  EXPECT_EQ(bytes, 0u);
}

} // namespace
