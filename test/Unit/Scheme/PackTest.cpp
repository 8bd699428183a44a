//===- PackTest.cpp - weights in the order that kernels read ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/Pack.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"
#include <cstring>
#include <numeric>

using namespace mlir;
using namespace qcc;

namespace {
struct PackTest : testing::Test {
  MLIRContext context{MLIRContext::Threading::DISABLED};

  RankedTensorType type(ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, Float32Type::get(&context));
  }
  /// Packs the numbers 1, 2, 3, ... of a shape, read from an odd address.
  std::vector<float> pack(ArrayRef<int64_t> shape, StringRef layout, int64_t nr,
                          bool transposed = false) {
    RankedTensorType from = type(shape),
                     to = packedType(from, layout, nr, transposed);
    std::vector<float> in(from.getNumElements());
    std::iota(in.begin(), in.end(), 1.0f);
    std::vector<char> odd(in.size() * 4 + 1);
    std::memcpy(odd.data() + 1, in.data(), in.size() * 4);
    std::vector<char> bytes(to.getNumElements() * 4, 0x55);
    EXPECT_TRUE(succeeded(packWeight(ArrayRef(odd).drop_front(), from, layout,
                                     nr, transposed, bytes)));
    std::vector<float> out(to.getNumElements());
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};
} // namespace

TEST_F(PackTest, PanelPadsTheLastColumns) {
  // [2, 3] in panels of 2 columns.
  EXPECT_EQ(pack({2, 3}, "panel", 2),
            (std::vector<float>{1, 2, 4, 5, 3, 0, 6, 0}));
}

TEST_F(PackTest, TransposedPanelIsThePanelOfTheTranspose) {
  // [3, 2] is the transpose of [[1, 3, 5], [2, 4, 6]].
  EXPECT_EQ(pack({3, 2}, "panel", 2, true),
            (std::vector<float>{1, 3, 2, 4, 5, 0, 6, 0}));
}

TEST_F(PackTest, ConvolutionGroupsHavePanelsOfTheirOwn) {
  // Two groups of one output channel with two taps.
  EXPECT_EQ(pack({2, 1, 2}, "conv_panel:2", 2),
            (std::vector<float>{1, 0, 2, 0, 3, 0, 4, 0}));
}

TEST_F(PackTest, TapsHaveTheirInputsSideBySide) {
  // Two output channels with two inputs of three taps.
  EXPECT_EQ(pack({2, 2, 3}, "conv_taps:1", 2),
            (std::vector<float>{1, 7, 4, 10, 2, 8, 5, 11, 3, 9, 6, 12}));
  // Two groups of one output channel.
  EXPECT_EQ(pack({2, 2, 2}, "conv_taps:2", 1),
            (std::vector<float>{1, 3, 2, 4, 5, 7, 6, 8}));
}

TEST_F(PackTest, TransposedConvolutionTurnsTheWindow) {
  // Two input channels, one output channel, three taps: each backwards.
  EXPECT_EQ(pack({2, 1, 3}, "conv_transpose_panel:1", 1),
            (std::vector<float>{3, 2, 1, 6, 5, 4}));
  // One input channel, two output channels.
  EXPECT_EQ(pack({1, 2, 2}, "conv_transpose_panel:1", 2),
            (std::vector<float>{2, 4, 1, 3}));
}

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

namespace {
/// Packs the bytes 1, 2, 3, ... (up to 120, then again) of a shape.
std::vector<char> packBytes(MLIRContext &context, ArrayRef<int64_t> shape,
                            StringRef layout, bool transposed = false) {
  bool isNibble = layout.contains('4');
  auto from = RankedTensorType::get(
      shape, IntegerType::get(&context, isNibble ? 4 : 8));
  RankedTensorType to = packedType(from, layout, kDotColumns, transposed);
  std::vector<char> in(from.getNumElements());
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = char(1 + i % 120);
  std::vector<char> out(to.getNumElements() * to.getElementTypeBitWidth() / 8,
                        0x55);
  EXPECT_TRUE(
      succeeded(packWeight(in, from, layout, kDotColumns, transposed, out)));
  return out;
}

int32_t readInt(const std::vector<char> &bytes, size_t at) {
  int32_t value;
  std::memcpy(&value, bytes.data() + at, 4);
  return value;
}
} // namespace

