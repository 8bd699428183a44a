//===- RowTest.cpp - kernels of softmax, norms, pool, concat ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Harness.h"
#include "qcc/Codegen/Emitters.h"
#include "gtest/gtest.h"
#include <algorithm>
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {
/// A kernel of one row-wise operation on [s0, columns], with a scale and shift
/// per column after it or nothing.
std::string getText(const std::string &op, int64_t columns, bool epilogue) {
  std::string n = std::to_string(columns);
  std::string type =
      "tensor<?x" + n + "xf32, affine_map<()[s0] -> (s0, " + n + ")>>";
  std::string vector = "tensor<" + n + "xf32>";
  std::string text = "qcc.kernel @k {} {\n^bb0(%x: " + type;
  if (epilogue)
    text += ", %g: " + vector + ", %h: " + vector;
  text += "):\n  %r = " + op + " : " + type + " -> " + type + "\n";
  if (epilogue)
    text += "  %e = qcc.generic none ins(%r, %g, %h : " + type + ", " + vector +
            ", " + vector +
            ") maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> "
            "(d1)>, affine_map<(d0, d1) -> (d1)>] {\n  ^bb1(%v: f32, %a: f32, "
            "%b: f32):\n    %m = arith.mulf %v, %a : f32\n    %s = arith.addf "
            "%m, %b : f32\n    qcc.yield %s : f32\n  } -> " +
            type + "\n";
  return text + "  qcc.yield " + (epilogue ? "%e" : "%r") + " : " + type +
         "\n}";
}

/// The exact results of one row.
std::vector<double> getExact(const std::string &op, const float *row,
                             int64_t columns) {
  std::vector<double> exact(columns);
  double n = static_cast<double>(columns), sum = 0;
  if (op.starts_with("qcc.softmax")) {
    double top = *std::max_element(row, row + columns);
    for (int64_t j = 0; j < columns; ++j)
      sum += exact[j] = std::exp(row[j] - top);
    for (int64_t j = 0; j < columns; ++j)
      exact[j] = op.find("log") == std::string::npos
                     ? exact[j] / sum
                     : row[j] - top - std::log(sum);
    return exact;
  }
  double mean = 0;
  if (op.find("layer") != std::string::npos)
    for (int64_t j = 0; j < columns; ++j)
      mean += row[j] / n;
  for (int64_t j = 0; j < columns; ++j)
    sum += (row[j] - mean) * (row[j] - mean);
  double deviation = std::sqrt(sum / n + 1e-5f);
  for (int64_t j = 0; j < columns; ++j)
    exact[j] = (row[j] - mean) / deviation;
  return exact;
}

const char *kOps[] = {"qcc.softmax %x", "qcc.softmax %x {log}",
                      "qcc.norm layer %x {epsilon = 1.0e-5 : f32}",
                      "qcc.norm rms %x {epsilon = 1.0e-5 : f32}"};

std::vector<Capabilities> getVectorLevels() {
  std::vector<Capabilities> levels = getRunnableLevels();
  std::erase_if(levels, [](const Capabilities &c) { return !c.vectorBits; });
  return levels;
}
} // namespace

TEST(RowTest, StaysWithinItsBound) {
  auto emitter = createRowEmitter();
  Random random(5);
  for (const char *op : kOps)
    for (int64_t columns : {1, 7, 16, 64, 100, 197, 768})
      for (const Capabilities &caps : getVectorLevels()) {
        SCOPED_TRACE(std::string(op) + " of " + std::to_string(columns) +
                     " at " + caps.level);
        bool epilogue = columns % 2 == 1;
        LoadedKernel kernel(getText(op, columns, epilogue), *emitter, caps);
        ASSERT_TRUE(kernel.ok());
        const int64_t rows = 37;
        std::vector<float> x = random.floats(rows * columns, -8, 8);
        std::vector<float> g = random.floats(columns, -2, 2),
                           h = random.floats(columns, -2, 2);
        std::vector<Bytes> inputs = {toBytes(x)};
        if (epilogue) {
          inputs.push_back(toBytes(g));
          inputs.push_back(toBytes(h));
        }
        Bytes whole = kernel.run(inputs, {x.size() * 4}, {rows})[0];
        EXPECT_EQ(whole,
                  kernel.run(inputs, {x.size() * 4}, {rows}, false, 3)[0]);
        std::vector<float> got = fromBytes<float>(whole);
        for (int64_t i = 0; i < rows; ++i) {
          std::vector<double> exact =
              getExact(op, x.data() + i * columns, columns);
          for (int64_t j = 0; j < columns; ++j) {
            double expected = exact[j], scale = std::abs(exact[j]) + 1e-3;
            // Softmax: relative. Norms: of the largest in the row.
            if (std::string(op).find("norm") != std::string::npos)
              scale += 4;
            if (std::string(op).find("log") != std::string::npos)
              scale += 16;
            if (epilogue) {
              expected = expected * g[j] + h[j];
              scale = scale * 2 + 2;
            }
            ASSERT_NEAR(got[i * columns + j], expected, 1e-6 * scale)
                << "row " << i << ", column " << j;
          }
        }
      }
}

