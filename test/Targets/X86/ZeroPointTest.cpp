//===- ZeroPointTest.cpp - bytes whose weight has zero points ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Two kernels, as qcc-form-integer makes them: the sums of the inputs, and the
// product of the codes, which adds them times what each column is off.
// Depthwise ones have one kernel, whose weight is words.
//
//===----------------------------------------------------------------------===//
#include "X86Kernel.h"
#include "gtest/gtest.h"

using namespace qcc;
using namespace qcc::test;

namespace {

/// A product of matrices, or with a window a convolution of images of 7 by 6
/// pixels with the channels last, padded to keep their size.
struct Shape {
  bool isConv, isUnsigned, sharesSums;
  int64_t rows, inputs, outputs, groups;
  bool isDynamic;

  static constexpr int64_t kHeight = 7, kWidth = 6, kWindow = 3;

  bool isDepthwise() const { return groups > 1 && groups == inputs; }
  int64_t taps() const { return isConv ? kWindow * kWindow : 1; }
  int64_t pixels() const { return isConv ? rows * kHeight * kWidth : rows; }
  /// Rows of the weight.
  int64_t terms() const { return inputs / groups * taps(); }
  std::string element() const { return isUnsigned ? "ui8" : "i8"; }
  std::vector<Dim> lead(int64_t last) const {
    Dim first = isDynamic ? Dim(rows, "s0") : Dim(rows);
    if (isConv)
      return {first, kHeight, kWidth, last};
    return {first, last};
  }
  std::string weight(int64_t columns) const {
    return isConv ? tensor({columns, inputs / groups, kWindow, kWindow},
                           isDepthwise() ? "i16" : "i8")
                  : tensor({inputs, columns}, "i8");
  }
  /// Columns of the sums: one where all read the same inputs.
  int64_t sums() const { return sharesSums ? 1 : outputs; }

