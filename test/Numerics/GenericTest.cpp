//===- GenericTest.cpp - kernels of qcc.generic -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "RandomGeneric.h"
#include "qcc/Codegen/Emitters.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstdlib>

using namespace qcc;
using namespace qcc::test;

//===----------------------------------------------------------------------===//
// Random ones
//===----------------------------------------------------------------------===//

TEST(GenericTest, AgreesWithTheOracleOnRandomShapes) {
  // QCC_TEST_SHAPES: how many (./dev soak asks for more).
  const char *wanted = std::getenv("QCC_TEST_SHAPES");
  int count = wanted && *wanted ? std::atoi(wanted) : 200;
  auto emitter = createGenericEmitter();
  std::vector<Capabilities> levels = getRunnableLevels();
  int changed = 0, nonEmpty = 0;
  for (int seed = 0; seed < count; ++seed) {
    RandomGeneric generic(seed);
    // Each shape at one level, levels in turn.
    const Capabilities &caps = levels[seed % levels.size()];
    std::string text = generic.getText();
    LoadedKernel kernel(text, *emitter, caps);
    ASSERT_TRUE(kernel.ok()) << "seed " << seed;
    auto run = [&](bool atEnd, int64_t parts) {
      return kernel.run(generic.getInputs(), {generic.getResultBytes()},
                        generic.getDims(), atEnd, parts)[0];
    };
    Bytes whole = run(true, 1);
    std::string difference = generic.check(whole);
    ASSERT_EQ(difference, "")
        << "seed " << seed << ", level " << caps.level << "\n"
        << text;
    // The oracle must see a single wrong element.
    if (!whole.empty()) {
      Bytes wrong = whole;
      wrong.back() ^= 0x40;
      changed += generic.check(wrong) != "";
      ++nonEmpty;
    }
    EXPECT_EQ(whole, run(false, 1)) << "seed " << seed << ": alignment";
    EXPECT_EQ(whole, run(true, 3)) << "seed " << seed << ": split of tasks";
  }
  // Not of the extreme integers that an empty maximum gives.
  EXPECT_GE(changed, nonEmpty - count / 20);
  EXPECT_GE(nonEmpty, count * 3 / 4);
}

//===----------------------------------------------------------------------===//
// Forms with a body of their own
//===----------------------------------------------------------------------===//

/// Runs a kernel at every level and hands the result to `check`.
template <typename Check>
static void runEverywhere(const std::string &text,
                          const std::vector<Bytes> &inputs, size_t resultBytes,
                          const std::vector<int64_t> &dims, Check check) {
  auto emitter = createGenericEmitter();
  for (const Capabilities &caps : getRunnableLevels()) {
    LoadedKernel kernel(text, *emitter, caps);
    ASSERT_TRUE(kernel.ok());
    SCOPED_TRACE(caps.level);
    for (bool atEnd : {true, false})
      check(kernel.run(inputs, {resultBytes}, dims, atEnd)[0]);
  }
}

TEST(GenericTest, GathersRows) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%ids: tensor<?xi64, affine_map<()[s0] -> (s0)>>, %table: tensor<50x37xf32>):
      %r = qcc.generic none ins(%ids : tensor<?xi64, affine_map<()[s0] -> (s0)>>)
          maps [affine_map<(d0, d1) -> (d0)>] whole(%table : tensor<50x37xf32>) {
      ^bb1(%id: i64, %t: tensor<50x37xf32>):
        %row = arith.index_cast %id : i64 to index
        %col = qcc.index 1
        %v = qcc.read %t[%row, %col] : tensor<50x37xf32> -> f32
        qcc.yield %v : f32
      } -> tensor<?x37xf32, affine_map<()[s0] -> (s0, 37)>>
      qcc.yield %r : tensor<?x37xf32, affine_map<()[s0] -> (s0, 37)>>
    })";
  Random random(2);
  std::vector<float> table = random.floats(50 * 37, -1, 1);
  std::vector<int64_t> ids = {0, 49, 7, 7, 23};
  runEverywhere(text, {toBytes(ids), toBytes(table)}, 5 * 37 * 4, {5},
                [&](const Bytes &bytes) {
                  std::vector<float> got = fromBytes<float>(bytes);
                  for (int i = 0; i < 5; ++i)
                    for (int j = 0; j < 37; ++j)
                      ASSERT_EQ(got[i * 37 + j], table[ids[i] * 37 + j]);
                });
}

