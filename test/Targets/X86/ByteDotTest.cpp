//===- ByteDotTest.cpp - exact products of bytes on x86 ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include "qcc/Dialect/QCC/Pack.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {

/// How the sums are used: as they are, or as codes of another scale.
constexpr float kScale = 0.0037f, kStep = 31.0f;
/// Of sums that are put into GELU: most are within its bend.
constexpr float kSmallScale = 0.00005f;

/// What a product of bytes is made of, the same for matrices and windows.
struct Operands {
  bool isUnsigned, hasZero, requantize;
  bool hasFunction = false; ///< twice the GELU comes before codes
  std::string element() const { return isUnsigned ? "ui8" : "i8"; }
  int64_t read(char byte) const {
    return isUnsigned ? int64_t(uint8_t(byte)) : int64_t(int8_t(byte));
  }
};

Operands randomOperands(Random &random) {
  Operands result;
  result.isUnsigned = random.range(0, 1);
  result.hasZero = random.range(0, 2) != 0;
  result.requantize = random.range(0, 1);
  return result;
}

/// The code that a weight's byte holds: i4 in its lowest bits.
int64_t readWeight(char byte, bool isNibble) {
  return isNibble ? ((byte & 15) ^ 8) - 8 : int64_t(int8_t(byte));
}

/// Makes the codes at `at(0)`, `at(1)`, ... of a column fit in pairs, with some
/// that just do.
void fitPairs(Bytes &weight, int64_t rows,
              llvm::function_ref<int64_t(int64_t)> at) {
  for (int64_t row = 1; row < rows; row += 2) {
    char &first = weight[at(row - 1)], &second = weight[at(row)];
    first = std::max<char>(first, -127);
    int most = kMaxPairSum - std::abs(int(first));
    second = char(first < 0 ? std::max<int>(second, -most)
                            : std::min<int>(second, most));
  }
}

/// The text after the product `%c` of type [dims] i32: a scale, a bias per
/// channel (the last dimension), twice the GELU if there is a function, and
/// rounding to ui8.
std::string epilogue(const std::vector<Dim> &dims, const std::string &bias,
                     bool hasFunction = false) {
  std::string value = hasFunction ? "%g" : "%u", function;
  if (hasFunction)
    function = "    %c1 = arith.constant 0.707106769 : f32\n"
               "    %d = arith.mulf %u, %c1 : f32\n"
               "    %h = math.erf %d fastmath<afn> : f32\n"
               "    %g = math.fma %u, %h, %u : f32\n";
  std::string all, last = "d" + std::to_string(dims.size() - 1);
  for (size_t i = 0; i < dims.size(); ++i)
    all += (i ? ", d" : "d") + std::to_string(i);
  std::string from = tensor(dims, "i32"), to = tensor(dims, "ui8");
  return "  %e = qcc.generic none ins(%c, " + bias + " : " + from + ", " +
         tensor({dims.back()}, "f32") + ") maps [affine_map<(" + all +
         ") -> (" + all + ")>, affine_map<(" + all + ") -> (" + last +
         ")>] {\n  ^bb1(%p: i32, %q: f32):\n"
         "    %s = arith.constant " +
         (hasFunction ? "0.00005" : "0.0037") +
         " : f32\n"
         "    %m = arith.constant 31.0 : f32\n"
         "    %low = arith.constant 0.0 : f32\n"
         "    %high = arith.constant 255.0 : f32\n"
         "    %f = arith.sitofp %p : i32 to f32\n"
         "    %t = arith.mulf %f, %s : f32\n"
         "    %u = arith.addf %t, %q : f32\n" +
         function + "    %v = arith.mulf " + value +
         ", %m : f32\n"
         "    %w = math.roundeven %v : f32\n"
         "    %x = arith.maxnumf %w, %low : f32\n"
         "    %y = arith.minnumf %x, %high : f32\n"
         "    %z = arith.fptosi %y : f32 to i32\n"
         "    %r = arith.trunci %z : i32 to i8\n"
         "    qcc.yield %r : i8\n  } -> " +
         to + "\n";
}

