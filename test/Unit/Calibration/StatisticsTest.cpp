//===- StatisticsTest.cpp - exact, mergeable statistics ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Calibration/Statistics.h"
#include "qcc/Support/Hash.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace qcc;

namespace {

std::vector<float> makeValues(unsigned seed, size_t count, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.1f, scale);
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// Values of very different magnitudes: what makes sums of floats depend on
/// their order.
std::vector<float> makeWideValues(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float &value : values)
    value = std::ldexp(float(int(random() % 2001) - 1000),
                       int(random() % 200) - 120);
  return values;
}

constexpr ChannelLayout kLayout{5, 2};
constexpr size_t kCall = 20; // elements that are added at a time

/// Statistics of `values` in calls of kCall elements, gathered in `parts`
/// pieces that are merged in reverse order.
TensorStatistics gather(llvm::ArrayRef<float> values, size_t parts) {
  std::vector<TensorStatistics> pieces(parts);
  for (size_t at = 0, call = 0; at < values.size(); at += kCall, ++call)
    pieces[call % parts].add(values.slice(at, kCall), kLayout);
  TensorStatistics whole;
  whole.name = "x";
  for (size_t i = parts; i-- > 0;)
    EXPECT_TRUE(whole.merge(pieces[i]));
  return whole;
}

TensorStatistics gather(llvm::ArrayRef<float> values) {
  TensorStatistics whole;
  whole.name = "x";
  whole.add(values);
  return whole;
}

std::string write(const TensorStatistics &t) {
  Statistics statistics;
  statistics.get("x") = t;
  return statistics.write();
}

TEST(Statistics, AnySplitGivesTheSameBytes) {
  std::vector<std::vector<float>> sets = {makeWideValues(5, 1000)};
  for (float scale : {1e-42f, 1e-30f, 1.0f, 3e20f, 6e37f})
    sets.push_back(makeValues(7, 1000, scale));
  for (const std::vector<float> &values : sets) {
    std::string one = write(gather(values, 1));
    for (size_t parts : {2, 3, 7, 16, 50})
      EXPECT_EQ(one, write(gather(values, parts))) << parts;
  }
}

TEST(Statistics, MomentsAreThoseOfTheValues) {
  std::vector<float> values = makeValues(3, 5000, 2.0f);
  double sum = 0, squares = 0;
  for (float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  TensorStatistics t = gather(values, 4);
  EXPECT_EQ(t.count, values.size());
  EXPECT_NEAR(t.getMean(), sum / values.size(), 1e-12);
  EXPECT_NEAR(t.getMeanSquare(), squares / values.size(), 1e-12);
  EXPECT_EQ(t.min, *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(t.max, *std::max_element(values.begin(), values.end()));
}

TEST(Statistics, ChannelsAreThoseOfTheAxis) {
  std::vector<float> values = makeValues(11, 600, 3.0f);
  values[3] = NAN;
  TensorStatistics t = gather(values, 3);
  ASSERT_EQ(t.channels.size(), 5u);
  for (size_t c = 0; c < 5; ++c) {
    double sum = 0, sumAbs = 0, squares = 0;
    float min = INFINITY, max = -INFINITY;
    uint64_t count = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i / 2 % 5 != c || std::isnan(values[i]))
        continue;
      ++count;
      sum += values[i];
      sumAbs += std::fabs(values[i]);
      squares += double(values[i]) * values[i];
      min = std::min(min, values[i]);
      max = std::max(max, values[i]);
    }
    EXPECT_EQ(t.channels.getCount(c), count);
    EXPECT_EQ(t.channels.getMin(c), min);
    EXPECT_EQ(t.channels.getMax(c), max);
    EXPECT_EQ(t.channels.getAbsMax(c), std::max(-min, max));
    EXPECT_NEAR(t.channels.getMean(c), sum / count, 1e-12);
    EXPECT_NEAR(t.channels.getMeanAbs(c), sumAbs / count, 1e-12);
    EXPECT_NEAR(t.channels.getMeanSquare(c), squares / count, 1e-12);
  }
}

TEST(Statistics, NumbersOfChannelsMustAgree) {
  TensorStatistics a, b;
  std::vector<float> values(12, 1.0f);
  a.add(values, {3, 2});
  b.add(values, {4, 1});
  EXPECT_FALSE(a.merge(b));
}

TEST(Statistics, NonFiniteElementsCountApart) {
  const float values[] = {1.0f, NAN, -2.0f, INFINITY, -INFINITY};
  TensorStatistics t = gather(values);
  EXPECT_EQ(t.count, 2u);
  EXPECT_EQ(t.nonFinite, 3u);
  EXPECT_EQ(t.min, -2.0f);
  EXPECT_EQ(t.max, 1.0f);
  EXPECT_EQ(t.getMean(), -0.5);
}

