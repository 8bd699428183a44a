//===- ConstEvalTest.cpp - constant expressions on rows ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Dialect/QCC/ConstEval.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <map>
#include <random>

using namespace qcc;

namespace {

/// Parameters by key, at odd addresses.
class Parameters {
public:
  template <typename T>
  void add(const std::string &key, const std::vector<T> &values) {
    std::vector<char> &bytes = files[key];
    bytes.resize(1 + values.size() * sizeof(T));
    std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));
  }
  llvm::ArrayRef<char> get(llvm::StringRef key) const {
    return llvm::ArrayRef(files.at(key.str())).drop_front();
  }

private:
  std::map<std::string, std::vector<char>> files;
};

/// Evaluates what a function without arguments returns.
template <typename T>
std::vector<T> evaluate(const std::string &body, const Parameters &parameters) {
  mlir::MLIRContext context;
  context.loadDialect<QCCDialect, mlir::func::FuncDialect,
                      mlir::arith::ArithDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(body, &context);
  EXPECT_TRUE(module);
  auto func = *module->getOps<mlir::func::FuncOp>().begin();
  mlir::Value value = func.getBody().front().getTerminator()->getOperand(0);
  std::vector<T> result(getTensorBytes(value.getType()).value() / sizeof(T));
  ConstSource source;
  source.parameter = [&](llvm::StringRef key) { return parameters.get(key); };
  EXPECT_FALSE(llvm::errorToBool(evaluateConstant(
      value, source,
      {reinterpret_cast<char *>(result.data()), result.size() * sizeof(T)})));
  return result;
}

std::vector<float> makeNumbers(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

TEST(ConstEval, RowsOfFloatsHaveTheBitsOfScalars) {
  // Rows longer than what is computed at once, operands read along, across and
  // not at all.
  constexpr size_t kRows = 3, kColumns = 1300;
  std::vector<float> a = makeNumbers(1, kRows * kColumns),
                     b = makeNumbers(2, kRows), c = makeNumbers(3, kColumns),
                     d = makeNumbers(4, kRows * kColumns);
  a[5] = INFINITY;
  c[7] = 0;
  Parameters parameters;
  parameters.add("a", a);
  parameters.add("b", b);
  parameters.add("c", c);
  parameters.add("d", d);
  std::vector<float> result = evaluate<float>(R"mlir(
    func.func @f() -> tensor<3x1300xf32> {
      %a = qcc.param "a" : tensor<3x1300xf32>
      %b = qcc.param "b" : tensor<3xf32>
      %c = qcc.param "c" : tensor<1300xf32>
      %d = qcc.param "d" : tensor<1300x3xf32>
      %0 = qcc.generic none ins(%a, %b, %c, %d : tensor<3x1300xf32>, tensor<3xf32>, tensor<1300xf32>, tensor<1300x3xf32>)
          maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>,
                affine_map<(d0, d1) -> (d1)>, affine_map<(d0, d1) -> (d1, d0)>] {
      ^bb0(%x: f32, %s: f32, %t: f32, %y: f32):
        %k = arith.constant 2.5 : f32
        %1 = arith.mulf %x, %s : f32
        %2 = arith.divf %1, %t : f32
        %3 = arith.subf %2, %k : f32
        %4 = arith.addf %3, %y : f32
        qcc.yield %4 : f32
      } -> tensor<3x1300xf32>
      return %0 : tensor<3x1300xf32>
    })mlir",
                                              parameters);
  for (size_t i = 0; i < kRows; ++i)
    for (size_t j = 0; j < kColumns; ++j) {
      volatile float product = a[i * kColumns + j] * b[i];
      volatile float quotient = product / c[j];
      volatile float difference = quotient - 2.5f;
      volatile float sum = difference + d[j * kRows + i];
      ASSERT_EQ(0, std::memcmp(const_cast<float *>(&sum),
                               &result[i * kColumns + j], sizeof(float)))
          << i << " " << j;
    }
}

TEST(ConstEval, AnInputCanBeTheResultOfABody) {
  Parameters parameters;
  parameters.add<float>("a", {1, 2, 3, 4});
  parameters.add<float>("b", {5, 6});
  std::vector<float> result = evaluate<float>(R"mlir(
    func.func @f() -> tensor<2x2xf32> {
      %a = qcc.param "a" : tensor<2x2xf32>
      %b = qcc.param "b" : tensor<2xf32>
      %0 = qcc.generic none ins(%a, %b : tensor<2x2xf32>, tensor<2xf32>)
          maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>] {
      ^bb0(%x: f32, %y: f32):
        qcc.yield %y : f32
      } -> tensor<2x2xf32>
      return %0 : tensor<2x2xf32>
    })mlir",
                                              parameters);
  EXPECT_EQ(result, (std::vector<float>{5, 5, 6, 6}));
}