TEST(RowTest, HandlesExtremeRows) {
  auto emitter = createRowEmitter();
  for (const Capabilities &caps : getVectorLevels()) {
    SCOPED_TRACE(caps.level);
    LoadedKernel kernel(getText(kOps[0], 19, false), *emitter, caps);
    ASSERT_TRUE(kernel.ok());
    std::vector<float> x(4 * 19, 3e38f);
    std::fill(x.begin() + 19, x.begin() + 38, -INFINITY); // masked but one
    x[19 + 5] = 2;
    x[2 * 19 + 18] = NAN;
    for (int j = 0; j < 19; ++j)
      x[3 * 19 + j] = j == 3 ? 1000.0f : -1000.0f;
    std::vector<float> got =
        fromBytes<float>(kernel.run({toBytes(x)}, {x.size() * 4}, {4})[0]);
    for (int j = 0; j < 19; ++j) {
      EXPECT_NEAR(got[j], 1.0 / 19, 1e-7);
      EXPECT_EQ(got[19 + j], j == 5 ? 1.0f : 0.0f);
      EXPECT_TRUE(std::isnan(got[2 * 19 + j]));
      EXPECT_EQ(got[3 * 19 + j], j == 3 ? 1.0f : 0.0f);
    }
  }
}

namespace {
struct Pool {
  bool max;
  int64_t height, width, kernel, stride, pad, dilation;
  bool ceil, includePad;
};

/// Size of the output: with `ceil` a window may end past the padding, but must
/// begin before its end.
int64_t getOutput(const Pool &p, int64_t size) {
  int64_t room = size + 2 * p.pad - ((p.kernel - 1) * p.dilation + 1);
  int64_t count = room / p.stride + 1;
  if (p.ceil && room % p.stride && count * p.stride < size + p.pad)
    ++count;
  return count;
}

float getExactPool(const Pool &p, const float *plane, int64_t y, int64_t x) {
  double sum = 0, top = -INFINITY;
  int64_t count = 0;
  for (int64_t i = 0; i < p.kernel; ++i)
    for (int64_t j = 0; j < p.kernel; ++j) {
      int64_t row = y * p.stride - p.pad + i * p.dilation,
              column = x * p.stride - p.pad + j * p.dilation;
      bool inside =
          row >= 0 && row < p.height && column >= 0 && column < p.width;
      bool padded = row < p.height + p.pad && column < p.width + p.pad;
      count += inside || (p.includePad && padded);
      if (!inside)
        continue;
      sum += plane[row * p.width + column];
      top = std::max<double>(top, plane[row * p.width + column]);
    }
  return static_cast<float>(p.max ? top : sum / static_cast<double>(count));
}
} // namespace

