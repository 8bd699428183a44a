//===- RangeTest.cpp - ranges from statistics -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The plain implementations here work on the values, or on their counts as the
// papers write it down, without prefix sums and without the histogram class.
//
//===----------------------------------------------------------------------===//
#include "qcc/Calibration/Range.h"
#include "gtest/gtest.h"
#include <cfloat>
#include <cmath>
#include <random>

using namespace qcc;

namespace {

enum class Kind { Normal, Heavy, Relu, Negative, Skewed };
constexpr Kind kKinds[] = {Kind::Normal, Kind::Heavy, Kind::Relu,
                           Kind::Negative, Kind::Skewed};

std::vector<float> makeValues(Kind kind, unsigned seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(20000);
  for (float &value : values) {
    value = normal(random);
    if (kind == Kind::Heavy)
      value *= std::exp(std::fabs(normal(random) / scale));
    if (kind == Kind::Relu)
      value = std::max(value, 0.0f);
    if (kind == Kind::Negative)
      value = -std::fabs(value);
    if (kind == Kind::Skewed && value > 0)
      value *= 5;
  }
  return values;
}

TensorStatistics gather(llvm::ArrayRef<float> values) {
  TensorStatistics t;
  t.name = "x";
  t.add(values);
  return t;
}

Range choose(llvm::ArrayRef<float> values, RangeMethod method, unsigned bits,
             bool isSymmetric, double parameter = 0) {
  auto range =
      chooseRange(gather(values), method, bits, isSymmetric, parameter);
  EXPECT_TRUE(bool(range)) << toString(range.takeError());
  return range ? *range : Range();
}

float getAbsMax(llvm::ArrayRef<float> values) {
  float largest = 0;
  for (float value : values)
    largest = std::max(largest, std::fabs(value));
  return largest;
}

/// 2^E / 2048 for the smallest power of two above the largest magnitude.
double getWidth(llvm::ArrayRef<float> values) {
  int exponent = 0;
  std::frexp(getAbsMax(values), &exponent);
  return std::ldexp(1.0, exponent - 11);
}

TEST(Range, MinMaxIsWhatWasSeenAndZero) {
  EXPECT_EQ(choose({-1.0f, 3.0f}, RangeMethod::MinMax, 8, false),
            (Range{-1, 3}));
  EXPECT_EQ(choose({-1.0f, 3.0f}, RangeMethod::MinMax, 8, true),
            (Range{-3, 3}));
  EXPECT_EQ(choose({2.0f, 3.0f}, RangeMethod::MinMax, 8, false), (Range{0, 3}));
  EXPECT_EQ(choose({-2.0f, -1.0f}, RangeMethod::MinMax, 8, false),
            (Range{-2, 0}));
}

TEST(Range, PercentilesAreThoseOfTheSortedValues) {
  for (Kind kind : kKinds)
    for (double percentage : {90.0, 99.0, 99.9, 99.99, 100.0}) {
      std::vector<float> values = makeValues(kind, 1);
      double width = getWidth(values);
      auto dropped = size_t(double(values.size()) * (100 - percentage) / 100);
      std::vector<float> magnitudes;
      for (float value : values)
        magnitudes.push_back(std::fabs(value));
      std::sort(magnitudes.begin(), magnitudes.end());
      float expected = magnitudes[values.size() - 1 - dropped];
      Range range =
          choose(values, RangeMethod::Percentile, 8, true, percentage);
      EXPECT_GE(range.max, expected);
      EXPECT_LE(range.max, expected + width);
      EXPECT_EQ(range.min, -range.max);

      std::sort(values.begin(), values.end());
      float low = std::min(values[dropped / 2], 0.0f),
            high = std::max(values[values.size() - 1 - dropped / 2], 0.0f);
      range = choose(values, RangeMethod::Percentile, 8, false, percentage);
      EXPECT_LE(range.min, low);
      EXPECT_GE(range.min, low - width);
      EXPECT_GE(range.max, high);
      EXPECT_LE(range.max, high + width);
    }
}

/// As in "8-bit inference with TensorRT" (GTC 2017): the reference takes what
/// lies outside into its last bins, the candidate is quantized without it. Of
/// the elements that are not 0.
double getDivergence(llvm::ArrayRef<double> bins, size_t begin, size_t end,
                     size_t levels) {
  std::vector<double> p(bins.begin() + begin, bins.begin() + end), q(p.size());
  for (size_t i = 0; i < begin; ++i)
    p.front() += bins[i];
  for (size_t i = end; i < bins.size(); ++i)
    p.back() += bins[i];
  size_t n = q.size();
  for (size_t level = 0; level < levels; ++level) {
    double sum = 0, filled = 0;
    for (size_t i = level * n / levels; i < (level + 1) * n / levels; ++i) {
      sum += bins[begin + i];
      filled += bins[begin + i] > 0;
    }
    for (size_t i = level * n / levels; i < (level + 1) * n / levels; ++i)
      q[i] = bins[begin + i] > 0 ? sum / filled : 0;
  }
  double sumP = 0, sumQ = 0, divergence = 0;
  for (size_t i = 0; i < n; ++i) {
    sumP += p[i];
    sumQ += q[i];
  }
  for (size_t i = 0; i < n; ++i)
    if (p[i] > 0)
      divergence += q[i] > 0
                        ? p[i] / sumP * std::log((p[i] / sumP) / (q[i] / sumQ))
                        : HUGE_VAL;
  return divergence;
}

TEST(Range, EntropyIsTheLeastDivergenceOfAllCandidates) {
  for (Kind kind : {Kind::Heavy, Kind::Relu, Kind::Skewed})
    for (unsigned bits : {4u, 8u})
      for (bool isSymmetric : {true, false}) {
        if ((kind == Kind::Relu) == (bits == 4))
          continue; // the plain implementation takes seconds
        std::vector<float> values = makeValues(kind, 2);
        double width = getWidth(values);
        // A bin for each multiple of the width from -2048 to 2047.
        std::vector<double> bins(4096);
        for (float value : values) {
          auto bin = int(std::floor(std::fabs(value) / width));
          bool isLeft = value < 0 && !isSymmetric;
          if (value != 0)
            ++bins[isLeft ? 2047 - bin : 2048 + bin];
        }
        size_t first = 0, last = bins.size();
        while (!bins[first])
          ++first;
        while (!bins[last - 1])
          --last;
        first = std::min<size_t>(first, 2048);
        last = std::max<size_t>(last, 2048);
        llvm::ArrayRef used = llvm::ArrayRef(bins).slice(first, last - first);
        size_t zero = 2048 - first, levels = size_t(1)
                                             << (isSymmetric ? bits - 1 : bits);
        double least = HUGE_VAL, best = 2048;
        for (size_t limit = 2048; limit > 0; --limit) {
          size_t begin = zero - std::min(zero, limit),
                 end = std::min(used.size(), zero + limit);
          if (end - begin < levels)
            break;
          double divergence = getDivergence(used, begin, end, levels);
          if (divergence < least - 1e-9) {
            least = divergence;
            best = double(limit);
          }
        }
        double limit = best * width;
        Range range = choose(values, RangeMethod::Entropy, bits, isSymmetric);
        auto absMax = double(getAbsMax(values));
        if (isSymmetric) {
          EXPECT_EQ(range.max, float(std::min(limit, absMax)));
          EXPECT_EQ(range.min, -range.max);
          continue;
        }
        auto [min, max] = std::minmax_element(values.begin(), values.end());
        EXPECT_EQ(range.min, std::min(0.0f, std::max(*min, float(-limit))));
        EXPECT_EQ(range.max, std::max(0.0f, std::min(*max, float(limit))));
      }
}

/// Squared error of values on a grid, each rounded by itself.
double sumErrors(llvm::ArrayRef<float> values, Range range, unsigned bits,
                 bool isSymmetric) {
  Grid grid = getGrid(range, bits, isSymmetric, /*isSigned=*/true);
  double sum = 0, lowest = -std::exp2(bits - 1.0) + isSymmetric,
         highest = std::exp2(bits - 1.0) - 1;
  for (float value : values) {
    double code = std::round(double(value) / grid.scale) + grid.zeroPoint;
    code = std::min(std::max(code, lowest), highest);
    double error = value - grid.scale * (code - grid.zeroPoint);
    sum += error * error;
  }
  return sum;
}

TEST(Range, MSEIsTheLeastErrorOfAllCandidates) {
  for (Kind kind : kKinds)
    for (unsigned bits : {4u, 8u})
      for (bool isSymmetric : {true, false}) {
        std::vector<float> values = makeValues(kind, 3);
        float absMax = getAbsMax(values);
        double least = HUGE_VAL;
        for (int k = 1; k <= 64; ++k) {
          float a = absMax * float(k) / 64;
          auto [min, max] = std::minmax_element(values.begin(), values.end());
          Range range = isSymmetric ? Range{-a, a}
                                    : Range{std::min(0.0f, std::max(*min, -a)),
                                            std::max(0.0f, std::min(*max, a))};
          least = std::min(least, sumErrors(values, range, bits, isSymmetric));
        }
        Range range = choose(values, RangeMethod::MSE, bits, isSymmetric, 64);
        double error = sumErrors(values, range, bits, isSymmetric);
        // Elements are taken to be at the middle of their bins.
        EXPECT_LE(error, least * 1.01) << int(kind) << " " << bits;
        Range all = choose(values, RangeMethod::MinMax, bits, isSymmetric);
        EXPECT_LE(error, sumErrors(values, all, bits, isSymmetric) * 1.001);
      }
}

TEST(Range, ClipsWhatIsRareAtFewBits) {
  std::vector<float> values = makeValues(Kind::Normal, 4);
  values[7] = 100;
  for (RangeMethod method :
       {RangeMethod::Percentile, RangeMethod::Entropy, RangeMethod::MSE})
    EXPECT_LT(choose(values, method, 4, true).max, 10)
        << getRangeMethodName(method).str();
  EXPECT_EQ(choose(values, RangeMethod::MinMax, 4, true).max, 100);
}

TEST(Range, ScaleOfTheValuesDoesNotMatter) {
  for (RangeMethod method : {RangeMethod::MinMax, RangeMethod::Percentile,
                             RangeMethod::Entropy, RangeMethod::MSE})
    for (Kind kind : kKinds) {
      std::vector<float> values = makeValues(kind, 5);
      Range range = choose(values, method, 8, false);
      for (int exponent : {-100, 90}) {
        std::vector<float> scaled;
        for (float value : values)
          scaled.push_back(std::ldexp(value, exponent));
        Range other = choose(scaled, method, 8, false);
        EXPECT_EQ(other.min, std::ldexp(range.min, exponent));
        EXPECT_EQ(other.max, std::ldexp(range.max, exponent));
      }
    }
}

TEST(Range, ChannelsAreChosenOneByOne) {
  std::vector<float> values = makeValues(Kind::Heavy, 6);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] *= float(1 + i / 5 % 4);
  ChannelLayout layout{4, 5};
  for (RangeMethod method : {RangeMethod::MinMax, RangeMethod::Percentile,
                             RangeMethod::Entropy, RangeMethod::MSE}) {
    auto ranges = chooseRanges("w", values, layout, method, 4, true);
    ASSERT_TRUE(bool(ranges)) << toString(ranges.takeError());
    ASSERT_EQ(ranges->size(), 4u);
    for (size_t c = 0; c < 4; ++c) {
      std::vector<float> channel;
      for (size_t i = 0; i < values.size(); ++i)
        if (i / 5 % 4 == c)
          channel.push_back(values[i]);
      EXPECT_EQ((*ranges)[c], choose(channel, method, 4, true));
    }
  }
}