  /// The product %c of %0 and %1, with the zero point %2.
  std::string product(int64_t columns) const {
    std::string x = tensor(lead(inputs), element()), w = weight(columns),
                types = "(" + x + ", " + w + ", tensor<" + element() +
                        ">) -> " + tensor(lead(columns), "i32") + "\n";
    if (!isConv)
      return "  %c = qcc.int_matmul %0, %1 lhs_zero %2 : " + types;
    return "  %c = qcc.int_conv %0, %1 input_zero %2 {channels_last, strides = "
           "array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = "
           "array<i64: 1, 1>, groups = " +
           std::to_string(groups) + " : i64} : " + types;
  }
  std::vector<std::string> operands(int64_t columns) const {
    return {tensor(lead(inputs), element()), weight(columns),
            "tensor<" + element() + ">"};
  }
  std::string sumText() const {
    return kernelText(operands(sums()), product(sums()), "%c",
                      tensor(lead(sums()), "i32"));
  }
  std::string text() const;
  int64_t read(char byte) const {
    return isUnsigned ? int64_t(uint8_t(byte)) : int64_t(int8_t(byte));
  }
  int64_t exact(const Bytes &x, const Bytes &w, int64_t zero, int64_t offset,
                int64_t at) const;
};

/// %c with the sums %3 times the offsets %4.
std::string Shape::text() const {
  std::vector<std::string> all = operands(outputs);
  all.push_back(tensor(lead(sums()), "i32"));
  all.push_back(tensor({outputs}, "i32"));
  std::string leading = isConv ? "d0, d1, d2" : "d0",
              last = isConv ? "d3" : "d1", dims = leading + ", " + last,
              result = tensor(lead(outputs), "i32");
  std::string body =
      product(outputs) + "  %k = qcc.generic none ins(%c, %3, %4 : " + result +
      ", " + all[3] + ", " + all[4] + ") maps [affine_map<(" + dims + ") -> (" +
      dims + ")>, affine_map<(" + dims + ") -> (" + leading + ", " +
      (sharesSums ? "0" : last) + ")>, affine_map<(" + dims + ") -> (" + last +
      ")>] {\n  ^bb1(%p: i32, %q: i32, %r: i32):\n"
      "    %m = arith.muli %q, %r : i32\n"
      "    %s = arith.addi %p, %m : i32\n"
      "    qcc.yield %s : i32\n  } -> " +
      result + "\n";
  return kernelText(all, body, "%k", result);
}

/// Element `at` of the product with codes that `offset` is added to.
int64_t Shape::exact(const Bytes &x, const Bytes &w, int64_t zero,
                     int64_t offset, int64_t at) const {
  int64_t column = at % outputs, pixel = at / outputs, per = inputs / groups,
          first = column / (outputs / groups) * per, total = 0;
  for (int64_t i = 0; i < per; ++i)
    for (int64_t tap = 0; tap < taps(); ++tap) {
      int64_t from = pixel;
      if (isConv) {
        int64_t y = pixel / kWidth % kHeight + tap / kWindow - 1,
                z = pixel % kWidth + tap % kWindow - 1;
        if (y < 0 || y >= kHeight || z < 0 || z >= kWidth)
          continue;
        from = (pixel / kWidth / kHeight * kHeight + y) * kWidth + z;
      }
      int64_t code = int8_t(isConv ? w[(column * per + i) * taps() + tap]
                                   : w[i * outputs + column]);
      total += (read(x[from * inputs + first + i]) - zero) * (code + offset);
    }
  return total;
}

/// Runs the kernel of a weight of words, or both kernels.
Bytes run(const X86 &x86, const std::string &levels, const Shape &shape,
          const Bytes &x, const Bytes &w, const Bytes &zero,
          const std::vector<int32_t> &offsets, uint64_t seed) {
  LoadedKernel first(shape.sumText(), x86.target(), x86.parse(levels), {1});
  auto runFirst = [&](const Bytes &weight) {
    return first.run({x, weight, zero},
                     {size_t(shape.pixels() * shape.sums() * 4)}, {shape.rows},
                     seed % 2, 1 + seed % 3)[0];
  };
  if (!first.ok())
    return {};
  EXPECT_EQ(first.getEmitter(),
            shape.isDepthwise() ? "depthwise.int8" : "dot.int8");
  if (shape.isDepthwise()) {
    std::vector<int16_t> words;
    for (size_t i = 0; i < w.size(); ++i)
      words.push_back(
          int16_t(int8_t(w[i]) + offsets[i / size_t(shape.taps())]));
    return runFirst(toBytes(words));
  }
  LoadedKernel kernel(shape.text(), x86.target(), x86.parse(levels), {1});
  if (!kernel.ok())
    return {};
  EXPECT_EQ(kernel.getEmitter(), "dot.int8");
  Bytes sums = runFirst(Bytes(shape.terms() * shape.sums(), 1));
  return kernel.run({x, w, zero, sums, toBytes(offsets)},
                    {size_t(shape.pixels() * shape.outputs * 4)}, {shape.rows},
                    seed % 2, 1 + seed % 3)[0];
}

void check(const X86 &x86, const std::string &levels, const Shape &shape,
           uint64_t seed) {
  SCOPED_TRACE(levels + "\n" + shape.text());
  Random random(seed + 1);
  Bytes x = randomBytes(random, shape.pixels() * shape.inputs),
        w = randomBytes(random, shape.terms() * shape.outputs),
        zero = randomBytes(random, 1);
  std::vector<int32_t> offsets(shape.outputs);
  for (int32_t &offset : offsets)
    offset = int32_t(random.range(-127, 128));
  std::vector<int32_t> got =
      fromBytes<int32_t>(run(x86, levels, shape, x, w, zero, offsets, seed));
  ASSERT_EQ(int64_t(got.size()), shape.pixels() * shape.outputs);
  for (int64_t at = 0; at < int64_t(got.size()); ++at)
    ASSERT_EQ(got[at], shape.exact(x, w, shape.read(zero[0]),
                                   offsets[at % shape.outputs], at))
        << "element " << at;
}

/// The levels that are tested, and those with tiles.
std::vector<std::string> allLevels(const X86 &x86) {
  std::vector<std::string> levels = x86.levels();
  levels.insert(levels.end(), {"amx", "avx2+avx512-vnni+amx"});
  return levels;
}

} // namespace

TEST(ZeroPointTest, ProductsAreExact) {
  X86 x86;
  std::vector<std::string> levels = allLevels(x86);
  for (int seed = 0; seed < getShapeCount(16); ++seed) {
    Random random(seed + 7000);
    Shape shape{false,
                bool(random.range(0, 1)),
                true,
                random.range(0, 3) ? random.range(1, 40) : 1,
                random.range(1, 90),
                random.range(1, 70),
                1,
                bool(random.range(0, 1))};
    check(x86, levels[seed % levels.size()], shape, seed);
  }
}

TEST(ZeroPointTest, ConvolutionsAreExact) {
  X86 x86;
  std::vector<std::string> levels = allLevels(x86);
  for (int seed = 0; seed < getShapeCount(16); ++seed) {
    Random random(seed + 8000);
    int64_t kind = random.range(0, 3), // two of one group, some, depthwise
        groups = kind < 2 ? 1 : random.range(2, kind == 2 ? 4 : 40),
            inputs = groups * (kind == 3 ? 1 : random.range(2, 20)),
            outputs = kind == 3 ? inputs : groups * random.range(1, 40);
    Shape shape{
        true,   bool(random.range(0, 1)), groups == 1, 1, inputs, outputs,
        groups, bool(random.range(0, 1))};
    check(x86, levels[seed % levels.size()], shape, seed);
  }
}
