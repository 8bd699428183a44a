//===- SchemeCheck.cpp - whether the parts of a scheme agree ----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Scheme/SchemeCheck.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"
#include "qcc/Scheme/StoredFloats.h"
#include "qcc/Support/Diagnostics.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace qcc;

namespace {
/// Numbers that are the same on each machine: sines of growing phases.
float sample(size_t i) { return float(std::sin(double(i) * double(i) + 0.5)); }

std::string print(double number) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%g", number);
  return text;
}

/// Checks one scheme; the first problem is kept.
class SchemeChecker {
public:
  SchemeChecker(const Scheme &scheme, MLIRContext &context)
      : scheme(scheme), context(context), unit(scheme.getUnit()),
        isFloat(scheme.getCompute() == SchemeCompute::Float) {}
  llvm::Error run();

private:
  /// Each returns false, with `problem` set.
  bool fail(const llvm::Twine &text) {
    problem = text.str();
    return false;
  }
  bool checkValues(const GroupAffine &affine);
  bool checkChoice(ArrayRef<float> weights, ArrayRef<float> importance,
                   StringRef what);
  bool checkCodes(ArrayRef<float> weights, const GroupAffine &affine);
  bool checkMaps();
  bool checkDecode();
  bool checkRows(ArrayRef<Value> rows);
  bool compareRows(ArrayRef<DenseElementsAttr> rows);
  /// Stores a unit of samples; `stored` is what rows of float compute are.
  SmallVector<char> store();

  const Scheme &scheme;
  MLIRContext &context;
  CodeUnit unit;
  bool isFloat;
  SmallVector<uint8_t> codes; ///< [unit.k][16]
  SmallVector<float> stored;  ///< [unit.k][16]
  std::string problem;
};

/// Notes tables that lookup() cannot read instead of building from them.
class CheckedBuilder final : public DecodeBuilder {
public:
  using DecodeBuilder::DecodeBuilder;
  Value lookup(ArrayRef<float> table, Value indices) override {
    auto type = dyn_cast<VectorType>(indices.getType());
    if (!type || !type.getElementType().isInteger(32))
      problem = "decode() to look up a vector of i32 indices";
    else if (!llvm::isPowerOf2_64(table.size()) || table.size() > 256)
      problem = "decode() to look up in a table whose size is a power of two "
                "of at most 256, but got " +
                std::to_string(table.size()) + " numbers";
    else
      return DecodeBuilder::lookup(table, indices);
    return splat(VectorType::get(kSchemeColumns, getF32Type()), 0);
  }
  std::string problem;
};
} // namespace

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

/// Equal but for what a different order of roundings makes.
static bool isNear(float a, float b, float largest) {
  return std::fabs(a - b) <= 1e-5f * largest;
}

bool SchemeChecker::checkValues(const GroupAffine &affine) {
  for (unsigned code = 0; code <= scheme.getMaxCode(); ++code) {
    float got = scheme.value(uint8_t(code), affine),
          linear = affine.scale * float(int32_t(code) - affine.zero),
          unscaled = scheme.value(uint8_t(code), {1, affine.zero});
    if (scheme.isLinear() && !isNear(got, linear, std::fabs(linear)))
      return fail("expected value(" + llvm::Twine(code) +
                  ") to be scale * (code - zero) = " + print(linear) +
                  ", as isLinear() is true, but got " + print(got) +
                  "; override isLinear() to return false for other numbers");
    if (!std::isfinite(got) || !isNear(got, affine.scale * unscaled,
                                       std::fabs(affine.scale * unscaled)))
      return fail("expected value(" + llvm::Twine(code) +
                  ") to be scale times a number of the code, " +
                  print(affine.scale * unscaled) + ", but got " + print(got));
  }
  return true;
}

bool SchemeChecker::checkCodes(ArrayRef<float> weights,
                               const GroupAffine &affine) {
  std::vector<uint8_t> assigned(weights.size(), 0);
  scheme.assign(weights, affine, assigned);
  float largest = 0;
  for (unsigned code = 0; code <= scheme.getMaxCode(); ++code)
    largest = std::max(largest, std::fabs(scheme.value(uint8_t(code), affine)));
  for (auto [weight, got] : llvm::zip_equal(weights, assigned)) {
    if (got > scheme.getMaxCode())
      return fail("expected assign() to give codes of at most getMaxCode() = " +
                  llvm::Twine(scheme.getMaxCode()) + ", but got " + print(got));
    if (affine.scale == 0 && got != affine.zero)
      return fail("expected assign() to give the code of zero, " +
                  llvm::Twine(affine.zero) +
                  ", where the scale is 0, but got " + print(got));
    float error = std::fabs(scheme.value(got, affine) - weight);
    for (unsigned code = 0; code <= scheme.getMaxCode(); ++code) {
      float other = std::fabs(scheme.value(uint8_t(code), affine) - weight);
      // Two codes may be equally near but for roundings.
      if (other + 1e-3f * largest < error)
        return fail("expected assign() to give the nearest code to " +
                    print(weight) + ", " + llvm::Twine(code) + ", but got " +
                    print(got));
    }
  }
  return true;
}

bool SchemeChecker::checkChoice(ArrayRef<float> weights,
                                ArrayRef<float> importance, StringRef what) {
  GroupAffine affine = scheme.choose(weights, importance);
  std::optional<int32_t> zero = scheme.getZero();
  if (!std::isfinite(affine.scale))
    return fail("expected choose() to give a finite scale for " + what +
                ", but got " + print(affine.scale));
  if (affine.scale != 0 &&
      llvm::all_of(weights, [](float w) { return w == 0; }))
    return fail("expected choose() to give scale 0 for " + what + ", but got " +
                print(affine.scale));
  if (zero && affine.zero != *zero)
    return fail("expected choose() to give getZero() = " + llvm::Twine(*zero) +
                " as the zero, but got " + llvm::Twine(affine.zero));
  if (affine.zero < 0 || affine.zero > int32_t(scheme.getMaxCode()))
    return fail("expected choose() to give a zero from 0 to getMaxCode() = " +
                llvm::Twine(scheme.getMaxCode()) + ", but got " +
                llvm::Twine(affine.zero));
  return checkValues(affine) && checkCodes(weights, affine);
}