/// The same in C++, with a rounding after each operation.
int64_t requantize(int64_t sum, float bias) {
  volatile float product = float(int32_t(sum)) * kScale;
  volatile float shifted = product + bias;
  volatile float steps = shifted * kStep;
  return int64_t(std::fmin(std::fmax(std::nearbyint(steps), 0.0f), 255.0f));
}

/// What twice the GELU of a sum is before it is rounded to a code.
double applyFunction(int64_t sum, float bias) {
  double x = double(sum) * kSmallScale + bias;
  return std::clamp((x + x * std::erf(x / std::sqrt(2.0))) * kStep, 0.0, 255.0);
}

/// Runs a kernel whose operands are the input, the weight, the bias if it
/// quantizes, and the zero point if there is one, and compares each element
/// with `oracle(index)`.
template <typename OracleT>
void compare(const LoadedKernel &kernel, const Operands &ops,
             std::vector<Bytes> inputs, const std::vector<float> &bias,
             size_t elements, const std::vector<int64_t> &dims, uint64_t seed,
             OracleT oracle) {
  Bytes result = kernel.run(inputs, {elements * (ops.requantize ? 1 : 4)}, dims,
                            seed % 2, 1 + seed % 3)[0];
  std::vector<int32_t> sums;
  if (!ops.requantize)
    sums = fromBytes<int32_t>(result);
  for (size_t i = 0; i < elements; ++i) {
    int64_t exact = oracle(int64_t(i));
    if (ops.hasFunction)
      ASSERT_NEAR(uint8_t(result[i]),
                  applyFunction(exact, bias[i % bias.size()]), 0.501)
          << "element " << i << ", sum " << exact;
    else if (ops.requantize)
      ASSERT_EQ(int64_t(uint8_t(result[i])),
                requantize(exact, bias[i % bias.size()]))
          << "element " << i << ", sum " << exact;
    else
      ASSERT_EQ(sums[i], exact) << "element " << i;
  }
}

//===----------------------------------------------------------------------===//
// Convolutions
//===----------------------------------------------------------------------===//

struct Conv {
  Operands ops;
  int64_t images, channels, size[2], outputs, kernel[2], stride[2], pad[2],
      dilation[2], groups;
  bool dynamicBatch, dynamicSize;
  bool isNibble = false; ///< the weight is i4
  bool pairsFit = false; ///< its codes fit in pairs

  int64_t out(int i) const {
    return (size[i] + 2 * pad[i] - (kernel[i] - 1) * dilation[i] - 1) /
               stride[i] +
           1;
  }
  bool valid() const {
    for (int i : {0, 1})
      if (size[i] + 2 * pad[i] < (kernel[i] - 1) * dilation[i] + 1)
        return false;
    return true;
  }
  Dim outDim(int i) const {
    if (!dynamicSize)
      return out(i);
    int64_t rest = 2 * pad[i] - (kernel[i] - 1) * dilation[i] - 1;
    return {out(i), "(s" + std::to_string(i + 1) + " + " +
                        std::to_string(rest) + ") floordiv " +
                        std::to_string(stride[i]) + " + 1"};
  }
  Dim batch() const {
    return dynamicBatch || dynamicSize ? Dim(images, "s0") : Dim(images);
  }
  std::vector<Dim> input() const {
    return {batch(), dynamicSize ? Dim(size[0], "s1") : Dim(size[0]),
            dynamicSize ? Dim(size[1], "s2") : Dim(size[1]), channels};
  }
  std::vector<Dim> weight() const {
    return {outputs, channels / groups, kernel[0], kernel[1]};
  }
  std::vector<Dim> result() const {
    return {batch(), outDim(0), outDim(1), outputs};
  }
  bool isDepthwise() const { return groups > 1 && groups == channels; }
  std::string text() const;
  int64_t sum(const Bytes &x, const Bytes &w, int64_t zero, int64_t at) const;
};