TEST(Range, DegenerateTensors) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<std::vector<float>> cases = {
      {0.0f},       {0.0f, 0.0f},           {1.0f},
      {-1.0f},      {5.0f, 5.0f, 5.0f},     {tiny},
      {FLT_MAX},    {FLT_MAX, -FLT_MAX},    {tiny, FLT_MAX},
      {-tiny, 0},   {0, 0, 0, 0, 0, 1e-3f}, {NAN, 2.0f, -INFINITY},
      {FLT_MIN, -1}};
  for (const std::vector<float> &values : cases)
    for (RangeMethod method : {RangeMethod::MinMax, RangeMethod::Percentile,
                               RangeMethod::Entropy, RangeMethod::MSE})
      for (unsigned bits : {2u, 4u, 8u, 16u})
        for (bool isSymmetric : {true, false}) {
          Range range = choose(values, method, bits, isSymmetric);
          EXPECT_TRUE(range.min <= 0 && range.max >= 0);
          EXPECT_TRUE(std::isfinite(range.min) && std::isfinite(range.max));
          for (bool isSigned : {true, false}) {
            Grid grid = getGrid(range, bits, isSymmetric, isSigned);
            EXPECT_TRUE(std::isnormal(grid.scale) && grid.scale > 0);
            int lowest = isSigned ? -(1 << (bits - 1)) : 0;
            EXPECT_GE(grid.zeroPoint, lowest);
            EXPECT_LT(grid.zeroPoint, lowest + (1 << bits));
          }
        }
}