TEST(Statistics, EmptyAndConstantTensors) {
  EXPECT_EQ(gather({}).getMean(), 0);
  const float zeros[] = {0.0f, -0.0f}, others[] = {-0.0f, 0.0f};
  TensorStatistics t = gather(zeros);
  EXPECT_EQ(t.getMeanSquare(), 0);
  EXPECT_EQ(t.histogram.getZeros(), 2u);
  EXPECT_EQ(write(t), write(gather(others)));
}

TEST(Statistics, ExactSumsCarryAndHaveAnyMagnitude) {
  ExactSums sums(3);
  // 2^53 + 1 is no double: the last bit is kept, and counts once there are two.
  for (double value : {0x1p53, 1.0, 1.0})
    sums.add(1, value);
  EXPECT_EQ(sums.get(1), 0x1p53 + 2);
  // A carry through words of ones.
  sums.add(2, std::ldexp(0x1.fffffffffffffp52, 11));
  sums.add(2, 0x1.ffcp10);
  sums.add(2, 1.0);
  EXPECT_EQ(sums.get(2), 0x1p64);
  sums.add(0, std::numeric_limits<double>::denorm_min());
  sums.add(0, std::numeric_limits<double>::max());
  EXPECT_EQ(sums.get(0), std::numeric_limits<double>::max());
  EXPECT_EQ(sums.get(1), 0x1p53 + 2);
}