std::string Conv::text() const {
  std::string x = tensor(input(), ops.element()),
              w = tensor(weight(), isNibble ? "i4" : "i8"),
              sums = tensor(result(), "i32"),
              y = ops.requantize ? tensor(result(), "ui8") : sums;
  std::vector<std::string> operands{x, w};
  std::string types = x + ", " + w, zero;
  if (ops.requantize)
    operands.push_back(tensor({outputs}, "f32"));
  if (ops.hasZero) {
    zero = " input_zero %" + std::to_string(operands.size());
    operands.push_back("tensor<" + ops.element() + ">");
    types += ", " + operands.back();
  }
  auto pair = [](const int64_t *v) {
    return std::to_string(v[0]) + ", " + std::to_string(v[1]);
  };
  std::string body = "  %c = qcc.int_conv %0, %1" + zero +
                     " {channels_last, strides = array<i64: " + pair(stride) +
                     ">, pads = array<i64: " + pair(pad) + ", " + pair(pad) +
                     ">, dilations = array<i64: " + pair(dilation) +
                     ">, groups = " + std::to_string(groups) + " : i64" +
                     (pairsFit ? ", qcc.pairs_fit" : "") + "} : (" + types +
                     ") -> " + sums + "\n";
  if (ops.requantize)
    body += epilogue(result(), "%2");
  return kernelText(operands, body, ops.requantize ? "%e" : "%c", y);
}

int64_t Conv::sum(const Bytes &x, const Bytes &w, int64_t zero,
                  int64_t at) const {
  int64_t o = at % outputs, j = at / outputs % out(1),
          i = at / outputs / out(1) % out(0),
          image = at / outputs / out(1) / out(0), per = channels / groups,
          first = o / (outputs / groups) * per, total = 0;
  for (int64_t c = 0; c < per; ++c)
    for (int64_t kh = 0; kh < kernel[0]; ++kh)
      for (int64_t kw = 0; kw < kernel[1]; ++kw) {
        int64_t row = i * stride[0] - pad[0] + kh * dilation[0],
                column = j * stride[1] - pad[1] + kw * dilation[1];
        if (row < 0 || row >= size[0] || column < 0 || column >= size[1])
          continue;
        int64_t from =
            ((image * size[0] + row) * size[1] + column) * channels + first + c;
        int64_t code = readWeight(
            w[((o * per + c) * kernel[0] + kh) * kernel[1] + kw], isNibble);
        total += (ops.read(x[from]) - zero) * code;
      }
  return total;
}

void check(const X86 &x86, const std::string &levels, const Conv &conv,
           uint64_t seed) {
  std::string text = conv.text();
  SCOPED_TRACE(levels + "\n" + text);
  LoadedKernel kernel(text, x86.target(), x86.parse(levels), {1});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(),
            conv.isDepthwise() ? "depthwise.int8" : "dot.int8");
  Random random(seed + 1);
  Bytes x = randomBytes(random, count(conv.input())),
        w = randomBytes(random, count(conv.weight())),
        point = randomBytes(random, 1);
  if (int64_t per = conv.channels / conv.groups,
      taps = conv.kernel[0] * conv.kernel[1];
      conv.pairsFit)
    for (int64_t o = 0; o < conv.outputs; ++o)
      fitPairs(w, per * taps, [&](int64_t row) {
        return (o * per + row % per) * taps + row / per;
      });
  std::vector<float> bias = random.floats(conv.outputs, -1, 1);
  std::vector<Bytes> inputs{x, w};
  if (conv.ops.requantize)
    inputs.push_back(toBytes(bias));
  if (conv.ops.hasZero)
    inputs.push_back(point);
  int64_t zero = conv.ops.hasZero ? conv.ops.read(point[0]) : 0;
  compare(kernel, conv.ops, inputs, bias, count(conv.result()),
          {conv.images, conv.size[0], conv.size[1]}, seed,
          [&](int64_t at) { return conv.sum(x, w, zero, at); });
}