TEST(GenericTest, PadsByClampedReads) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%x: tensor<5x19xf32>):
      %r = qcc.generic none maps [] whole(%x : tensor<5x19xf32>) {
      ^bb1(%t: tensor<5x19xf32>):
        %i = qcc.index 0
        %j = qcc.index 1
        %c0 = arith.constant 0 : index
        %c3 = arith.constant 3 : index
        %c18 = arith.constant 18 : index
        %s = arith.subi %j, %c3 : index
        %low = arith.maxsi %s, %c0 : index
        %at = arith.minsi %low, %c18 : index
        %inside = arith.cmpi eq, %at, %s : index
        %v = qcc.read %t[%i, %at] : tensor<5x19xf32> -> f32
        %zero = arith.constant 9.0 : f32
        %w = arith.select %inside, %v, %zero : f32
        qcc.yield %w : f32
      } -> tensor<5x27xf32>
      qcc.yield %r : tensor<5x27xf32>
    })";
  Random random(3);
  std::vector<float> x = random.floats(5 * 19, -1, 1);
  runEverywhere(text, {toBytes(x)}, 5 * 27 * 4, {}, [&](const Bytes &bytes) {
    std::vector<float> got = fromBytes<float>(bytes);
    for (int i = 0; i < 5; ++i)
      for (int j = 0; j < 27; ++j)
        ASSERT_EQ(got[i * 27 + j], j < 3 || j >= 22 ? 9.0f : x[i * 19 + j - 3]);
  });
}

TEST(GenericTest, TakesBranchesAndLoopsInBodies) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%x: tensor<41xf32>, %n: tensor<41xi32>):
      %r = qcc.generic none ins(%x, %n : tensor<41xf32>, tensor<41xi32>)
          maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] {
      ^bb1(%v: f32, %count: i32):
        %zero = arith.constant 0.0 : f32
        %positive = arith.cmpf ogt, %v, %zero : f32
        %w = scf.if %positive -> f32 {
          %c0 = arith.constant 0 : index
          %c1 = arith.constant 1 : index
          %upper = arith.index_cast %count : i32 to index
          %sum = scf.for %i = %c0 to %upper step %c1 iter_args(%acc = %zero) -> f32 {
            %next = arith.addf %acc, %v : f32
            scf.yield %next : f32
          }
          scf.yield %sum : f32
        } else {
          %neg = arith.negf %v : f32
          scf.yield %neg : f32
        }
        qcc.yield %w : f32
      } -> tensor<41xf32>
      qcc.yield %r : tensor<41xf32>
    })";
  Random random(4);
  std::vector<float> x = random.floats(41, -1, 1);
  std::vector<int32_t> n;
  for (int i = 0; i < 41; ++i)
    n.push_back(i % 4);
  runEverywhere(text, {toBytes(x), toBytes(n)}, 41 * 4, {},
                [&](const Bytes &bytes) {
                  std::vector<float> got = fromBytes<float>(bytes);
                  for (int i = 0; i < 41; ++i) {
                    float sum = 0;
                    for (int k = 0; k < n[i]; ++k)
                      sum += x[i];
                    ASSERT_EQ(got[i], x[i] > 0 ? sum : -x[i]);
                  }
                });
}

TEST(GenericTest, ReadsUnderConditions) {
  // A maximum over windows of 3 at stride 2 with padding of 1: reads outside of
  // the operand would fault.
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%x: tensor<6x51xf32>):
      %r = qcc.generic max maps [] whole(%x : tensor<6x51xf32>) over affine_map<() -> (3)> {
      ^bb1(%t: tensor<6x51xf32>):
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c2 = arith.constant 2 : index
        %c51 = arith.constant 51 : index
        %i = qcc.index 0
        %j = qcc.index 1
        %k = qcc.index 2
        %twice = arith.muli %j, %c2 : index
        %start = arith.subi %twice, %c1 : index
        %at = arith.addi %start, %k : index
        %low = arith.cmpi sge, %at, %c0 : index
        %high = arith.cmpi slt, %at, %c51 : index
        %inside = arith.andi %low, %high : i1
        %v = scf.if %inside -> f32 {
          %read = qcc.read %t[%i, %at] : tensor<6x51xf32> -> f32
          scf.yield %read : f32
        } else {
          %lowest = arith.constant 0xFF800000 : f32
          scf.yield %lowest : f32
        }
        qcc.yield %v : f32
      } -> tensor<6x26xf32>
      qcc.yield %r : tensor<6x26xf32>
    })";
  Random random(6);
  std::vector<float> x = random.floats(6 * 51, -1, 1);
  runEverywhere(text, {toBytes(x)}, 6 * 26 * 4, {}, [&](const Bytes &bytes) {
    std::vector<float> got = fromBytes<float>(bytes);
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < 26; ++j) {
        float expected = -INFINITY;
        for (int at = 2 * j - 1; at <= 2 * j + 1; ++at)
          if (at >= 0 && at < 51)
            expected = std::max(expected, x[i * 51 + at]);
        ASSERT_EQ(got[i * 26 + j], expected);
      }
  });
}