TEST_F(PackTest, DotStoresSumsAndStepsOfFourRows) {
  // [5, 17]: two blocks of two steps.
  std::vector<char> out = packBytes(context, {5, 17}, "dot");
  ASSERT_EQ(out.size(), 2u * (64 + 2 * 64));
  auto weight = [](int k, int n) { return 1 + (k * 17 + n) % 120; };
  for (int n = 0; n < 32; ++n) {
    const char *block = out.data() + n / 16 * 192;
    int32_t sum = 0;
    for (int k = 0; k < 8; ++k) {
      int want = k < 5 && n < 17 ? weight(k, n) : 0;
      sum += want;
      EXPECT_EQ(block[64 + k / 4 * 64 + n % 16 * 4 + k % 4], want)
          << k << ", " << n;
    }
    EXPECT_EQ(readInt(out, n / 16 * 192 + n % 16 * 4), sum) << n;
  }
}

TEST_F(PackTest, Dot16HasTheSameCodesAsWords) {
  std::vector<char> narrow = packBytes(context, {5, 17}, "dot"),
                    wide = packBytes(context, {5, 17}, "dot16");
  ASSERT_EQ(wide.size(), 2u * (64 + 2 * 128));
  for (int block = 0; block < 2; ++block)
    for (int i = 0; i < 128; ++i) {
      int16_t word;
      std::memcpy(&word, wide.data() + block * 320 + 64 + 2 * i, 2);
      EXPECT_EQ(word, narrow[block * 192 + 64 + i]);
    }
}

TEST_F(PackTest, DotOfAConvolutionGoesTapByTap) {
  // Two groups of one output, three inputs, two taps.
  std::vector<char> out = packBytes(context, {2, 3, 1, 2}, "dot:2");
  ASSERT_EQ(out.size(), 2u * (64 + 2 * 64));
  for (int g = 0; g < 2; ++g)
    for (int tap = 0; tap < 2; ++tap)
      for (int c = 0; c < 4; ++c)
        EXPECT_EQ(out[g * 192 + 64 + tap * 64 + c],
                  c < 3 ? 1 + g * 6 + c * 2 + tap : 0);
  EXPECT_EQ(readInt(out, 0), 21);
  EXPECT_EQ(readInt(out, 192), 57);
}

TEST_F(PackTest, PairsGoThroughAllTaps) {
  // Two groups of one output, three inputs, three taps: nine rows, in five
  // pairs.
  std::vector<char> out = packBytes(context, {2, 3, 1, 3}, "pair:2");
  ASSERT_EQ(out.size(), 2u * (64 + 5 * 32));
  for (int g = 0; g < 2; ++g) {
    int32_t sum = 0;
    for (int row = 0; row < 10; ++row)
      for (int lane = 0; lane < 16; ++lane) {
        int tap = row / 3, input = row % 3;
        int want = row < 9 && lane == 0 ? 1 + g * 9 + input * 3 + tap : 0;
        EXPECT_EQ(out[g * 224 + 64 + (row / 2 * 16 + lane) * 2 + row % 2], want)
            << row << ", " << lane;
        sum += want;
      }
    EXPECT_EQ(readInt(out, g * 224), sum);
  }
}

TEST_F(PackTest, QuadsGoThroughAllTaps) {
  // Nine rows, in three steps of four.
  std::vector<char> out = packBytes(context, {2, 3, 1, 3}, "quad:2");
  ASSERT_EQ(out.size(), 2u * (64 + 3 * 64));
  for (int g = 0; g < 2; ++g) {
    int32_t sum = 0;
    for (int row = 0; row < 12; ++row)
      for (int lane = 0; lane < 16; ++lane) {
        int tap = row / 3, input = row % 3;
        int want = row < 9 && lane == 0 ? 1 + g * 9 + input * 3 + tap : 0;
        EXPECT_EQ(out[g * 256 + 64 + (row / 4 * 16 + lane) * 4 + row % 4], want)
            << row << ", " << lane;
        sum += want;
      }
    EXPECT_EQ(readInt(out, g * 256), sum);
  }
}