bool SchemeChecker::checkMaps() {
  // As many rows as a group has, fewer as in a last group, one.
  int64_t group = scheme.getGroup();
  size_t rows = size_t(group ? std::min<int64_t>(group, 256) : 64);
  std::vector<float> weights(rows), ones(rows, 1.0f), zeros(rows, 0.0f);
  for (auto [i, weight] : llvm::enumerate(weights))
    weight = sample(i);
  ArrayRef<float> all(weights);
  if (scheme.choose(all, {}).scale == 0)
    return fail("expected choose() to give a scale other than 0 for sample "
                "weights from -1 to 1, but got 0");
  return checkChoice(all, {}, "sample weights") &&
         checkChoice(all, ones, "sample weights with importance") &&
         checkChoice(all.take_front(rows / 2 + 1), {}, "a short group") &&
         checkChoice(all.take_front(1), {}, "one weight") &&
         checkChoice(zeros, {}, "weights that are all 0");
}

//===----------------------------------------------------------------------===//
// Stored bytes
//===----------------------------------------------------------------------===//

SmallVector<char> SchemeChecker::store() {
  size_t count = size_t(unit.k) * kSchemeColumns;
  SmallVector<char> bytes(unit.bytes, 0);
  if (const auto *floats = dyn_cast<StoredFloatScheme>(&scheme)) {
    for (size_t i = 0; i < count; ++i)
      stored.push_back(floats->round(sample(i)));
    floats->store(stored, bytes);
    return bytes;
  }
  uint32_t state = 1;
  int32_t zero = scheme.getZero().value_or(0);
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    codes.push_back(uint8_t((state >> 16) % (scheme.getMaxCode() + 1)));
    stored.push_back(scheme.isLinear() ? float(codes.back())
                                       : scheme.value(codes.back(), {1, zero}));
  }
  scheme.pack(codes, bytes);
  return bytes;
}

bool SchemeChecker::checkRows(ArrayRef<Value> rows) {
  Builder b(&context);
  auto type = isFloat ? VectorType::get(kSchemeColumns, b.getF32Type())
                      : VectorType::get(4 * kSchemeColumns, b.getI8Type());
  unsigned count = isFloat ? unit.k : unit.k / 4;
  std::string wanted;
  llvm::raw_string_ostream os(wanted);
  os << "expected decode() to give " << count << " vectors of type " << type
     << " for " << (isFloat ? "float" : "integer") << " compute, but got ";
  if (rows.size() != count) {
    os << rows.size();
    return fail(wanted);
  }
  for (auto [i, row] : llvm::enumerate(rows))
    if (!row || row.getType() != type) {
      if (row)
        os << row.getType();
      else
        os << "no value";
      os << " as vector " << i;
      return fail(wanted);
    }
  return true;
}

bool SchemeChecker::compareRows(ArrayRef<DenseElementsAttr> rows) {
  float largest = 0;
  for (float value : stored)
    largest = std::max(largest, std::fabs(value));
  for (unsigned row = 0; row < unit.k; ++row)
    for (unsigned column = 0; column < kSchemeColumns; ++column) {
      size_t at = size_t(row) * kSchemeColumns + column;
      float got = 0, want = isFloat ? stored[at] : float(codes[at]);
      if (isFloat)
        got = rows[row].getValues<APFloat>()[column].convertToFloat();
      else
        got = float(rows[row / 4]
                        .getValues<APInt>()[4 * column + row % 4]
                        .getZExtValue());
      if (!isNear(got, want, isFloat ? largest : 0))
        return fail("expected decode() of what pack() stored to give " +
                    print(want) + " for row " + llvm::Twine(row) +
                    " and column " + llvm::Twine(column) + " of a unit (" +
                    (isFloat && !scheme.isLinear() ? "value() with scale 1"
                                                   : "the code") +
                    "), but got " + print(got));
    }
  return true;
}

bool SchemeChecker::checkDecode() {
  SmallVector<char> bytes = store();
  Location loc = UnknownLoc::get(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  CheckedBuilder b(loc, &context);
  b.setInsertionPointToStart(module->getBody());
  auto type = VectorType::get(int64_t(bytes.size()), b.getI8Type());
  Value constant = arith::ConstantOp::create(
      b, DenseElementsAttr::getFromRawBuffer(type, bytes));
  SmallVector<Value> rows = scheme.decode(b, constant);
  if (!b.problem.empty())
    return fail("expected " + b.problem);
  if (!checkRows(rows))
    return false;
  std::string text;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    if (text.empty())
      text = diagnostic.str();
    return success();
  });
  if (failed(verify(*module)))
    return fail("expected decode() to build valid operations, but got " + text);
  auto values = evaluateConstants(*module->getBody(), rows);
  return !values || compareRows(*values);
}

llvm::Error SchemeChecker::run() {
  bool hasCodes = !isa<StoredFloatScheme>(scheme);
  if ((hasCodes && !checkMaps()) || !checkDecode())
    return makeError(Diag::BadPlugin, "scheme '" + scheme.getKey() + "'",
                     problem);
  return llvm::Error::success();
}

llvm::Error qcc::checkScheme(const Scheme &scheme, MLIRContext &context) {
  return SchemeChecker(scheme, context).run();
}