Conv randomConv(Random &random, bool depthwise) {
  Conv conv;
  do {
    conv.ops = randomOperands(random);
    conv.images = random.range(1, 2);
    conv.groups =
        depthwise ? random.range(2, 70) : (random.range(0, 3) == 0 ? 3 : 1);
    conv.channels = conv.groups * (depthwise ? 1 : random.range(1, 21));
    if (!depthwise && conv.groups > 1 && conv.channels == conv.groups)
      conv.channels *= 2;
    conv.outputs =
        depthwise ? conv.channels : conv.groups * random.range(1, 70);
    for (int i : {0, 1}) {
      conv.size[i] = random.range(1, 14);
      conv.kernel[i] = random.range(1, 4);
      conv.stride[i] = random.range(1, 3);
      conv.pad[i] = random.range(0, 2);
      conv.dilation[i] = random.range(1, 2);
    }
    if (random.range(0, 3) == 0)
      for (int i : {0, 1}) {
        conv.kernel[i] = conv.stride[i] = 1;
        conv.pad[i] = 0;
      }
    conv.dynamicBatch = random.range(0, 1);
    conv.dynamicSize = random.range(0, 2) == 0;
    conv.isNibble = !depthwise && random.range(0, 2) == 0;
    conv.pairsFit = !depthwise && !conv.isNibble && random.range(0, 1);
  } while (!conv.valid());
  return conv;
}

//===----------------------------------------------------------------------===//
// Maxima of windows
//===----------------------------------------------------------------------===//

void checkPool(const X86 &x86, const std::string &levels, const Conv &window,
               uint64_t seed) {
  std::string x = tensor(window.input(), window.ops.element()),
              y = tensor(window.result(), window.ops.element());
  auto pair = [](const int64_t *v) {
    return std::to_string(v[0]) + ", " + std::to_string(v[1]);
  };
  std::string text = kernelText(
      {x},
      "  %c = qcc.pool max %0 {channels_last, kernel = array<i64: " +
          pair(window.kernel) +
          ">, strides = array<i64: " + pair(window.stride) +
          ">, pads = array<i64: " + pair(window.pad) + ", " + pair(window.pad) +
          ">, dilations = array<i64: " + pair(window.dilation) + ">} : (" + x +
          ") -> " + y + "\n",
      "%c", y);
  SCOPED_TRACE(levels + "\n" + text);
  LoadedKernel kernel(text, x86.target(), x86.parse(levels), {});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), "pool.int8");
  Random random(seed + 1);
  Bytes in = randomBytes(random, count(window.input()));
  Bytes out = kernel.run({in}, {size_t(count(window.result()))},
                         {window.images, window.size[0], window.size[1]},
                         seed % 2, 1 + seed % 3)[0];
  for (int64_t at = 0; at < int64_t(out.size()); ++at) {
    int64_t c = at % window.channels, j = at / window.channels % window.out(1),
            i = at / window.channels / window.out(1) % window.out(0),
            image = at / window.channels / window.out(1) / window.out(0),
            largest = window.ops.isUnsigned ? 0 : -128;
    for (int64_t kh = 0; kh < window.kernel[0]; ++kh)
      for (int64_t kw = 0; kw < window.kernel[1]; ++kw) {
        int64_t row = i * window.stride[0] - window.pad[0] +
                      kh * window.dilation[0],
                column = j * window.stride[1] - window.pad[1] +
                         kw * window.dilation[1];
        if (row < 0 || row >= window.size[0] || column < 0 ||
            column >= window.size[1])
          continue;
        int64_t from =
            ((image * window.size[0] + row) * window.size[1] + column) *
                window.channels +
            c;
        largest = std::max(largest, window.ops.read(in[from]));
      }
    ASSERT_EQ(window.ops.read(out[at]), largest) << "element " << at;
  }
}

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

struct Product {
  Operands ops;
  int64_t batch, rows, k, n;
  bool isDynamic;
  bool isNibble = false; ///< the weight is i4
  bool pairsFit = false; ///< its codes fit in pairs