TEST(GenericTest, DividesIntegersWithoutTraps) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%x: tensor<4xi32>, %y: tensor<4xi32>):
      %r = qcc.generic none ins(%x, %y : tensor<4xi32>, tensor<4xi32>)
          maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] {
      ^bb1(%a: i32, %b: i32):
        %q = arith.divsi %a, %b : i32
        qcc.yield %q : i32
      } -> tensor<4xi32>
      qcc.yield %r : tensor<4xi32>
    })";
  std::vector<int32_t> x = {7, -7, INT32_MIN, 5}, y = {2, 2, -1, 0};
  runEverywhere(text, {toBytes(x), toBytes(y)}, 16, {},
                [&](const Bytes &bytes) {
                  std::vector<int32_t> got = fromBytes<int32_t>(bytes);
                  EXPECT_EQ(got[0], 3);
                  EXPECT_EQ(got[1], -3);
                });
}

TEST(GenericTest, ReadsBooleansAsZeroOrOne) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%c: tensor<37xi1>, %x: tensor<37xui8>, %y: tensor<37xui8>):
      %r = qcc.generic none ins(%c, %x, %y : tensor<37xi1>, tensor<37xui8>, tensor<37xui8>)
          maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] {
      ^bb1(%s: i1, %a: i8, %b: i8):
        %v = arith.select %s, %a, %b : i8
        %c7 = arith.constant 7 : i8
        %w = arith.cmpi ugt, %v, %c7 : i8
        qcc.yield %w : i1
      } -> tensor<37xi1>
      qcc.yield %r : tensor<37xi1>
    })";
  std::vector<uint8_t> c, x, y;
  for (int i = 0; i < 37; ++i) {
    c.push_back(i % 3 == 0 ? 0 : i); // any byte but 0 is true
    x.push_back(7 * i);
    y.push_back(255 - i);
  }
  runEverywhere(text, {toBytes(c), toBytes(x), toBytes(y)}, 37, {},
                [&](const Bytes &bytes) {
                  std::vector<uint8_t> got = fromBytes<uint8_t>(bytes);
                  for (int i = 0; i < 37; ++i)
                    ASSERT_EQ(got[i], (c[i] ? x[i] : y[i]) > 7 ? 1 : 0) << i;
                });
}

TEST(GenericTest, ComputesSmallFloatsInF32) {
  for (std::string type : {"f16", "bf16"}) {
    std::string tensor = "tensor<21x" + type + ">";
    std::string text =
        "qcc.kernel @k {} {\n^bb0(%x: " + tensor + ", %y: " + tensor +
        "):\n  %r = qcc.generic none ins(%x, %y : " + tensor + ", " + tensor +
        ") maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] {\n"
        "  ^bb1(%a: " +
        type + ", %b: " + type +
        "):\n"
        "    %p = arith.mulf %a, %b : " +
        type +
        "\n"
        "    %w = arith.extf %p : " +
        type +
        " to f32\n"
        "    qcc.yield %w : f32\n  } -> tensor<21xf32>\n"
        "  qcc.yield %r : tensor<21xf32>\n}";
    // 1 + i/16 has an exact form in both.
    std::vector<uint16_t> x;
    std::vector<float> exact;
    for (int i = 0; i < 21; ++i) {
      float value = 1.0f + static_cast<float>(i % 8) / 16;
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      x.push_back(type == "bf16" ? bits >> 16
                                 : 0x3C00 + (i % 8) * 64); // 2^10 / 16
      exact.push_back(value);
    }
    runEverywhere(text, {toBytes(x), toBytes(x)}, 21 * 4, {},
                  [&](const Bytes &bytes) {
                    std::vector<float> got = fromBytes<float>(bytes);
                    float step = type == "bf16" ? 0x1p-7f : 0x1p-10f;
                    for (int i = 0; i < 21; ++i) {
                      float product = exact[i] * exact[i];
                      float unit = product >= 2 ? 2 * step : step;
                      ASSERT_EQ(got[i], std::nearbyint(product / unit) * unit);
                    }
                  });
  }
}

