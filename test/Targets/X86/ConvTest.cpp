//===- ConvTest.cpp - f32 convolutions on x86 -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// relu(conv(x, w) + bias + residual), or its product with the logistic
/// function.
struct Conv {
  int64_t images, channels, height, width, outputs;
  int64_t kernel[2], stride[2], pad[2], dilation[2];
  int64_t groups;
  bool dynamicBatch, dynamicSize;
  bool swish = false;

  double activate(double sum) const {
    return swish ? sum / (1 + std::exp(-sum)) : std::max(sum, 0.0);
  }
  int64_t out(int axis) const {
    int64_t size = axis ? width : height;
    return (size + 2 * pad[axis] - (kernel[axis] - 1) * dilation[axis] - 1) /
               stride[axis] +
           1;
  }
  bool valid() const {
    for (int axis : {0, 1})
      if ((axis ? width : height) + 2 * pad[axis] <
          (kernel[axis] - 1) * dilation[axis] + 1)
        return false;
    return true;
  }
  /// A product of one row per image.
  bool isPixels() const {
    return groups == 1 && !dynamicSize &&
           height * width * kernel[0] * kernel[1] == 1 && pad[0] == 0 &&
           pad[1] == 0;
  }
  Dim outDim(int axis) const {
    if (!dynamicSize)
      return out(axis);
    int64_t rest = 2 * pad[axis] - (kernel[axis] - 1) * dilation[axis] - 1;
    return {out(axis), "(s" + std::to_string(axis + 1) + " + " +
                           std::to_string(rest) + ") floordiv " +
                           std::to_string(stride[axis]) + " + 1"};
  }
  Dim batch() const {
    return dynamicBatch || dynamicSize ? Dim(images, "s0") : Dim(images);
  }
  std::vector<Dim> input() const {
    return {batch(), channels, dynamicSize ? Dim(height, "s1") : Dim(height),
            dynamicSize ? Dim(width, "s2") : Dim(width)};
  }
  std::vector<Dim> weight() const {
    return {outputs, channels / groups, kernel[0], kernel[1]};
  }
  std::vector<Dim> result() const {
    return {batch(), outputs, outDim(0), outDim(1)};
  }
  std::string text() const;
};

std::string Conv::text() const {
  std::string x = tensor(input(), "f32"), w = tensor(weight(), "f32"),
              y = tensor(result(), "f32"), b = tensor({outputs}, "f32");
  auto list = [](std::vector<int64_t> values) {
    std::string text = "array<i64: ";
    for (size_t i = 0; i < values.size(); ++i)
      text += (i ? ", " : "") + std::to_string(values[i]);
    return text + ">";
  };
  std::string same = "affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>";
  std::string body =
      "  %c = qcc.conv %0, %1 {strides = " + list({stride[0], stride[1]}) +
      ", pads = " + list({pad[0], pad[1], pad[0], pad[1]}) +
      ", dilations = " + list({dilation[0], dilation[1]}) +
      ", groups = " + std::to_string(groups) + " : i64} : (" + x + ", " + w +
      ") -> " + y + "\n  %e = qcc.generic none ins(%c, %2, %3 : " + y + ", " +
      b + ", " + y + ") maps [" + same +
      ", affine_map<(d0, d1, d2, d3) -> (d1)>, " + same +
      "] {\n  ^bb1(%p: f32, %q: f32, %r: f32):\n    %s = arith.addf %p, %q : "
      "f32\n    %t = arith.addf %s, %r : f32\n" +
      (swish ? "    %i = arith.constant 1.0 : f32\n    %n = arith.negf %t : "
               "f32\n    %x = math.exp %n : f32\n    %d = arith.addf %x, %i : "
               "f32\n    %u = arith.divf %t, %d : f32\n"
             : "    %z = arith.constant 0.0 : f32\n    %u = arith.maximumf %t, "
               "%z : f32\n") +
      "    qcc.yield %u : f32\n  } -> " + y + "\n";
  return kernelText({x, w, b, y}, body, "%e", y);
}

/// What a convolution is run on.
struct Operands {
  std::vector<float> x, w, bias, residual;

  Operands(const Conv &conv, uint64_t seed) {
    Random random(seed + 1);
    x = random.floats(count(conv.input()), -1, 1);
    w = random.floats(count(conv.weight()), -1, 1);
    bias = random.floats(conv.outputs, -1, 1);
    residual = random.floats(count(conv.result()), -1, 1);
  }
  std::vector<float> run(const LoadedKernel &kernel, const Conv &conv,
                         uint64_t seed) const {
    return fromBytes<float>(kernel.run(
        {toBytes(x), toBytes(w), toBytes(bias), toBytes(residual)},
        {residual.size() * 4}, {conv.images, conv.height, conv.width}, seed % 2,
        1 + seed % 3)[0]);
  }
};