TEST_F(PackTest, SumsOfTapsFollowThoseOfAll) {
  // The codes are those of `quad`.
  std::vector<char> plain = packBytes(context, {2, 3, 1, 3}, "quad:2"),
                    out = packBytes(context, {2, 3, 1, 3}, "quadtaps:2");
  ASSERT_EQ(out.size(), plain.size() + 2 * 3 * 64);
  for (size_t g = 0; g < 2; ++g) {
    EXPECT_TRUE(ArrayRef(out)
                    .slice(g * 448, 64)
                    .equals(ArrayRef(plain).slice(g * 256, 64)));
    EXPECT_TRUE(ArrayRef(out)
                    .slice(g * 448 + 256, 192)
                    .equals(ArrayRef(plain).slice(g * 256 + 64, 192)));
    for (size_t tap = 0; tap < 3; ++tap)
      for (size_t lane = 0; lane < 16; ++lane) {
        // Inputs are three taps apart.
        int want = lane ? 0 : int(3 * (1 + g * 9 + tap) + 9);
        EXPECT_EQ(readInt(out, g * 448 + (1 + tap) * 64 + lane * 4), want);
      }
  }
  auto matrix = RankedTensorType::get({8, 8}, IntegerType::get(&context, 8));
  EXPECT_FALSE(packedType(matrix, "quadtaps", 16, false));
}

TEST_F(PackTest, CodesThatDoNotFitInPairsAreRefused) {
  // Two inputs and two taps: the rows are (0, 0), (1, 0), (0, 1), (1, 1), of
  // which two in a row make a pair.
  auto weight =
      RankedTensorType::get({1, 2, 1, 2}, IntegerType::get(&context, 8));
  auto pack = [&](std::vector<char> codes, const char *layout) {
    RankedTensorType type = packedType(weight, layout, 16, false);
    std::vector<char> out(size_t(type.getNumElements()));
    return packWeight(codes, weight, layout, 16, false, out);
  };
  for (const char *layout : {"quad:1", "dotfit:1"}) {
    EXPECT_TRUE(succeeded(pack({64, 127, 64, 1}, layout)));
    EXPECT_TRUE(succeeded(pack({-1, -128, 0, 127}, layout)))
        << "opposite signs";
    EXPECT_TRUE(failed(pack({64, 0, 65, 0}, layout)));
    EXPECT_TRUE(failed(pack({0, -2, 0, -127}, layout)));
  }
  EXPECT_TRUE(succeeded(pack({64, 0, 65, 0}, "dot:1")));
}

TEST_F(PackTest, WhatFitsInPairsIsWhatIsPacked) {
  auto i8 = IntegerType::get(&context, 8);
  auto conv = RankedTensorType::get({1, 2, 1, 2}, i8),
       groups = RankedTensorType::get({2, 1, 1, 2}, i8),
       matrix = RankedTensorType::get({3, 2}, i8);
  EXPECT_TRUE(pairsFit({64, 127, 64, 1}, conv, 1));
  EXPECT_TRUE(pairsFit({-1, -128, 0, 127}, conv, 1));
  EXPECT_FALSE(pairsFit({64, 0, 65, 0}, conv, 1));
  EXPECT_FALSE(pairsFit({0, -2, 0, -127}, conv, 1));
  // Two groups of one output: the taps of each are a pair.
  EXPECT_TRUE(pairsFit({64, 64, 127, 1}, groups, 2));
  EXPECT_FALSE(pairsFit({64, 64, 127, 2}, groups, 2));
  // Columns of a matrix; its last row has no other.
  EXPECT_TRUE(pairsFit({64, 127, 64, 1, 127, 127}, matrix, 0));
  EXPECT_FALSE(pairsFit({64, 127, 64, 2, 0, 0}, matrix, 0));
  // No such weights.
  EXPECT_FALSE(pairsFit({1, 2, 3}, conv, 1));
  EXPECT_FALSE(pairsFit({1, 2, 3, 4}, conv, 0));
  EXPECT_FALSE(pairsFit({1, 2, 3, 4}, conv, 3));
}