TEST(GenericTest, PropagatesNaNThroughMaximum) {
  const char *text = R"(
    qcc.kernel @k {} {
    ^bb0(%x: tensor<3x70xf32>):
      %r = qcc.generic max ins(%x : tensor<3x70xf32>)
          maps [affine_map<(d0, d1) -> (d0, d1)>] over affine_map<() -> (70)> {
      ^bb1(%v: f32):
        qcc.yield %v : f32
      } -> tensor<3xf32>
      qcc.yield %r : tensor<3xf32>
    })";
  std::vector<float> x(210, -5.0f);
  x[69] = NAN;
  x[70 + 33] = INFINITY;
  runEverywhere(text, {toBytes(x)}, 12, {}, [&](const Bytes &bytes) {
    std::vector<float> got = fromBytes<float>(bytes);
    EXPECT_TRUE(std::isnan(got[0]));
    EXPECT_EQ(got[1], INFINITY);
    EXPECT_EQ(got[2], -5.0f);
  });
}

//===----------------------------------------------------------------------===//
// Transposes in tiles
//===----------------------------------------------------------------------===//

/// A kernel [B, M, N] -> [B, N, M] of elements of `type`, plus an operand that
/// is read directly if `adds`; M symbolic.
static std::string getTransposeText(const std::string &type, int64_t n,
                                    bool adds) {
  std::string size = std::to_string(n);
  std::string in = "tensor<3x?x" + size + "x" + type +
                   ", affine_map<()[s0] -> (3, s0, " + size + ")>>";
  std::string out = "tensor<3x" + size + "x?x" + type +
                    ", affine_map<()[s0] -> (3, " + size + ", s0)>>";
  std::string text = "qcc.kernel @k {} {\n^bb0(%x: " + in;
  if (adds)
    text += ", %y: " + out;
  text += "):\n  %r = qcc.generic none ins(%x" +
          std::string(adds ? ", %y" : "") + " : " + in +
          (adds ? ", " + out : "") +
          ") maps [affine_map<(d0, d1, d2) -> (d0, d2, d1)>" +
          (adds ? ", affine_map<(d0, d1, d2) -> (d0, d1, d2)>" : "") + "] {\n";
  std::string scalar = type == "ui8" ? "i8" : type;
  if (adds)
    text += "  ^bb1(%a: " + scalar + ", %b: " + scalar +
            "):\n    %c = arith.addf %a, %b : " + scalar +
            "\n    qcc.yield %c : " + scalar;
  else
    text += "  ^bb1(%a: " + scalar + "):\n    qcc.yield %a : " + scalar;
  return text + "\n  } -> " + out + "\n  qcc.yield %r : " + out + "\n}";
}

template <typename T>
static void checkTranspose(const std::string &type, int64_t n, bool adds) {
  auto emitter = createTileEmitter();
  for (const Capabilities &caps : getRunnableLevels()) {
    if (!caps.vectorBits)
      continue;
    SCOPED_TRACE(caps.level + " " + type + " " + std::to_string(n));
    LoadedKernel kernel(getTransposeText(type, n, adds), *emitter, caps);
    ASSERT_TRUE(kernel.ok());
    for (int64_t m : {0, 1, 8, 16, 40, 77, 200}) {
      std::vector<T> x(3 * m * n), y(3 * m * n);
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<T>(i * 7 % 251);
        y[i] = static_cast<T>(i * 3 % 100);
      }
      std::vector<Bytes> inputs = {toBytes(x)};
      if (adds)
        inputs.push_back(toBytes(y));
      Bytes whole = kernel.run(inputs, {x.size() * sizeof(T)}, {m})[0];
      EXPECT_EQ(whole,
                kernel.run(inputs, {x.size() * sizeof(T)}, {m}, false, 3)[0]);
      std::vector<T> got = fromBytes<T>(whole);
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t j = 0; j < n; ++j)
          for (int64_t k = 0; k < m; ++k) {
            int64_t at = (i * n + j) * m + k;
            T expected = x[(i * m + k) * n + j];
            if (adds)
              expected = static_cast<T>(expected + y[at]);
            ASSERT_EQ(got[at], expected) << i << " " << j << " " << k;
          }
    }
  }
}