// More elements than are computed at once, with integers of several widths and
// indices that are divided.
TEST(ConstEval, BatchesOfIntegersAreWhatTheyMean) {
  constexpr int64_t kRows = 3, kColumns = 301, kBlocks = 10, kCycle = 7;
  std::vector<uint8_t> bytes(kRows * kColumns);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = uint8_t(i * 73 % 256);
  std::vector<float> scales = makeNumbers(5, kRows * kBlocks);
  std::vector<int32_t> cycle(kCycle);
  for (size_t i = 0; i < cycle.size(); ++i)
    cycle[i] = int32_t(i * i) - 20;
  Parameters parameters;
  parameters.add("bytes", bytes);
  parameters.add("scales", scales);
  parameters.add("cycle", cycle);
  std::vector<float> result = evaluate<float>(R"mlir(
    func.func @f() -> tensor<3x301xf32> {
      %a = qcc.param "bytes" : tensor<3x301xui8>
      %b = qcc.param "scales" : tensor<3x10xf32>
      %c = qcc.param "cycle" : tensor<7xi32>
      %0 = qcc.generic none ins(%a, %b, %c : tensor<3x301xui8>, tensor<3x10xf32>, tensor<7xi32>)
          maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1 floordiv 32)>,
                affine_map<(d0, d1) -> ((d0 + d1) mod 7)>] {
      ^bb0(%x: i8, %s: f32, %t: i32):
        %four = arith.constant 4 : i8
        %mask = arith.constant 6 : i32
        %high = arith.shrui %x, %four : i8
        %code = arith.trunci %high : i8 to i4
        %wide = arith.extui %code : i4 to i32
        %signed = arith.extsi %code : i4 to i32
        %i = qcc.index 1
        %column = arith.index_cast %i : index to i32
        %odd = arith.andi %column, %mask : i32
        %1 = arith.subi %wide, %t : i32
        %2 = arith.muli %1, %signed : i32
        %3 = arith.addi %2, %odd : i32
        %isLess = arith.cmpi slt, %3, %t : i32
        %4 = arith.select %isLess, %t, %3 : i32
        %5 = arith.sitofp %4 : i32 to f32
        %6 = arith.mulf %5, %s : f32
        qcc.yield %6 : f32
      } -> tensor<3x301xf32>
      return %0 : tensor<3x301xf32>
    })mlir",
                                              parameters);
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t j = 0; j < kColumns; ++j) {
      int32_t wide = bytes[size_t(i * kColumns + j)] >> 4,
              isSigned = wide < 8 ? wide : wide - 16,
              t = cycle[size_t((i + j) % kCycle)],
              sum = (wide - t) * isSigned + (int32_t(j) & 6);
      ASSERT_EQ(result[size_t(i * kColumns + j)],
                float(std::max(sum, t)) * scales[size_t(i * kBlocks + j / 32)])
          << i << " " << j;
    }
}

template <typename T> void checkTranspose(const std::string &type) {
  constexpr size_t kRows = 5, kColumns = 70;
  std::vector<T> values(kRows * kColumns);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = T(i * 37 % 120);
  Parameters parameters;
  parameters.add("w", values);
  std::string from = "tensor<5x70x" + type + ">",
              to = "tensor<70x5x" + type + ">";
  std::vector<T> result = evaluate<T>(
      "func.func @f() -> " + to + " {\n%w = qcc.param \"w\" : " + from +
          "\n%0 = qcc.generic none ins(%w : " + from +
          ") maps [affine_map<(d0, d1) -> (d1, d0)>] {\n^bb0(%x: " + type +
          "):\nqcc.yield %x : " + type + "\n} -> " + to +
          "\nreturn %0 : " + to + "\n}",
      parameters);
  for (size_t i = 0; i < kRows; ++i)
    for (size_t j = 0; j < kColumns; ++j)
      ASSERT_EQ(result[j * kRows + i], values[i * kColumns + j]) << type;
}

TEST(ConstEval, MovesElementsOfAllSizes) {
  checkTranspose<float>("f32");
  checkTranspose<double>("f64");
  checkTranspose<int8_t>("i8");
  checkTranspose<uint16_t>("f16");
  checkTranspose<int64_t>("i64");
}

} // namespace