TEST_F(PackTest, CodesOfFourBitsShareBytes) {
  // Bytes 1, 2, 3, ...: their lowest bits are the codes.
  auto code = [](int number) { return (((1 + number % 120) & 15) ^ 8) - 8; };
  auto half = [](char byte, bool high) {
    return ((((high ? byte >> 4 : byte) & 15) ^ 8) - 8);
  };
  std::vector<char> steps = packBytes(context, {5, 17}, "dot4"),
                    quads = packBytes(context, {2, 3, 1, 3}, "quad4:2");
  ASSERT_EQ(steps.size(), 2u * (64 + 2 * 32));
  for (int n = 0; n < 32; ++n) {
    int32_t sum = 0;
    for (int k = 0; k < 8; ++k) {
      int want = k < 5 && n < 17 ? code(k * 17 + n) : 0;
      int place = n % 16 * 4 + k % 4;
      sum += want;
      EXPECT_EQ(
          half(steps[n / 16 * 128 + 64 + k / 4 * 32 + place % 32], place >= 32),
          want)
          << k << ", " << n;
    }
    EXPECT_EQ(readInt(steps, n / 16 * 128 + n % 16 * 4), sum) << n;
  }
  ASSERT_EQ(quads.size(), 2u * (64 + 3 * 32));
  for (int g = 0; g < 2; ++g)
    for (int row = 0; row < 12; ++row)
      for (int lane = 0; lane < 16; ++lane) {
        int place = lane * 4 + row % 4;
        int want =
            row < 9 && lane == 0 ? code(g * 9 + row % 3 * 3 + row / 3) : 0;
        EXPECT_EQ(
            half(quads[g * 160 + 64 + row / 4 * 32 + place % 32], place >= 32),
            want)
            << row << ", " << lane;
      }
  EXPECT_FALSE(
      packedType(RankedTensorType::get({4, 4}, IntegerType::get(&context, 4)),
                 "dot", 16, false));
}

TEST_F(PackTest, TapStoresARowPerTap) {
  // Three channels of two taps.
  std::vector<char> out = packBytes(context, {3, 1, 2}, "tap");
  ASSERT_EQ(out.size(), 3u * 16 * 4);
  const int want[3][4] = {{3, 7, 11, 0}, {1, 3, 5, 0}, {2, 4, 6, 0}};
  for (int row = 0; row < 3; ++row)
    for (int c = 0; c < 4; ++c)
      EXPECT_EQ(readInt(out, (row * 16 + c) * 4), want[row][c]);
}

TEST_F(PackTest, FourTapsLieSideBySide) {
  // Two channels of five taps: rows of sums, of each tap, of four and of one.
  std::vector<char> codes = {1, -2, 3, 4, 5, 6, 7, 8, 9, -10};
  auto weight = RankedTensorType::get({2, 1, 5}, IntegerType::get(&context, 8));
  RankedTensorType packed = packedType(weight, "tap4", 16, false);
  ASSERT_TRUE(packed);
  EXPECT_EQ(packed.getShape(), ArrayRef<int64_t>({8, 16}));
  std::vector<char> out(packed.getNumElements() * 4);
  ASSERT_TRUE(succeeded(packWeight(codes, weight, "tap4", 16, false, out)));
  auto at = [](int row, int channel) { return size_t(row * 16 + channel) * 4; };
  EXPECT_EQ(readInt(out, at(0, 0)), 11);
  EXPECT_EQ(readInt(out, at(5, 1)), -10);
  for (int channel = 0; channel < 2; ++channel)
    for (int tap = 0; tap < 8; ++tap)
      EXPECT_EQ(int8_t(out[at(6 + tap / 4, channel) + size_t(tap % 4)]),
                tap < 5 ? codes[size_t(channel * 5 + tap)] : 0);
  EXPECT_FALSE(packedType(
      RankedTensorType::get({2, 1, 5}, IntegerType::get(&context, 16)), "tap4",
      16, false));
}