/// `emitter` with a dot at the end may be one of several. Returns the schedule.
std::string check(const X86 &x86, const std::string &levels, const Conv &conv,
                  uint64_t seed, std::string emitter) {
  if (conv.isPixels())
    emitter = "gemm.f32";
  std::string text = conv.text();
  SCOPED_TRACE(levels + "\n" + text);
  LoadedKernel kernel(text, x86.target(), x86.parse(levels), {1});
  if (!kernel.ok())
    return "";
  EXPECT_EQ(emitter.back() == '.'
                ? kernel.getEmitter().substr(0, emitter.size())
                : kernel.getEmitter(),
            emitter);
  Operands operands(conv, seed);
  const auto &[x, w, bias, residual] = operands;
  std::vector<float> y = operands.run(kernel, conv, seed);
  int64_t perGroup = conv.channels / conv.groups, oh = conv.out(0),
          ow = conv.out(1);
  for (int64_t at = 0; at < int64_t(y.size()); ++at) {
    int64_t j = at % ow, i = at / ow % oh, o = at / ow / oh % conv.outputs,
            image = at / ow / oh / conv.outputs;
    double sum = double(bias[o]) + residual[at], magnitude = 2;
    for (int64_t c = 0; c < perGroup; ++c)
      for (int64_t kh = 0; kh < conv.kernel[0]; ++kh)
        for (int64_t kw = 0; kw < conv.kernel[1]; ++kw) {
          int64_t row =
                      i * conv.stride[0] - conv.pad[0] + kh * conv.dilation[0],
                  column =
                      j * conv.stride[1] - conv.pad[1] + kw * conv.dilation[1];
          if (row < 0 || row >= conv.height || column < 0 ||
              column >= conv.width)
            continue;
          int64_t channel = o / (conv.outputs / conv.groups) * perGroup + c;
          double product =
              double(x[((image * conv.channels + channel) * conv.height + row) *
                           conv.width +
                       column]) *
              w[((o * perGroup + c) * conv.kernel[0] + kh) * conv.kernel[1] +
                kw];
          sum += product;
          magnitude += std::abs(product);
        }
    double error = relative(y[at], conv.activate(sum), magnitude);
    EXPECT_LE(error, kSumBound) << "element " << at;
    if (!(error <= kSumBound))
      break;
  }
  return kernel.getSchedule();
}

Conv randomConv(Random &random, bool depthwise) {
  Conv conv;
  do {
    conv.images = random.range(1, 2);
    conv.groups =
        depthwise ? random.range(2, 20) : (random.range(0, 3) == 0 ? 2 : 1);
    conv.channels = conv.groups * (depthwise ? 1 : random.range(2, 8));
    conv.outputs = conv.groups * random.range(1, depthwise ? 2 : 20);
    conv.height = random.range(1, 20);
    conv.width = random.range(1, 60);
    for (int axis : {0, 1}) {
      conv.kernel[axis] = random.range(1, 4);
      conv.stride[axis] = random.range(1, 3);
      conv.pad[axis] = random.range(0, 2);
      conv.dilation[axis] = random.range(1, 2);
    }
    if (random.range(0, 4) == 0)
      for (int axis : {0, 1}) {
        conv.kernel[axis] = conv.stride[axis] = 1;
        conv.pad[axis] = 0;
      }
    conv.dynamicBatch = random.range(0, 1);
    conv.dynamicSize = random.range(0, 2) == 0;
  } while (!conv.valid());
  return conv;
}

} // namespace

TEST(ConvTest, AgreesWithTheOracleOnRandomWindows) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(24); ++seed) {
    Random random(seed);
    check(x86, x86.levels()[seed % x86.levels().size()],
          randomConv(random, false), seed, "conv.f32");
  }
}

TEST(ConvTest, ReadsCopiedRows) {
  X86 x86;
  int taken = 0, shapes = getShapeCount(24);
  for (int seed = 0; seed < shapes; ++seed) {
    Random random(seed + 5000);
    Conv conv;
    do {
      conv = randomConv(random, false);
      conv.groups = random.range(1, 3);
      conv.channels = conv.groups * random.range(2, 5);
      conv.outputs = conv.groups * random.range(1, 20);
      conv.dynamicSize = false;
      conv.swish = random.range(0, 3) == 0;
      conv.height = random.range(4, 40);
      for (int axis : {0, 1}) {
        conv.kernel[axis] = random.range(2, axis ? 8 : 5);
        conv.stride[axis] = random.range(1, 2);
        conv.pad[axis] = random.range(0, 4);
      }
    } while (!conv.valid() || conv.out(0) < 4);
    taken += check(x86, x86.levels()[seed % x86.levels().size()], conv, seed,
                   "conv.f32")
                 .find("rows=") == 0;
  }
  // Of narrow pictures a panel may be faster.
  EXPECT_GE(taken, shapes / 2);
}

