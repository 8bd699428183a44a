//===- FilesTest.cpp - what qcc-run reads, mutated --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Compare.h"
#include "Npz.h"
#include "TestData.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

using namespace qcc::run;

namespace {

Array makeArray(const char *name, int onnxType, std::vector<int64_t> shape) {
  Array array{name, findOnnxType(onnxType), std::move(shape), {}};
  array.bytes.resize(byteCount(array.count(), *array.type));
  for (size_t i = 0; i < array.bytes.size(); ++i)
    array.bytes[i] = std::byte(37 * i + 11);
  return array;
}

/// Any of the types below a byte leaves bits over; they are zero.
std::vector<Array> allTypes() {
  std::vector<Array> arrays;
  for (int type = 1; type <= 26; ++type)
    if (findOnnxType(type))
      arrays.push_back(makeArray(findOnnxType(type)->name, type, {2, 4}));
  arrays.push_back(makeArray("empty", 1, {0, 3}));
  arrays.push_back(makeArray("scalar", 7, {}));
  return arrays;
}

/// A file that goes with the test.
class FilesTest : public ::testing::Test {
protected:
  ~FilesTest() override { std::filesystem::remove(path); }

  std::filesystem::path path =
      testing::TempDir() + "qcc-files-" + std::to_string(getpid());
};

std::string readFile(const std::filesystem::path &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(FilesTest, ArchivesKeepAllTypes) {
  std::vector<Array> written = allTypes();
  writeNpz(path, written);
  std::vector<Array> read = readNpz(path);
  ASSERT_EQ(read.size(), written.size());
  for (size_t i = 0; i < read.size(); ++i) {
    // Elements below a byte come back as models take them, one a byte.
    Array expected = widen(written[i]);
    EXPECT_EQ(read[i].name, expected.name);
    EXPECT_EQ(read[i].type, expected.type) << read[i].name;
    EXPECT_EQ(read[i].shape, expected.shape) << read[i].name;
    EXPECT_EQ(read[i].bytes, expected.bytes) << read[i].name;
  }
}

/// Changes, or cuts, a few places.
std::string mutate(std::string bytes, std::mt19937 &random) {
  for (int edits = int(random() % 4) + 1; edits > 0 && !bytes.empty();
       --edits) {
    if (random() % 8 == 0)
      bytes.resize(random() % bytes.size());
    else
      bytes[random() % bytes.size()] =
          char(random() % 3 == 0 ? 0xff : random());
  }
  return bytes;
}

TEST_F(FilesTest, MutatedArchivesAreReadOrRefused) {
  writeNpz(path, allTypes());
  std::string whole = readFile(path);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::ofstream(path, std::ios::binary) << mutate(whole, random);
    try {
      readNpz(path);
    } catch (const RunError &error) {
      ++refused;
      EXPECT_TRUE(error.code() == BadData || error.code() == Resources)
          << error.what();
    }
  }
  EXPECT_GT(refused, 0);
}

/// A TensorProto: int32_data, or raw_data.
std::string makeProto(bool raw) {
  std::string proto = {0x08, 0x02, 0x08, 0x03, 0x10, char(raw ? 1 : 6)};
  if (raw)
    proto += std::string("\x4a\x18", 2) + std::string(24, '\x3f');
  else
    proto += std::string("\x2a\x06\x01\x02\x03\x04\x05\x06", 8);
  return proto + "\x42\x01x";
}

TEST(TensorProto, ReadsPackedAndRaw) {
  Array packed = parseTensorProto(makeProto(false));
  EXPECT_EQ(packed.name, "x");
  EXPECT_EQ(describe(packed.type, packed.shape), "int32[2, 3]");
  EXPECT_EQ(packed.at(5), 6);
  Array raw = parseTensorProto(makeProto(true));
  EXPECT_EQ(describe(raw.type, raw.shape), "float32[2, 3]");
}

TEST(TensorProto, MutantsAreReadOrRefused) {
  std::mt19937 random(2);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    try {
      Array array = parseTensorProto(mutate(makeProto(i % 2 == 0), random));
      for (uint64_t k = 0; k < array.count(); ++k)
        (void)array.at(k);
    } catch (const RunError &error) {
      ++refused;
      EXPECT_TRUE(error.code() == BadData || error.code() == Unsupported)
          << error.what();
    }
  }
  EXPECT_GT(refused, 0);
}

/// The values of an array of one type with these bytes.
std::vector<double> values(int onnxType, std::vector<unsigned> bytes,
                           int64_t count) {
  Array array{"x", findOnnxType(onnxType), {count}, {}};
  for (unsigned byte : bytes)
    array.bytes.push_back(std::byte(byte));
  std::vector<double> result;
  for (int64_t i = 0; i < count; ++i)
    result.push_back(array.at(uint64_t(i)));
  return result;
}

// Values by the tables of OCP OFP8 1.0 and of ONNX.
TEST(Elements, SmallTypes) {
  using Values = std::vector<double>;
  EXPECT_EQ(values(17, {0x7e, 0x01, 0xb8}, 3),
            (Values{448, std::ldexp(1, -9), -1}));
  EXPECT_TRUE(std::isnan(values(17, {0x7f}, 1)[0]));
  EXPECT_EQ(values(18, {0x7f, 0x40}, 2), (Values{240, 1}));
  EXPECT_TRUE(std::isnan(values(18, {0x80}, 1)[0]));
  EXPECT_EQ(values(19, {0x7b, 0x7c, 0x3c}, 3), (Values{57344, INFINITY, 1}));
  EXPECT_EQ(values(20, {0x7f, 0x40}, 2), (Values{57344, 1}));
  EXPECT_EQ(values(10, {0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc}, 3),
            (Values{1, std::ldexp(1, -24), -INFINITY}));
  EXPECT_EQ(values(16, {0x80, 0x3f}, 1), (Values{1}));
  EXPECT_EQ(values(22, {0x8f, 0x07}, 3), (Values{-1, -8, 7}));
  EXPECT_EQ(values(21, {0x8f}, 2), (Values{15, 8}));
  EXPECT_EQ(values(23, {0x71, 0x9c}, 4), (Values{0.5, 6, -2, -0.5}));
  EXPECT_EQ(values(24, {0x7f, 0x80}, 2), (Values{1, 2}));
  EXPECT_EQ(values(26, {0xe4}, 4), (Values{0, 1, -2, -1}));
}

TEST(Compare, LargeIntegersAreExact) {
  Array a{"x", findOnnxType(7), {1}, std::vector<std::byte>(8)}, b = a;
  int64_t value = (int64_t(1) << 60) + 1;
  std::memcpy(a.bytes.data(), &value, 8);
  --value;
  std::memcpy(b.bytes.data(), &value, 8);
  EXPECT_FALSE(compare(a, b, {}).passed) << "they are the same double";
  EXPECT_TRUE(compare(a, a, {}).passed);
}

} // namespace