TEST_F(PackTest, TapStoresWords) {
  auto weight =
      RankedTensorType::get({2, 1, 2}, IntegerType::get(&context, 16));
  const int16_t words[4] = {255, -255, -32768, 1};
  RankedTensorType packed = packedType(weight, "tap", 16, false);
  ASSERT_TRUE(packed);
  std::vector<char> out(packed.getNumElements() * 4);
  ASSERT_TRUE(
      succeeded(packWeight(ArrayRef(reinterpret_cast<const char *>(words), 8),
                           weight, "tap", 16, false, out)));
  const int want[3][2] = {{0, -32767}, {255, -32768}, {-255, 1}};
  for (int row = 0; row < 3; ++row)
    for (int c = 0; c < 2; ++c)
      EXPECT_EQ(readInt(out, (row * 16 + c) * 4), want[row][c]);
  EXPECT_FALSE(packedType(weight, "dot:1", 16, false));
}

TEST_F(PackTest, BytesThatDoNotFitHaveNoType) {
  auto bytes = [&](ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, IntegerType::get(&context, 8));
  };
  EXPECT_TRUE(packedType(bytes({4, 4}), "dot", 16, false));
  EXPECT_FALSE(packedType(bytes({4, 4}), "dot", 8, false));
  EXPECT_FALSE(packedType(bytes({4, 4, 4}), "dot", 16, false));
  EXPECT_FALSE(packedType(bytes({4, 4}), "dot:1", 16, false));
  EXPECT_FALSE(packedType(bytes({3, 4, 1}), "dot:2", 16, false));
  EXPECT_FALSE(packedType(bytes({4, 2, 1}), "tap", 16, false));
  EXPECT_FALSE(packedType(type({4, 4}), "dot", 16, false));
  int64_t large = int64_t(1) << 40;
  EXPECT_FALSE(packedType(bytes({large, large}), "dot", 16, false));
}

TEST_F(PackTest, WhatDoesNotFitHasNoType) {
  EXPECT_FALSE(packedType(type({2, 3, 4}), "panel", 16, false));
  EXPECT_FALSE(packedType(type({2, 3}), "conv_panel:1", 16, false));
  EXPECT_FALSE(packedType(type({3, 1, 2}), "conv_panel:2", 16, false));
  EXPECT_FALSE(packedType(type({2, 1, 2}), "conv_panel:0", 16, false));
  EXPECT_FALSE(packedType(type({2, 1, 2}), "conv_panel:", 16, false));
  EXPECT_FALSE(packedType(type({2, 3}), "unknown", 16, false));
  EXPECT_FALSE(packedType(type({2, 3}), "panel", 0, false));
  EXPECT_FALSE(packedType(type({0, 3}), "panel", 16, false));
  EXPECT_FALSE(packedType(type({ShapedType::kDynamic, 3}), "panel", 16, false));
  int64_t large = int64_t(1) << 40;
  EXPECT_FALSE(packedType(type({large, large}), "panel", 16, false));
  EXPECT_FALSE(packedType(type({2, large, large}), "conv_panel:1", 16, false));
}

TEST_F(PackTest, SizesOfBuffersAreChecked) {
  std::vector<char> in(24), out(31);
  EXPECT_TRUE(failed(packWeight(in, type({2, 3}), "panel", 2, false, out)));
  out.resize(32);
  EXPECT_TRUE(succeeded(packWeight(in, type({2, 3}), "panel", 2, false, out)));
  in.resize(23);
  EXPECT_TRUE(failed(packWeight(in, type({2, 3}), "panel", 2, false, out)));
}
