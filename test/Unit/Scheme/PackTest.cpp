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

TEST_F(PackTest, TransposedConvolutionTurnsTheWindow) {
  // Two input channels, one output channel, three taps: each backwards.
  EXPECT_EQ(pack({2, 1, 3}, "conv_transpose_panel:1", 1),
            (std::vector<float>{3, 2, 1, 6, 5, 4}));
  // One input channel, two output channels.
  EXPECT_EQ(pack({1, 2, 2}, "conv_transpose_panel:1", 2),
            (std::vector<float>{2, 4, 1, 3}));
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