TEST(ConvTest, AllSchedulesGiveTheSameBits) {
  X86 x86;
  size_t most = 1;
  for (int seed = 0; seed < getShapeCount(6); ++seed) {
    Random random(seed + 6000);
    Conv conv = randomConv(random, false);
    const std::string &levels = x86.levels()[seed % x86.levels().size()];
    Operands operands(conv, seed);
    std::vector<float> want;
    size_t count = 1;
    for (size_t choice = 0; choice < count; ++choice) {
      LoadedKernel kernel(conv.text(), x86.target(), x86.parse(levels), {1},
                          nullptr, choice);
      ASSERT_TRUE(kernel.ok());
      count = kernel.getNumChoices();
      most = std::max(most, count);
      std::vector<float> got = operands.run(kernel, conv, seed);
      if (choice == 0)
        want = got;
      EXPECT_EQ(got, want) << levels << ": " << kernel.getSchedule() << "\n"
                           << conv.text();
    }
  }
  EXPECT_GT(most, 2u);
}

TEST(ConvTest, DepthwiseAgreesWithTheOracle) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(16); ++seed) {
    Random random(seed + 1000);
    check(x86, x86.levels()[seed % x86.levels().size()],
          randomConv(random, true), seed, "depthwise.");
  }
}

TEST(ConvTest, LeavesOutTapsInThePadding) {
  // Dilations up to beyond the picture; some windows lie beside it altogether.
  X86 x86;
  for (int seed = 0; seed < getShapeCount(16); ++seed) {
    Random random(seed + 3000);
    Conv conv = randomConv(random, false);
    do {
      conv.channels = conv.groups * random.range(2, 120);
      for (int axis : {0, 1}) {
        conv.kernel[axis] = random.range(axis ? 1 : 2, 4);
        conv.stride[axis] = random.range(0, 2) ? 1 : random.range(2, 3);
        conv.dilation[axis] = random.range(6, 40);
        conv.pad[axis] = random.range(0, 60);
      }
      conv.height = random.range(1, 30);
      conv.width = random.range(1, 40);
    } while (!conv.valid());
    check(x86, x86.levels()[seed % x86.levels().size()], conv, seed,
          "conv.f32");
  }
}

TEST(ConvTest, MultipliesSinglePixels) {
  X86 x86;
  int seed = 0;
  for (const std::string &levels : x86.levels())
    for (int64_t images : {1, 2, 30}) {
      Random random(++seed + 4000);
      Conv conv{images,
                random.range(1, 80),
                1,
                1,
                random.range(1, 150),
                {1, 1},
                {1, 1},
                {0, 0},
                {1, 1},
                1,
                seed % 2 == 0,
                false};
      conv.swish = seed % 3 != 0;
      ASSERT_TRUE(conv.isPixels());
      check(x86, levels, conv, seed, "gemm.f32");
    }
  // A long sum in several blocks.
  Conv deep{2, 9000, 1, 1, 20, {1, 1}, {1, 1}, {0, 0}, {1, 1}, 1, false, false};
  check(x86, x86.levels().front(), deep, 1, "gemm.f32");
}

TEST(ConvTest, CutsManyChannels) {
  X86 x86;
  for (const std::string &levels : x86.levels())
    check(x86, levels,
          {1, 400, 9, 9, 20, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, false, false},
          2, "conv.f32");
}

TEST(ConvTest, SmallDepthwiseAgreesWithTheOracle) {
  // Whole pictures, and bands of larger ones; channels that fill no vector.
  X86 x86;
  for (int seed = 0; seed < getShapeCount(24); ++seed) {
    Random random(seed + 4000);
    Conv conv;
    do {
      conv = randomConv(random, true);
      conv.channels = conv.outputs = conv.groups = random.range(16, 40);
      conv.dynamicSize = false;
      conv.swish = random.range(0, 1);
      bool isLarge = random.range(0, 2) == 0;
      conv.height = isLarge ? 8 * random.range(3, 7) : random.range(1, 18);
      conv.width = random.range(1, isLarge ? 60 : 20);
      for (int axis : {0, 1}) {
        conv.kernel[axis] = isLarge ? 5 : random.range(1, 7);
        conv.stride[axis] = isLarge ? 1 : random.range(1, 3);
        conv.pad[axis] = isLarge ? 2 : random.range(0, 4);
        conv.dilation[axis] = isLarge ? 1 : random.range(1, 2);
      }
    } while (!conv.valid() || (conv.out(1) % 16 == 0 && !conv.swish));
    check(x86, x86.levels()[seed % x86.levels().size()], conv, seed,
          "depthwise.small.f32");
  }
}

//===----------------------------------------------------------------------===//
// Transposed
//===----------------------------------------------------------------------===//