TEST(Statistics, HistogramsHaveTheBinsOfTheLargestMagnitude) {
  // In an order that makes the bins coarser again and again.
  std::vector<float> values = makeWideValues(9, 4000);
  std::sort(values.begin(), values.end(),
            [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  Histogram histogram;
  for (float value : values)
    histogram.add(value, std::fabs(value));
  int exponent = 0;
  std::frexp(values.back(), &exponent);
  ASSERT_EQ(histogram.getExponent(), exponent);
  std::vector<uint64_t> bins[2] = {std::vector<uint64_t>(Histogram::kBins),
                                   std::vector<uint64_t>(Histogram::kBins)};
  uint64_t zeros = 0;
  for (float value : values) {
    if (value == 0)
      ++zeros;
    else
      ++bins[value < 0][size_t(
          std::floor(std::fabs(double(value)) / histogram.getBinWidth()))];
  }
  EXPECT_EQ(histogram.getZeros(), zeros);
  EXPECT_EQ(histogram.getPositive(), llvm::ArrayRef(bins[0]));
  EXPECT_EQ(histogram.getNegative(), llvm::ArrayRef(bins[1]));
}

Statistics makeStatistics() {
  Statistics statistics;
  statistics.source = "sha256:00";
  statistics.samples = 9;
  statistics.get("b") = gather(makeValues(1, 100, 1.0f), 1);
  statistics.get("b").name = "b";
  statistics.get("a") = gather(makeValues(2, 100, 1e-3f));
  statistics.get("a").name = "a";
  statistics.get("empty");
  return statistics;
}

TEST(Statistics, FileReadsBack) {
  std::string text = makeStatistics().write();
  auto read = Statistics::read(text, "file");
  ASSERT_TRUE(bool(read)) << toString(read.takeError());
  EXPECT_EQ(read->write(), text);
  EXPECT_EQ(read->samples, 9u);
  ASSERT_NE(read->lookup("b"), nullptr);
  EXPECT_EQ(read->lookup("b")->channels.size(), 5u);
}

/// Statistics of every `count`th call.
Statistics gatherShard(llvm::ArrayRef<float> values, unsigned number,
                       unsigned count) {
  Statistics statistics;
  statistics.source = "sha256:00";
  statistics.data = "sha256:01";
  statistics.options = {"nan=skip"};
  statistics.shard = {number, count};
  statistics.get("x");
  statistics.get("y");
  TensorStatistics &t = statistics.get("x");
  for (size_t at = 0, call = 0; at < values.size(); at += kCall, ++call)
    if (call % count == number - 1) {
      t.add(values.slice(at, kCall), kLayout);
      ++statistics.samples;
    }
  return statistics;
}

TEST(Statistics, ShardsJoinToTheBytesOfTheWhole) {
  std::vector<float> values = makeWideValues(13, 1000);
  std::string whole = gatherShard(values, 1, 1).write();
  // More shards than calls, too: some are empty then.
  for (unsigned count : {2u, 3u, 5u, 60u}) {
    std::vector<Statistics> parts;
    std::vector<std::string> names;
    for (unsigned number = count; number > 0; --number) {
      std::string text = gatherShard(values, number, count).write();
      auto part = Statistics::read(text, "part");
      ASSERT_TRUE(bool(part)) << toString(part.takeError());
      EXPECT_EQ(part->shard, (Shard{number, count}));
      parts.push_back(std::move(*part));
      names.push_back(std::to_string(number));
    }
    auto joined = mergeShards(parts, names);
    ASSERT_TRUE(bool(joined)) << toString(joined.takeError());
    EXPECT_EQ(joined->write(), whole) << count;
  }
}

TEST(Statistics, OtherShardsAreRefused) {
  std::vector<float> values = makeValues(1, 200, 1.0f);
  auto join = [&](std::vector<std::pair<unsigned, unsigned>> shards,
                  llvm::function_ref<void(Statistics &)> change) {
    std::vector<Statistics> parts;
    std::vector<std::string> names;
    for (auto [number, count] : shards) {
      parts.push_back(gatherShard(values, number, count));
      names.push_back("file" + std::to_string(names.size()));
    }
    if (!parts.empty())
      change(parts.back());
    auto joined = mergeShards(parts, names);
    return joined ? "" : toString(joined.takeError());
  };
  auto none = [](Statistics &) {};
  EXPECT_EQ(join({{1, 2}, {2, 2}}, none), "");
  EXPECT_NE(join({}, none), "");
  auto expect = [](const std::string &problem, llvm::StringRef text) {
    EXPECT_NE(problem.find(text), std::string::npos)
        << text.str() << ": " << problem;
  };
  expect(join({{1, 1}}, none), "file0: expected a shard");
  expect(join({{1, 3}, {3, 3}}, none), "2/3 is missing");
  expect(join({{1, 2}, {1, 2}}, none), "file1: expected each shard once");
  expect(join({{1, 2}, {2, 3}}, none), "shards out of 2 as in file0");
  expect(join({{1, 2}, {2, 2}}, [](Statistics &s) { s.source = "other"; }),
         "the model sha256:00 as in file0, but got other");
  expect(join({{1, 2}, {2, 2}}, [](Statistics &s) { s.data = "other"; }),
         "the data sha256:01 as in file0");
  expect(join({{1, 2}, {2, 2}}, [](Statistics &s) { s.options.clear(); }),
         "the options 'nan=skip' as in file0");
  expect(join({{1, 2}, {2, 2}}, [](Statistics &s) { s.get("z"); }),
         "2 values as in file0, but got 3");
  expect(
      join({{1, 2}, {2, 2}},
           [](Statistics &s) { s.get("x").channels = ChannelStatistics(4); }),
      "channels of 'x'");
}

std::string getProblem(llvm::StringRef text) {
  auto read = Statistics::read(text, "f");
  return read ? "" : toString(read.takeError());
}

/// Bytes with the hash that a file ends with.
std::string seal(const std::string &content) {
  Digest digest = hashSha256({content.data(), content.size()});
  return content + std::string(digest.begin(), digest.end());
}

TEST(Statistics, BrokenFilesAreRefused) {
  std::string text = makeStatistics().write();
  for (size_t size = 0; size < text.size(); size += 13)
    EXPECT_NE(getProblem(llvm::StringRef(text).take_front(size)), "") << size;
  EXPECT_NE(getProblem(text + "x"), "");
  EXPECT_NE(getProblem(text + "12345678"), "");
  text.resize(text.size() - sizeof(Digest));
  EXPECT_NE(getProblem(seal(text + "x")), "");
  EXPECT_NE(getProblem(seal(text + "12345678")), "");
}

TEST(Statistics, EveryChangedBitIsNoticed) {
  std::string text = makeStatistics().write();
  std::mt19937 random(2);
  for (size_t at = 0; at < text.size(); at += 7) {
    std::string changed = text;
    changed[at] = char(changed[at] ^ (1 << random() % 8));
    std::string problem = getProblem(changed);
    EXPECT_NE(problem.find("f: "), std::string::npos) << at << problem;
    EXPECT_NE(problem.find("QCC-E201"), std::string::npos) << at << problem;
  }
  // Numbers that a reader would take as they are.
  text[text.find("\"min_bits\": ") + 12] ^= 1;
  std::string problem = getProblem(text);
  EXPECT_NE(problem.find("its bytes have another hash"), std::string::npos)
      << problem;
}

/// What a hostile file says is right by its hash too.
TEST(Statistics, ChangedBytesNeverCrash) {
  std::string text = makeStatistics().write();
  text.resize(text.size() - sizeof(Digest));
  EXPECT_EQ(getProblem(seal(text)), "");
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string changed = text;
    for (int n = random() % 4; n >= 0; --n)
      changed[random() % std::min<size_t>(changed.size(), 3000)] =
          char(random());
    auto read = Statistics::read(seal(changed), "f");
    if (!read) {
      llvm::consumeError(read.takeError());
      continue;
    }
    for (const TensorStatistics &t : read->all())
      EXPECT_FALSE(std::isnan(t.getMean()) || std::isnan(t.getAbsMax()));
  }
}

TEST(Statistics, OldFilesAreRefusedWithARemedy) {
  for (std::string schema : {"qcc-stats/1", "qcc-stats/2"}) {
    std::string problem = getProblem("{\"schema\": \"" + schema + "\"}");
    EXPECT_NE(problem.find(schema + "; gather them again"), std::string::npos)
        << problem;
  }
}

} // namespace