  std::vector<Dim> lead(int64_t last) const {
    return {batch, isDynamic ? Dim(rows, "s0") : Dim(rows), last};
  }
  std::string text() const {
    std::string x = tensor(lead(k), ops.element()),
                w = tensor({k, n}, isNibble ? "i4" : "i8"),
                sums = tensor(lead(n), "i32"), types = x + ", " + w, zero;
    std::vector<std::string> operands{x, w};
    if (ops.requantize)
      operands.push_back(tensor({n}, "f32"));
    if (ops.hasZero) {
      zero = " lhs_zero %" + std::to_string(operands.size());
      operands.push_back("tensor<" + ops.element() + ">");
      types += ", " + operands.back();
    }
    std::string body = "  %c = qcc.int_matmul %0, %1" + zero +
                       (pairsFit ? " {qcc.pairs_fit}" : "") + " : (" + types +
                       ") -> " + sums + "\n";
    if (ops.requantize)
      body += epilogue(lead(n), "%2", ops.hasFunction);
    return kernelText(operands, body, ops.requantize ? "%e" : "%c",
                      ops.requantize ? tensor(lead(n), "ui8") : sums);
  }
};

void check(const X86 &x86, const std::string &levels, const Product &product,
           uint64_t seed) {
  std::string text = product.text();
  SCOPED_TRACE(levels + "\n" + text);
  LoadedKernel kernel(text, x86.target(), x86.parse(levels), {1});
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(kernel.getEmitter(), "dot.int8");
  Random random(seed + 1);
  int64_t k = product.k, n = product.n, rows = product.batch * product.rows;
  Bytes x = randomBytes(random, rows * k), w = randomBytes(random, k * n),
        point = randomBytes(random, 1);
  if (product.pairsFit)
    for (int64_t column = 0; column < n; ++column)
      fitPairs(w, k, [&](int64_t row) { return row * n + column; });
  std::vector<float> bias = random.floats(n, -1, 1);
  std::vector<Bytes> inputs{x, w};
  if (product.ops.requantize)
    inputs.push_back(toBytes(bias));
  if (product.ops.hasZero)
    inputs.push_back(point);
  int64_t zero = product.ops.hasZero ? product.ops.read(point[0]) : 0;
  compare(kernel, product.ops, inputs, bias, rows * n, {product.rows}, seed,
          [&](int64_t at) {
            int64_t total = 0;
            for (int64_t i = 0; i < k; ++i)
              total += (product.ops.read(x[at / n * k + i]) - zero) *
                       readWeight(w[i * n + at % n], product.isNibble);
            return total;
          });
}

} // namespace

TEST(ByteDotTest, ConvolutionsAreExact) {
  X86 x86;
  ASSERT_FALSE(x86.levels().empty()) << "this CPU has no AVX2";
  for (int seed = 0; seed < getShapeCount(40); ++seed) {
    Random random(seed);
    check(x86, x86.levels()[seed % x86.levels().size()],
          randomConv(random, false), seed);
  }
}

TEST(ByteDotTest, WindowsOfFewChannelsAreExact) {
  // Rows of the window are one copy inside the image, taps at its edges.
  X86 x86;
  for (int seed = 0; seed < getShapeCount(40); ++seed) {
    Random random(seed + 4000);
    Conv conv = randomConv(random, false);
    conv.groups = 1;
    conv.channels = random.range(1, 5);
    for (int i : {0, 1}) {
      conv.kernel[i] = random.range(2, 7);
      conv.dilation[i] = random.range(0, 3) ? 1 : 2;
      conv.pad[i] = random.range(0, 3);
      conv.size[i] = conv.dilation[i] * conv.kernel[i] + random.range(0, 20);
    }
    check(x86, x86.levels()[seed % x86.levels().size()], conv, seed);
  }
}

TEST(ByteDotTest, LeavesOutTapsInThePadding) {
  // Zero points count as what they stand for where their taps do not.
  X86 x86;
  for (int seed = 0; seed < getShapeCount(20); ++seed) {
    Random random(seed + 5000);
    Conv conv = randomConv(random, false);
    do {
      conv.channels = conv.groups * random.range(4, 24) * (seed % 8 ? 4 : 1);
      for (int i : {0, 1}) {
        conv.kernel[i] = random.range(i ? 1 : 2, 4);
        conv.dilation[i] = random.range(4, 30);
        conv.pad[i] = random.range(0, 40);
        conv.size[i] = random.range(1, 20);
      }
    } while (!conv.valid());
    check(x86, x86.levels()[seed % x86.levels().size()], conv, seed);
  }
}