TEST(TileTest, Transposes) {
  checkTranspose<float>("f32", 16, false);
  checkTranspose<float>("f32", 50, true);
  checkTranspose<float>("f32", 9, false);
  checkTranspose<float>("f32", 130, false);
  checkTranspose<uint8_t>("ui8", 9, false);
  checkTranspose<uint8_t>("ui8", 33, false);
  checkTranspose<uint8_t>("ui8", 66, false);
  checkTranspose<int8_t>("i8", 100, false);
  checkTranspose<int64_t>("i64", 17, false);
  checkTranspose<double>("f64", 20, true);
}

/// [2, channels, s0] -> codes [2, s0, channels], with a bias per channel.
static std::string getQuantizeText(int64_t channels) {
  std::string n = std::to_string(channels);
  std::string in = "tensor<2x" + n + "x?xf32, affine_map<()[s0] -> (2, " + n +
                   ", s0)>>",
              bias = "tensor<" + n + "x1xf32>",
              out = "tensor<2x?x" + n + "xui8, affine_map<()[s0] -> (2, s0, " +
                    n + ")>>";
  return "qcc.kernel @k {} {\n^bb0(%x: " + in + ", %y: " + bias +
         "):\n  %r = qcc.generic none ins(%x, %y : " + in + ", " + bias +
         ") maps [affine_map<(d0, d1, d2) -> (d0, d2, d1)>, "
         "affine_map<(d0, d1, d2) -> (d2, 0)>] {\n"
         "  ^bb1(%a: f32, %b: f32):\n"
         "    %zero = arith.constant 0.0 : f32\n"
         "    %most = arith.constant 255.0 : f32\n"
         "    %scale = arith.constant 0.3 : f32\n"
         "    %c = arith.addf %a, %b : f32\n"
         "    %d = arith.divf %c, %scale : f32\n"
         "    %e = arith.maxnumf %d, %zero : f32\n"
         "    %f = arith.minnumf %e, %most : f32\n"
         "    %g = math.roundeven %f : f32\n"
         "    %h = arith.fptosi %g : f32 to i32\n"
         "    %i = arith.trunci %h : i32 to i8\n"
         "    qcc.yield %i : i8\n  } -> " +
         out + "\n  qcc.yield %r : " + out + "\n}";
}

// Bytes are transposed after they are computed.
TEST(TileTest, QuantizesAndPermutes) {
  auto emitter = createTileEmitter();
  for (const Capabilities &caps : getRunnableLevels())
    for (int64_t channels : {8, 15, 64}) {
      if (!caps.vectorBits)
        continue;
      SCOPED_TRACE(caps.level + " " + std::to_string(channels));
      LoadedKernel kernel(getQuantizeText(channels), *emitter, caps);
      ASSERT_TRUE(kernel.ok());
      for (int64_t m : {0, 1, 9, 31, 32, 33, 64, 77, 96, 200, 2000}) {
        std::vector<float> x(2 * channels * m), bias(channels);
        for (size_t i = 0; i < x.size(); ++i)
          x[i] = 0.15f * float(int64_t(i * 7 % 601) - 40);
        if (m > 4) {
          x[1] = std::numeric_limits<float>::quiet_NaN();
          x[2] = std::numeric_limits<float>::infinity();
          x[3] = -x[2];
        }
        for (int64_t i = 0; i < channels; ++i)
          bias[i] = 0.3f * float(i % 4);
        std::vector<Bytes> inputs = {toBytes(x), toBytes(bias)};
        Bytes got = kernel.run(inputs, {x.size()}, {m})[0];
        EXPECT_EQ(got, kernel.run(inputs, {x.size()}, {m}, false, 3)[0]);
        std::vector<uint8_t> codes = fromBytes<uint8_t>(got);
        for (int64_t i = 0; i < 2; ++i)
          for (int64_t p = 0; p < m; ++p)
            for (int64_t c = 0; c < channels; ++c) {
              float value = (x[(i * channels + c) * m + p] + bias[c]) / 0.3f;
              float limited = std::fmin(std::fmax(value, 0.0f), 255.0f);
              ASSERT_EQ(codes[(i * m + p) * channels + c],
                        uint8_t(std::nearbyint(limited)))
                  << i << " " << p << " " << c;
            }
      }
    }
}