TEST(RowTest, PoolsWindows) {
  const Pool pools[] = {
      {true, 12, 70, 3, 2, 1, 1, false, false},
      {true, 13, 37, 2, 2, 0, 1, true, false},
      {true, 9, 21, 3, 1, 1, 2, false, false},
      {true, 8, 90, 3, 3, 1, 1, false, false},
      {true, 3, 3, 3, 2, 1, 1, true, false},
      {false, 14, 64, 3, 1, 1, 1, false, false},
      {false, 14, 64, 3, 2, 1, 1, true, true},
      {false, 7, 7, 7, 1, 0, 1, false, false},
      {false, 15, 50, 5, 2, 2, 1, true, false},
      // Several runs of a row; narrow ones; strides that are gathered; taps
      // far apart, and in padding alone.
      {true, 5, 4200, 3, 1, 1, 1, false, false},
      {true, 5, 4201, 3, 2, 1, 1, true, false},
      {false, 4, 2100, 2, 2, 1, 1, false, true},
      {true, 14, 14, 13, 1, 6, 1, false, false},
      {true, 14, 14, 3, 2, 1, 1, false, false},
      {false, 7, 7, 3, 2, 1, 1, true, false},
      {true, 5, 1, 3, 1, 1, 1, false, false},
      {true, 9, 40, 5, 4, 2, 1, true, false},
      {false, 9, 130, 2, 7, 0, 1, false, false},
      {true, 9, 40, 3, 2, 4, 4, false, false},
      {true, 3, 31, 2, 2, 1, 3, true, false},
  };
  auto emitter = createPoolEmitter();
  Random random(7);
  for (const Pool &p : pools)
    for (const Capabilities &caps : getVectorLevels()) {
      int64_t outHeight = getOutput(p, p.height),
              outWidth = getOutput(p, p.width), planes = 6;
      auto text = [](auto... values) {
        std::string joined;
        ((joined += (joined.empty() ? "" : ", ") + std::to_string(values)),
         ...);
        return joined;
      };
      std::string in = "tensor<?x3x" + std::to_string(p.height) + "x" +
                       std::to_string(p.width) +
                       "xf32, affine_map<()[s0] -> (s0, " +
                       text(3, p.height, p.width) + ")>>";
      std::string out = "tensor<?x3x" + std::to_string(outHeight) + "x" +
                        std::to_string(outWidth) +
                        "xf32, affine_map<()[s0] -> (s0, " +
                        text(3, outHeight, outWidth) + ")>>";
      std::string module =
          "qcc.kernel @k {} {\n^bb0(%x: " + in + "):\n  %r = qcc.pool " +
          (p.max ? "max" : "average") +
          " %x {kernel = array<i64: " + text(p.kernel, p.kernel) +
          ">, strides = array<i64: " + text(p.stride, p.stride) +
          ">, pads = array<i64: " + text(p.pad, p.pad, p.pad, p.pad) +
          ">, dilations = array<i64: " + text(p.dilation, p.dilation) + ">" +
          (p.includePad ? ", count_include_pad" : "") + "} : (" + in + ") -> " +
          out + "\n  qcc.yield %r : " + out + "\n}";
      SCOPED_TRACE(caps.level + "\n" + module);
      LoadedKernel kernel(module, *emitter, caps);
      ASSERT_TRUE(kernel.ok());
      std::vector<float> x = random.floats(planes * p.height * p.width, -4, 4);
      size_t bytes = planes * outHeight * outWidth * 4;
      Bytes whole = kernel.run({toBytes(x)}, {bytes}, {planes / 3})[0];
      EXPECT_EQ(whole,
                kernel.run({toBytes(x)}, {bytes}, {planes / 3}, false, 2)[0]);
      std::vector<float> got = fromBytes<float>(whole);
      for (int64_t i = 0; i < planes * outHeight * outWidth; ++i) {
        int64_t plane = i / (outHeight * outWidth);
        float exact = getExactPool(p, x.data() + plane * p.height * p.width,
                                   i / outWidth % outHeight, i % outWidth);
        ASSERT_NEAR(got[i], exact, p.max ? 0 : 2e-6) << "element " << i;
      }
    }
}