TEST(Range, ErrorsNameTheTensor) {
  auto getProblem = [](const TensorStatistics &t, RangeMethod method,
                       unsigned bits, double parameter) {
    auto range = chooseRange(t, method, bits, true, parameter);
    return range ? "" : toString(range.takeError());
  };
  const float nothing[] = {NAN, INFINITY};
  EXPECT_NE(getProblem(gather(nothing), RangeMethod::MinMax, 8, 0).find("x: "),
            std::string::npos);
  EXPECT_NE(getProblem(gather({}), RangeMethod::MSE, 8, 0), "");
  TensorStatistics t = gather({1.0f});
  EXPECT_NE(getProblem(t, RangeMethod::MinMax, 1, 0), "");
  EXPECT_NE(getProblem(t, RangeMethod::MinMax, 17, 0), "");
  EXPECT_NE(getProblem(t, RangeMethod::Percentile, 8, 50), "");
  EXPECT_NE(getProblem(t, RangeMethod::Percentile, 8, 101), "");
  EXPECT_NE(getProblem(t, RangeMethod::Percentile, 8, NAN), "");
  EXPECT_NE(getProblem(t, RangeMethod::MSE, 8, -1), "");
}

TEST(Range, GridsRepresentZeroAndTheEnds) {
  EXPECT_EQ(getGrid({-127, 127}, 8, true, true), (Grid{1, 0}));
  EXPECT_EQ(getGrid({-127, 127}, 8, true, false), (Grid{1, 128}));
  EXPECT_EQ(getGrid({0, 255}, 8, false, false), (Grid{1, 0}));
  EXPECT_EQ(getGrid({0, 255}, 8, false, true), (Grid{1, -128}));
  EXPECT_EQ(getGrid({-255, 0}, 8, false, true), (Grid{1, 127}));
  EXPECT_EQ(getGrid({-5, 10}, 4, false, false), (Grid{1, 5}));
  EXPECT_EQ(getGrid({0, 0}, 8, false, false), (Grid{1, 0}));
}

TEST(Range, MethodsHaveNames) {
  for (RangeMethod method : {RangeMethod::MinMax, RangeMethod::Percentile,
                             RangeMethod::Entropy, RangeMethod::MSE})
    EXPECT_EQ(parseRangeMethod(getRangeMethodName(method)), method);
  EXPECT_FALSE(parseRangeMethod("max").has_value());
}

TEST(Range, MethodsAreReadWithTheirParameters) {
  for (llvm::StringRef text : {"minmax", "percentile", "percentile:99.9",
                               "percentile:100", "entropy", "mse", "mse:64"}) {
    auto read = readRangeMethod(text);
    ASSERT_TRUE(bool(read)) << toString(read.takeError());
    EXPECT_EQ(describeRangeMethod(read->first, read->second), text);
  }
  for (llvm::StringRef text :
       {"", "max", "minmax:1", "percentile:", "percentile:50", "percentile:nan",
        "percentile:101", "entropy:2", "mse:0.5", "mse:x", "mse:1e9"}) {
    auto read = readRangeMethod(text);
    EXPECT_FALSE(bool(read)) << text.str();
    llvm::consumeError(read.takeError());
  }
}

} // namespace
