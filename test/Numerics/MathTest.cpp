//===- MathTest.cpp - ulp bounds of the polynomials -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The bounds are those of docs/numerics.md. Inputs are every 997th bit pattern
// of an f32 (denormals, infinities and NaN among them) and all floats around
// points where a formula changes.
//
//===----------------------------------------------------------------------===//
#include "Harness.h"
#include "qcc/Codegen/Emitters.h"
#include "gtest/gtest.h"
#include <bit>
#include <cmath>

using namespace qcc;
using namespace qcc::test;

namespace {
struct Function {
  const char *op;
  double (*exact)(double);
  double bound; ///< ulp
};

const Function kFunctions[] = {
    {"exp", std::exp, 1.1},
    {"exp2", std::exp2, 1.6},
    {"expm1", std::expm1, 2.0},
    {"log", std::log, 1.6},
    {"log2", std::log2, 1.8},
    {"log10", std::log10, 1.8},
    {"log1p", std::log1p, 2.1},
    {"tanh", std::tanh, 2.1},
    {"erf", std::erf, 1.6},
    {"sin", std::sin, 1.6},
    {"cos", std::cos, 1.6},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }, 1.6},
};

std::string getKernelText(const std::string &body, bool binary) {
  std::string type = "tensor<?xf32, affine_map<()[s0] -> (s0)>>";
  std::string map = "affine_map<(d0) -> (d0)>";
  if (binary)
    return "qcc.kernel @k {} {\n^bb0(%x: " + type + ", %y: " + type +
           "):\n  %r = qcc.generic none ins(%x, %y : " + type + ", " + type +
           ") maps [" + map + ", " + map +
           "] {\n  ^bb1(%a: f32, %b: f32):\n    " + body +
           "\n    qcc.yield %v : f32\n  } -> " + type +
           "\n  qcc.yield %r : " + type + "\n}";
  return "qcc.kernel @k {} {\n^bb0(%x: " + type +
         "):\n  %r = qcc.generic none ins(%x : " + type + ") maps [" + map +
         "] {\n  ^bb1(%a: f32):\n    " + body +
         "\n    qcc.yield %v : f32\n  } -> " + type +
         "\n  qcc.yield %r : " + type + "\n}";
}

std::vector<float> getSamples() {
  std::vector<float> samples;
  for (uint64_t bits = 0; bits < (1ULL << 32); bits += 997)
    samples.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  const float edges[] = {0.0f,      0.5f,    0.625f,  1.0f,     4.0f,    10.0f,
                         0.3466f,   0.7854f, 1.5708f, 3.14159f, 88.72f,  87.33f,
                         103.9721f, 150.0f,  128.0f,  0.7071f,  1.4142f, 17.5f};
  for (float edge : edges)
    for (int32_t i = -2000; i <= 2000; ++i) {
      uint32_t bits = std::bit_cast<uint32_t>(edge) + i;
      samples.push_back(std::bit_cast<float>(bits));
      samples.push_back(-std::bit_cast<float>(bits));
    }
  return samples;
}

/// A body of one operand `%a` on all samples; empty, and a failure, if it has
/// no kernel.
std::vector<float> evaluate(const std::string &body, const Capabilities &caps,
                            const std::vector<float> &samples) {
  auto emitter = createGenericEmitter();
  LoadedKernel kernel(getKernelText(body, false), *emitter, caps);
  EXPECT_TRUE(kernel.ok()) << body << " at level " << caps.level;
  if (!kernel.ok())
    return {};
  return fromBytes<float>(
      kernel.run({toBytes(samples)}, {samples.size() * 4},
                 {static_cast<int64_t>(samples.size())})[0]);
}

class MathTest : public testing::TestWithParam<Function> {};
} // namespace

TEST_P(MathTest, KeepsItsBound) {
  const Function &function = GetParam();
  static const std::vector<float> samples = getSamples();
  for (const Capabilities &caps : getRunnableLevels()) {
    std::vector<float> results = evaluate(
        "%v = math." + std::string(function.op) + " %a : f32", caps, samples);
    ASSERT_EQ(results.size(), samples.size());
    double worst = 0;
    float at = 0, got = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      double error = ulpError(results[i], function.exact(samples[i]));
      if (error > worst) {
        worst = error;
        at = samples[i];
        got = results[i];
      }
    }
    RecordProperty(caps.level + "_ulp", std::to_string(worst));
    EXPECT_LE(worst, caps.exactMath && std::string(function.op) != "rsqrt"
                         ? 0.5001
                         : function.bound)
        << function.op << " at level " << caps.level << ": " << got << " for "
        << at << ", expected " << function.exact(at);
  }
}

INSTANTIATE_TEST_SUITE_P(Functions, MathTest, testing::ValuesIn(kFunctions),
                         [](const auto &info) {
                           return std::string(info.param.op);
                         });

