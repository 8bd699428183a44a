//===- SchemeCheckTest.cpp - schemes whose parts disagree -------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/SchemeCheck.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/MLIRContext.h"
#include "qcc/Scheme/BitFields.h"
#include "gtest/gtest.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {

/// A right scheme of 4 bits with one fault.
class Faulty : public Scheme {
public:
  explicit Faulty(StringRef fault, std::optional<int32_t> zero = 8)
      : fault(fault), zero(zero) {}
  StringRef getKey() const override { return "faulty"; }
  StringRef getSummary() const override { return "4 bits"; }
  unsigned getWeightBits() const override { return 4; }
  SchemeCompute getCompute() const override {
    return is("integer") ? SchemeCompute::Integer : SchemeCompute::Float;
  }
  int64_t getGroup() const override { return 32; }
  CodeUnit getUnit() const override { return fields.getUnit(); }
  unsigned getMaxCode() const override { return 15; }
  std::optional<int32_t> getZero() const override { return zero; }
  bool isLinear() const override { return !is("stepped"); }

  GroupAffine choose(ArrayRef<float> weights, ArrayRef<float>) const override {
    float most = 0;
    for (float weight : weights)
      most = std::max(most, std::fabs(weight));
    if (is("scale"))
      return {NAN, 8};
    if (is("scale of zeros"))
      return {most == 0 ? 1 : most / 8, 8};
    return {is("no scale") ? 0 : most / 8, is("zero")         ? 99
                                           : is("wrong zero") ? 3
                                                              : 8};
  }
  void assign(ArrayRef<float> weights, const GroupAffine &affine,
              MutableArrayRef<uint8_t> codes) const override {
    if (is("large codes"))
      llvm::fill(codes, 200);
    else if (!is("no codes"))
      Scheme::assign(weights, affine, codes);
  }
  float value(uint8_t code, const GroupAffine &affine) const override {
    bool isTable = is("table") || is("stepped");
    return affine.scale * (isTable ? float(code) * float(code) - 64
                                   : float(code) - float(affine.zero));
  }
  void pack(ArrayRef<uint8_t> codes,
            MutableArrayRef<char> bytes) const override {
    if (!is("pack"))
      fields.pack(codes, bytes);
  }
  SmallVector<Value> decode(DecodeBuilder &b, Value bytes) const override {
    auto f32 = VectorType::get(16, b.getF32Type());
    SmallVector<Value> rows = fields.unpack(b, bytes);
    if (is("i32"))
      return rows;
    if (is("invalid"))
      arith::NegFOp::create(b, bytes);
    for (Value &row : rows) {
      if (is("odd table"))
        row = b.lookup({1, 2, 3}, row);
      else
        row = arith::UIToFPOp::create(b, f32, row);
      if (is("stepped"))
        row = arith::SubFOp::create(b, arith::MulFOp::create(b, row, row),
                                    b.splat(f32, 64));
      if (is("exp2"))
        row = math::Log2Op::create(b, math::Exp2Op::create(b, row));
      if (is("unknown"))
        row = vector::FMAOp::create(b, row, row, row);
    }
    if (is("few"))
      rows.pop_back();
    if (is("null"))
      rows[0] = {};
    if (is("order"))
      std::reverse(rows.begin(), rows.end());
    return rows;
  }

private:
  bool is(StringRef name) const { return fault == name; }
  BitFields fields{4};
  StringRef fault;
  std::optional<int32_t> zero;
};

struct SchemeCheckTest : testing::Test {
  SchemeCheckTest() {
    DialectRegistry registry;
    registry.insert<QCCDialect, arith::ArithDialect, math::MathDialect,
                    vector::VectorDialect>();
    registerSchemes(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }
  std::string check(StringRef fault, std::optional<int32_t> zero = 8) {
    return llvm::toString(checkScheme(Faulty(fault, zero), context));
  }
  bool finds(StringRef fault, StringRef text) {
    std::string problem = check(fault);
    EXPECT_NE(problem.find("scheme 'faulty': expected"), std::string::npos)
        << fault.str() << ": " << problem;
    bool found = StringRef(problem).contains(text);
    EXPECT_TRUE(found) << fault.str() << ": " << problem;
    return found;
  }
  MLIRContext context{MLIRContext::Threading::DISABLED};
};

} // namespace

TEST_F(SchemeCheckTest, SchemesOfTheTreeAgree) {
  for (const Scheme *scheme : getSchemes(&context).all())
    EXPECT_EQ(llvm::toString(checkScheme(*scheme, context)), "");
}

TEST_F(SchemeCheckTest, TheSchemesOfTheTreeAreEvaluated) {
  for (const Scheme *scheme : getSchemes(&context).all()) {
    Location loc = UnknownLoc::get(&context);
    OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
    DecodeBuilder b(loc, &context);
    b.setInsertionPointToStart(module->getBody());
    auto type = VectorType::get(scheme->getUnit().bytes, b.getI8Type());
    SmallVector<Value> rows = scheme->decode(b, b.splat(type, 0));
    EXPECT_TRUE(evaluateConstants(*module->getBody(), rows))
        << scheme->getKey().str();
  }
}

TEST_F(SchemeCheckTest, RightSchemesPass) {
  EXPECT_EQ(check(""), "");
  EXPECT_EQ(check("", std::nullopt), "") << "zeros of its own";
  EXPECT_EQ(check("stepped"), "") << "not linear";
  EXPECT_EQ(check("exp2"), "") << "folds of scalars";
  EXPECT_EQ(check("unknown"), "") << "nothing evaluates it";
}

TEST_F(SchemeCheckTest, MapsAndCodesAreChecked) {
  finds("table", "expected value(0) to be scale * (code - zero)");
  finds("table", "override isLinear()");
  finds("scale", "expected choose() to give a finite scale for sample "
                 "weights, but got nan");
  finds("no scale", "a scale other than 0 for sample weights");
  finds("scale of zeros", "scale 0 for weights that are all 0, but got 1");
  finds("zero", "expected choose() to give getZero() = 8 as the zero, but got "
                "99");
  finds("wrong zero", "but got 3");
  EXPECT_NE(check("zero", std::nullopt)
                .find("a zero from 0 to getMaxCode() = "
                      "15, but got 99"),
            std::string::npos);
  finds("large codes", "at most getMaxCode() = 15, but got 200");
  finds("no codes", "expected assign() to give the nearest code to");
}

TEST_F(SchemeCheckTest, DecodesAreChecked) {
  finds("pack", "expected decode() of what pack() stored to give");
  finds("order", "expected decode() of what pack() stored to give");
  finds("few", "expected decode() to give 8 vectors of type vector<16xf32> for "
               "float compute, but got 7");
  finds("null", "but got no value as vector 0");
  finds("i32", "but got vector<16xi32> as vector 0");
  finds("integer", "expected decode() to give 2 vectors of type "
                   "vector<64xi8> for integer compute, but got 8");
  finds("odd table", "a power of two of at most 256, but got 3 numbers");
  finds("invalid", "expected decode() to build valid operations, but got");
}