// A bias per channel of a convolution keeps its two dimensions of one element.
TEST(TileTest, ReadsABiasWithDimensionsOfOneElement) {
  std::string in = "tensor<?x20xf32, affine_map<()[s0] -> (s0, 20)>>",
              bias = "tensor<?x1x1xf32, affine_map<()[s0] -> (s0, 1, 1)>>",
              out = "tensor<20x?xf32, affine_map<()[s0] -> (20, s0)>>";
  std::string text =
      "qcc.kernel @k {} {\n^bb0(%x: " + in + ", %y: " + bias +
      "):\n  %r = qcc.generic none ins(%x, %y : " + in + ", " + bias +
      ") maps [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d1, "
      "0, 0)>] {\n  ^bb1(%a: f32, %b: f32):\n    %c = arith.addf %a, %b : "
      "f32\n    qcc.yield %c : f32\n  } -> " +
      out + "\n  qcc.yield %r : " + out + "\n}";
  auto emitter = createTileEmitter();
  for (const Capabilities &caps : getRunnableLevels()) {
    if (!caps.vectorBits)
      continue;
    SCOPED_TRACE(caps.level);
    LoadedKernel kernel(text, *emitter, caps);
    ASSERT_TRUE(kernel.ok());
    for (int64_t n : {1, 8, 16, 77}) {
      std::vector<float> x(20 * n), y(n);
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = float(i * 7 % 251);
      for (size_t i = 0; i < y.size(); ++i)
        y[i] = float(i) / 4;
      std::vector<float> got = fromBytes<float>(
          kernel.run({toBytes(x), toBytes(y)}, {x.size() * 4}, {n})[0]);
      for (int64_t i = 0; i < 20; ++i)
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(got[i * n + j], x[j * 20 + i] + y[j]) << i << " " << j;
    }
  }
}

//===----------------------------------------------------------------------===//
// Tiny last dimensions
//===----------------------------------------------------------------------===//

template <typename T>
static void checkInterleave(const std::string &type, int64_t factor) {
  // Depth to space along one dimension: [F, H, W] -> [H, W, F].
  std::string f = std::to_string(factor);
  std::string in = "tensor<" + f + "x5x?x" + type + ", affine_map<()[s0] -> (" +
                   f + ", 5, s0)>>";
  std::string out = "tensor<5x?x" + f + "x" + type +
                    ", affine_map<()[s0] -> (5, s0, " + f + ")>>";
  std::string scalar = type == "ui8" ? "i8" : type;
  std::string text =
      "qcc.kernel @k {} {\n^bb0(%x: " + in +
      "):\n  %r = qcc.generic none ins(%x : " + in +
      ") maps [affine_map<(d0, d1, d2) -> (d2, d0, d1)>] {\n  ^bb1(%a: " +
      scalar + "):\n    qcc.yield %a : " + scalar + "\n  } -> " + out +
      "\n  qcc.yield %r : " + out + "\n}";
  auto emitter = createInterleaveEmitter();
  for (const Capabilities &caps : getRunnableLevels()) {
    if (!caps.vectorBits)
      continue;
    SCOPED_TRACE(caps.level + "\n" + text);
    LoadedKernel kernel(text, *emitter, caps);
    ASSERT_TRUE(kernel.ok());
    for (int64_t width : {0, 1, 16, 53}) {
      std::vector<T> x(factor * 5 * width);
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<T>(i * 7 % 251);
      size_t bytes = x.size() * sizeof(T);
      Bytes whole = kernel.run({toBytes(x)}, {bytes}, {width})[0];
      EXPECT_EQ(whole, kernel.run({toBytes(x)}, {bytes}, {width}, false, 2)[0]);
      std::vector<T> got = fromBytes<T>(whole);
      for (int64_t h = 0; h < 5; ++h)
        for (int64_t w = 0; w < width; ++w)
          for (int64_t k = 0; k < factor; ++k)
            ASSERT_EQ(got[(h * width + w) * factor + k],
                      x[(k * 5 + h) * width + w]);
    }
  }
}

TEST(InterleaveTest, JoinsTwoToFourVectors) {
  checkInterleave<float>("f32", 2);
  checkInterleave<float>("f32", 3);
  checkInterleave<uint8_t>("ui8", 4);
  checkInterleave<int64_t>("i64", 2);
}