TEST(MathTest, ApproximatesErf) {
  static const std::vector<float> samples = getSamples();
  std::vector<float> first;
  for (const Capabilities &caps : getRunnableLevels()) {
    std::vector<float> results =
        evaluate("%v = math.erf %a fastmath<afn> : f32", caps, samples);
    ASSERT_EQ(results.size(), samples.size());
    double worst = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      if (std::isnan(samples[i])) {
        EXPECT_TRUE(std::isnan(results[i])) << caps.level;
        continue;
      }
      worst =
          std::max(worst, std::abs(results[i] - std::erf(double(samples[i]))));
      if (std::abs(samples[i]) >= 3.7 && !caps.exactMath)
        ASSERT_EQ(results[i], samples[i] < 0 ? -1.0f : 1.0f) << samples[i];
    }
    EXPECT_LE(worst, 1e-6) << caps.level;
    if (caps.exactMath)
      continue;
    if (first.empty())
      first = results;
    for (size_t i = 0; i < samples.size(); ++i)
      ASSERT_TRUE(std::isnan(samples[i]) || results[i] == first[i])
          << samples[i] << " at level " << caps.level;
  }
}

TEST(MathTest, GivesExponentialsThatAreNormal) {
  static const std::vector<float> samples = getSamples();
  for (const Capabilities &caps : getRunnableLevels()) {
    std::vector<float> results =
        evaluate("%v = math.exp %a fastmath<afn> : f32", caps, samples);
    ASSERT_EQ(results.size(), samples.size());
    for (size_t i = 0; i < samples.size(); ++i) {
      double exact = std::exp(double(samples[i]));
      if (exact < 0x1p-126)
        ASSERT_LE(std::abs(results[i] - exact), 0x1p-126) << samples[i];
      else if (exact > 0x1.6p127)
        ASSERT_GE(results[i], 0x1.5ffffep127f) << samples[i];
      else
        ASSERT_LE(ulpError(results[i], exact), 1.1)
            << samples[i] << " at level " << caps.level;
      if (samples[i] < -88 && !caps.exactMath)
        ASSERT_EQ(results[i], 0) << samples[i];
    }
  }
}

TEST(MathTest, KeepsZerosSign) {
  auto emitter = createGenericEmitter();
  for (const char *op : {"sin", "tanh", "erf", "expm1", "log1p"})
    for (const Capabilities &caps : getRunnableLevels()) {
      LoadedKernel kernel(
          getKernelText("%v = math." + std::string(op) + " %a : f32", false),
          *emitter, caps);
      ASSERT_TRUE(kernel.ok());
      std::vector<float> results = fromBytes<float>(
          kernel.run({toBytes(std::vector<float>{0.0f, -0.0f})}, {8}, {2})[0]);
      EXPECT_FALSE(std::signbit(results[0])) << op << " " << caps.level;
      EXPECT_TRUE(std::signbit(results[1])) << op << " " << caps.level;
    }
}

TEST(MathTest, RaisesToPowers) {
  std::vector<float> special = {
      0.0f,         -0.0f,    1.0f,      -1.0f,  0.5f,      -0.5f,
      2.0f,         -2.0f,    3.0f,      -3.0f,  2.5f,      -2.5f,
      1e-40f,       -1e-40f,  1e38f,     -1e38f, 0x1p-149f, 16777217.0f,
      -33554433.0f, INFINITY, -INFINITY, NAN};
  std::vector<float> x, y;
  for (float a : special)
    for (float b : special) {
      x.push_back(a);
      y.push_back(b);
    }
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    x.push_back(std::exp2(random.uniform(-20, 20)));
    y.push_back(random.uniform(-8, 8));
    x.push_back(random.uniform(0.9f, 1.1f));
    y.push_back(random.uniform(-900, 900));
  }
  auto emitter = createGenericEmitter();
  for (const Capabilities &caps : getRunnableLevels()) {
    LoadedKernel kernel(getKernelText("%v = math.powf %a, %b : f32", true),
                        *emitter, caps);
    ASSERT_TRUE(kernel.ok());
    std::vector<float> results =
        fromBytes<float>(kernel.run({toBytes(x), toBytes(y)}, {x.size() * 4},
                                    {static_cast<int64_t>(x.size())})[0]);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double exact = std::pow(static_cast<double>(x[i]), y[i]);
      double error = ulpError(results[i], exact);
      worst = std::max(worst, error);
      ASSERT_LE(error, 0.51)
          << "pow(" << x[i] << ", " << y[i] << ") at level " << caps.level
          << ": " << results[i] << ", expected " << exact;
    }
    RecordProperty(caps.level + "_ulp", std::to_string(worst));
  }
}