namespace {
struct TransposedConv {
  int64_t images, channels, size[2], outputs, kernel[2], stride[2], pad[2],
      dilation[2], extra[2], groups;
  bool dynamicBatch;

  int64_t out(int i) const {
    return (size[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 +
           extra[i] - 2 * pad[i];
  }
  Dim batch() const { return dynamicBatch ? Dim(images, "s0") : Dim(images); }
  std::vector<Dim> input() const {
    return {batch(), channels, size[0], size[1]};
  }
  std::vector<Dim> weight() const {
    return {channels, outputs / groups, kernel[0], kernel[1]};
  }
  std::vector<Dim> result() const { return {batch(), outputs, out(0), out(1)}; }
  std::string text() const {
    std::string x = tensor(input(), "f32"), w = tensor(weight(), "f32"),
                y = tensor(result(), "f32");
    auto pair = [](const int64_t *v) {
      return std::to_string(v[0]) + ", " + std::to_string(v[1]);
    };
    std::string body =
        "  %c = qcc.conv_transpose %0, %1 {strides = array<i64: " +
        pair(stride) + ">, pads = array<i64: " + pair(pad) + ", " + pair(pad) +
        ">, dilations = array<i64: " + pair(dilation) +
        ">, groups = " + std::to_string(groups) + " : i64} : (" + x + ", " + w +
        ") -> " + y + "\n";
    return kernelText({x, w}, body, "%c", y);
  }
  /// Scatters every input element, as the operation is defined.
  void getExact(const std::vector<float> &x, const std::vector<float> &w,
                std::vector<double> &sum, std::vector<double> &magnitude) const;
};

void TransposedConv::getExact(const std::vector<float> &x,
                              const std::vector<float> &w,
                              std::vector<double> &sum,
                              std::vector<double> &magnitude) const {
  int64_t perGroup = outputs / groups;
  for (int64_t at = 0; at < int64_t(x.size()); ++at) {
    int64_t j = at % size[1], i = at / size[1] % size[0],
            c = at / size[1] / size[0] % channels,
            image = at / size[1] / size[0] / channels;
    for (int64_t o = 0; o < perGroup; ++o)
      for (int64_t kh = 0; kh < kernel[0]; ++kh)
        for (int64_t kw = 0; kw < kernel[1]; ++kw) {
          int64_t row = i * stride[0] + kh * dilation[0] - pad[0],
                  column = j * stride[1] + kw * dilation[1] - pad[1];
          if (row < 0 || row >= out(0) || column < 0 || column >= out(1))
            continue;
          int64_t channel = c / (channels / groups) * perGroup + o;
          int64_t to =
              ((image * outputs + channel) * out(0) + row) * out(1) + column;
          double product =
              double(x[at]) *
              w[((c * perGroup + o) * kernel[0] + kh) * kernel[1] + kw];
          sum[to] += product;
          magnitude[to] += std::abs(product);
        }
  }
}
} // namespace

TEST(ConvTest, TransposedAgreesWithTheOracle) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(16); ++seed) {
    Random random(seed + 2000);
    TransposedConv conv;
    conv.images = random.range(1, 2);
    conv.groups = random.range(1, 2);
    conv.channels = conv.groups * random.range(2, 6);
    conv.outputs = conv.groups * random.range(1, 12);
    conv.dynamicBatch = random.range(0, 1);
    for (int i : {0, 1}) {
      conv.size[i] = random.range(1, i ? 30 : 9);
      conv.kernel[i] = random.range(1, 4);
      conv.stride[i] = random.range(1, 3);
      conv.dilation[i] = random.range(1, 2);
      conv.extra[i] = random.range(0, conv.stride[i] - 1);
      conv.pad[i] = random.range(0, 2);
      while (conv.out(i) < 1)
        ++conv.size[i];
    }
    std::string text = conv.text(),
                levels = x86.levels()[seed % x86.levels().size()];
    SCOPED_TRACE(levels + "\n" + text);
    LoadedKernel kernel(text, x86.target(), x86.parse(levels), {1});
    ASSERT_TRUE(kernel.ok());
    EXPECT_EQ(kernel.getEmitter(), "conv.f32");
    std::vector<float> x = random.floats(count(conv.input()), -1, 1),
                       w = random.floats(count(conv.weight()), -1, 1);
    size_t size = count(conv.result());
    std::vector<double> sum(size), magnitude(size, 1);
    conv.getExact(x, w, sum, magnitude);
    std::vector<float> y = fromBytes<float>(kernel.run(
        {toBytes(x), toBytes(w)}, {size * 4}, {conv.images}, seed % 2)[0]);
    for (size_t i = 0; i < size; ++i)
      ASSERT_LE(relative(y[i], sum[i], magnitude[i]), kSumBound) << i;
  }
}