TEST(ByteDotTest, DepthwiseConvolutionsAreExact) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(24); ++seed) {
    Random random(seed + 1000);
    check(x86, x86.levels()[seed % x86.levels().size()],
          randomConv(random, true), seed);
  }
}

TEST(ByteDotTest, FindsMaximaOfWindows) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(24); ++seed) {
    Random random(seed + 3000);
    Conv window = randomConv(random, true);
    checkPool(x86, x86.levels()[seed % x86.levels().size()], window, seed);
  }
}

TEST(ByteDotTest, ProductsAreExact) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(40); ++seed) {
    Random random(seed + 2000);
    Product product{randomOperands(random),
                    random.range(1, 2),
                    random.range(0, 3) ? random.range(1, 30) : 1,
                    random.range(1, 90),
                    random.range(1, 150),
                    bool(random.range(0, 1)),
                    random.range(0, 2) == 0};
    product.pairsFit = !product.isNibble && random.range(0, 1);
    check(x86, x86.levels()[seed % x86.levels().size()], product, seed);
  }
}

/// Rows and blocks of columns that are stored in a loop, whole and not.
TEST(ByteDotTest, ProductsWithFunctionsAreClose) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(40); ++seed) {
    Random random(seed + 6000);
    Product product{randomOperands(random), 1,
                    random.range(1, 40),    random.range(1, 90),
                    random.range(1, 150),   bool(random.range(0, 1))};
    if (random.range(0, 1))
      product.n = 16 * random.range(1, 12);
    product.ops.requantize = product.ops.hasFunction = true;
    check(x86, x86.levels()[seed % x86.levels().size()], product, seed);
  }
}

/// Levels whose last one has tiles: alone and with others that read the same
/// weight.
const char *const kTileLevels[] = {"amx", "avx512-vnni+amx", "avx2+amx"};

TEST(ByteDotTest, ProductsInTilesAreExact) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(12); ++seed) {
    Random random(seed + 4000);
    Product product{
        randomOperands(random),
        random.range(1, 2),
        random.range(0, 2) ? random.range(1, 230) : 16 * random.range(1, 8),
        random.range(0, 2) ? random.range(1, 300) : 4 * random.range(1, 70),
        random.range(1, 150),
        bool(random.range(0, 1)),
        random.range(0, 2) == 0};
    product.pairsFit = !product.isNibble && random.range(0, 1);
    check(x86, kTileLevels[seed % std::size(kTileLevels)], product, seed);
  }
}

TEST(ByteDotTest, ConvolutionsInTilesAreExact) {
  X86 x86;
  for (int seed = 0; seed < getShapeCount(12); ++seed) {
    Random random(seed + 5000);
    Conv conv = randomConv(random, false);
    if (random.range(0, 1)) {
      conv.groups = 1;
      conv.channels = random.range(1, 150);
    }
    check(x86, kTileLevels[seed % std::size(kTileLevels)], conv, seed);
  }
}

TEST(ByteDotTest, SumsOfExtremesFit32Bits) {
  // 33,025 products of (0 - 255) by -128: the largest that FormInteger allows.
  X86 x86;
  for (const std::string &levels : x86.levels()) {
    Product product{{true, true, false}, 1, 2, 33025, 17, false};
    LoadedKernel kernel(product.text(), x86.target(), x86.parse(levels), {1});
    ASSERT_TRUE(kernel.ok());
    Bytes x(2 * product.k, 0), w(product.k * product.n, char(-128)),
        zero(1, char(255));
    std::vector<int32_t> sums = fromBytes<int32_t>(
        kernel.run({x, w, zero}, {size_t(2 * product.n * 4)}, {})[0]);
    for (int32_t sum : sums)
      ASSERT_EQ(sum, 33025 * 255 * 128);
  }
}