TEST(RowTest, FindsTheBestElement) {
  auto emitter = createArgReduceEmitter();
  Random random(8);
  for (int64_t axisSize : {1, 5, 16, 40, 257})
    for (int64_t inner : {1, 3, 50})
      for (int form = 0; form < 4; ++form)
        for (const Capabilities &caps : getVectorLevels()) {
          bool smallest = form & 1, selectLast = form & 2;
          std::string a = std::to_string(axisSize), n = std::to_string(inner);
          std::string in = "tensor<?x" + a + "x" + n +
                           "xf32, affine_map<()[s0] -> (s0, " + a + ", " + n +
                           ")>>";
          std::string out =
              "tensor<?x" + n + "xi64, affine_map<()[s0] -> (s0, " + n + ")>>";
          std::string text = "qcc.kernel @k {} {\n^bb0(%x: " + in +
                             "):\n  %r = qcc.arg_reduce %x {axis = 1 : i64" +
                             (smallest ? ", smallest" : "") +
                             (selectLast ? ", select_last" : "") + "} : " + in +
                             " -> " + out + "\n  qcc.yield %r : " + out + "\n}";
          SCOPED_TRACE(caps.level + "\n" + text);
          LoadedKernel kernel(text, *emitter, caps);
          ASSERT_TRUE(kernel.ok());
          const int64_t outer = 23;
          // Few values, so that there are ties; some NaN and infinities.
          const float values[] = {1, 2, 3, -1, INFINITY, -INFINITY, NAN};
          std::vector<float> x(outer * axisSize * inner);
          for (size_t i = 0; i < x.size(); ++i)
            x[i] = values[random.range(0, i < x.size() / 2 ? 3 : 6)];
          std::fill(x.begin(), x.begin() + axisSize * inner,
                    smallest ? INFINITY : -INFINITY);
          size_t bytes = outer * inner * 8;
          Bytes whole = kernel.run({toBytes(x)}, {bytes}, {outer})[0];
          EXPECT_EQ(whole,
                    kernel.run({toBytes(x)}, {bytes}, {outer}, false, 3)[0]);
          std::vector<int64_t> got = fromBytes<int64_t>(whole);
          for (int64_t i = 0; i < outer; ++i)
            for (int64_t j = 0; j < inner; ++j) {
              int64_t best = 0;
              auto at = [&](int64_t k) {
                return x[(i * axisSize + k) * inner + j];
              };
              for (int64_t k = 1; k < axisSize; ++k) {
                float v = at(k), top = at(best);
                bool better = smallest ? v < top : v > top;
                if (selectLast)
                  better |= v == top;
                if (better || (std::isnan(v) && !std::isnan(top)))
                  best = k;
              }
              ASSERT_EQ(got[i * inner + j], best) << i << " " << j;
            }
        }
}

TEST(RowTest, JoinsTensors) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%a: tensor<?x3x7xui8, affine_map<()[s0] -> (s0, 3, 7)>>,
         %b: tensor<?x0x7xui8, affine_map<()[s0] -> (s0, 0, 7)>>,
         %c: tensor<?x?x7xui8, affine_map<()[s0, s1] -> (s0, s1, 7)>>):
      %r = qcc.concat 1, %a, %b, %c
          : (tensor<?x3x7xui8, affine_map<()[s0] -> (s0, 3, 7)>>,
             tensor<?x0x7xui8, affine_map<()[s0] -> (s0, 0, 7)>>,
             tensor<?x?x7xui8, affine_map<()[s0, s1] -> (s0, s1, 7)>>)
          -> tensor<?x?x7xui8, affine_map<()[s0, s1] -> (s0, s1 + 3, 7)>>
      qcc.yield %r : tensor<?x?x7xui8, affine_map<()[s0, s1] -> (s0, s1 + 3, 7)>>
    })";
  auto emitter = createConcatEmitter();
  for (const Capabilities &caps : getRunnableLevels())
    for (int64_t outer : {0, 1, 5, 300})
      for (int64_t middle : {0, 1, 40}) {
        SCOPED_TRACE(caps.level);
        LoadedKernel kernel(text, *emitter, caps);
        ASSERT_TRUE(kernel.ok());
        std::vector<uint8_t> a, c, expected;
        for (int64_t i = 0; i < outer; ++i) {
          for (int64_t j = 0; j < 21; ++j)
            expected.push_back(a.emplace_back(i * 31 + j));
          for (int64_t j = 0; j < middle * 7; ++j)
            expected.push_back(c.emplace_back(i * 17 + j * 3));
        }
        std::vector<Bytes> inputs = {toBytes(a), {}, toBytes(c)};
        for (bool atEnd : {true, false})
          EXPECT_EQ(kernel.run(inputs, {expected.size()}, {outer, middle},
                               atEnd, 2)[0],
                    toBytes(expected));
      }
}
