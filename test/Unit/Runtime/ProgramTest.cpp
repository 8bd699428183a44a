//===- ProgramTest.cpp - blobs written, read, and broken --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "qcc/Runtime/ProgramView.h"
#include "qcc/Runtime/ProgramWriter.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace qcc;
using runtime::ProgramView;

namespace {

/// A blob in memory aligned as a view wants it, with nothing behind its end.
class Blob {
public:
  explicit Blob(const std::vector<uint8_t> &bytes)
      : words((bytes.size() + 7) / 8), size(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), data());
  }
  uint8_t *data() { return reinterpret_cast<uint8_t *>(words.data()); }

  std::vector<uint64_t> words;
  size_t size;
};

SizeExpr constant(int64_t value) { return SizeExpr::constant(value); }

/// A program with something in every section.
std::vector<uint8_t> makeProgram() {
  ProgramWriter writer;
  writer.setModel("model", "producer 1.0", {});
  SizeExpr batch = SizeExpr::symbol(writer.addSymbol("batch", 1, 8));
  TensorDesc x{"x", 2, 32, {batch, constant(3)}};
  TensorDesc y{
      "y",
      2,
      32,
      {SizeExpr::binary(QCC_EXPR_CEILDIV, batch * constant(3), constant(2))}};
  writer.addEntry({"main", {x}, {y}, {{batch * constant(12), 0, 3}}});
  writer.addEntry(
      {"fixed", {}, {}, {{constant(100), 0, 1}, {constant(50), 1, 2}}});
  writer.addState({"state", 0, 64, {constant(2)}});
  writer.addKernel("kernel", 128, 2, 1);
  writer.addSite({0, 0, "node", "qcc.generic", batch, batch, {{y, 1}}});
  writer.addSite({0, QCC_NONE, "copy", "qcc.copy", batch, batch, {}});
  writer.addLevel("base", 0);
  WeightsDesc weights;
  weights.bytes = 64;
  weights.dataOffset = 4096;
  weights.file = "weights.safetensors";
  writer.setWeights(weights);
  return writer.finish();
}

/// Reads all that a view offers; the addresses are checked by sanitizers.
int64_t readAll(const ProgramView &view) {
  const qcc_program_v1 &header = view.header();
  std::vector<int64_t> symbols(header.symbols.count, 2);
  int64_t sum = 0, value;
  uint64_t bytes;
  auto text = [&](qcc_string string) {
    sum += int64_t(strlen(view.text(string)));
  };
  auto size = [&](qcc_size expr) {
    sum += view.evaluate(expr, symbols.data(), value);
  };
  for (uint32_t i = 0; i < header.tensors.count; ++i) {
    text(view.tensor(i).name);
    sum += view.tensorBytes(view.tensor(i), symbols.data(), bytes);
  }
  for (uint32_t i = 0; i < header.symbols.count; ++i)
    text(view.symbol(i).name);
  for (uint32_t i = 0; i < header.entries.count; ++i)
    for (uint32_t b = 0; b < view.entry(i).num_buffers; ++b)
      size(view.buffer(view.entry(i).first_buffer + b).bytes);
  for (uint32_t i = 0; i < header.sites.count; ++i) {
    const qcc_site_rec &site = view.site(i);
    text(site.node);
    size(site.flops);
    for (uint32_t r = 0; r < site.num_results; ++r)
      text(view.tensor(view.result(site.first_result + r).tensor).name);
  }
  for (uint32_t i = 0; i < header.states.count; ++i)
    text(view.tensor(view.state(i).tensor).name);
  for (uint32_t i = 0; i < header.levels.count; ++i)
    text(view.level(i).name);
  return sum;
}

TEST(Program, ReadsWhatWasWritten) {
  Blob blob(makeProgram());
  ProgramView view;
  ASSERT_EQ(ProgramView::open(blob.data(), blob.size, view), nullptr);
  EXPECT_STREQ(view.text(view.header().model_name), "model");
  ASSERT_EQ(view.header().entries.count, 2u);
  EXPECT_STREQ(view.text(view.entry(0).name), "main");
  const qcc_tensor_rec &x = view.tensor(view.entry(0).first_input);
  EXPECT_STREQ(view.text(x.name), "x");
  EXPECT_EQ(view.plainSymbol(view.dim(x, 0)), 0u);
  EXPECT_EQ(view.plainSymbol(view.dim(x, 1)), QCC_NONE);
  EXPECT_EQ(view.dim(x, 1), 3);
  const qcc_tensor_rec &y = view.tensor(view.entry(0).first_output);
  int64_t symbols[] = {5}, value;
  ASSERT_TRUE(view.evaluate(view.dim(y, 0), symbols, value));
  EXPECT_EQ(value, 8);
  EXPECT_EQ(view.entry(0).flags & QCC_ENTRY_STATIC, 0u);
  EXPECT_EQ(view.buffer(0).offset, QCC_NO_OFFSET);
  EXPECT_EQ(view.entry(1).flags & QCC_ENTRY_STATIC, QCC_ENTRY_STATIC);
  EXPECT_EQ(view.entry(1).arena_bytes, 192u);
  EXPECT_STREQ(view.text(view.header().weights.file), "weights.safetensors");
  EXPECT_GT(readAll(view), 0);
}

TEST(Program, EqualCallsGiveEqualBytes) {
  EXPECT_EQ(makeProgram(), makeProgram());
}

TEST(Program, RefusesEveryTruncation) {
  std::vector<uint8_t> bytes = makeProgram();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Blob blob(
        std::vector<uint8_t>(bytes.begin(), bytes.begin() + ptrdiff_t(size)));
    blob.words.emplace_back();
    ProgramView view;
    EXPECT_NE(ProgramView::open(blob.data(), size, view), nullptr) << size;
    EXPECT_FALSE(view.isOpen());
  }
}

TEST(Program, NeverReadsOutsideOfMutants) {
  std::vector<uint8_t> bytes = makeProgram();
  std::mt19937 random(1);
  const uint32_t odd[] = {0,          1,          7,          8,
                          0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff8};
  int opened = 0;
  for (int i = 0; i < 20000; ++i) {
    Blob blob(bytes);
    for (int edits = int(random() % 3) + 1; edits > 0; --edits) {
      size_t at = random() % (bytes.size() - 3);
      if (random() % 2 == 0)
        blob.data()[at] = uint8_t(random());
      else
        std::memcpy(blob.data() + at / 4 * 4, &odd[random() % 8], 4);
    }
    ProgramView view;
    if (ProgramView::open(blob.data(), blob.size, view) != nullptr)
      continue;
    ++opened;
    readAll(view);
  }
  // Edits of numbers that mean nothing to the reader are allowed.
  EXPECT_LT(opened, 20000);
  EXPECT_GT(opened, 0);
}

TEST(Program, RefusesWhatIsNotAligned) {
  Blob blob(makeProgram());
  ProgramView view;
  EXPECT_NE(ProgramView::open(blob.data() + 4, blob.size - 4, view), nullptr);
}

TEST(Program, RefusesWeightsOutsideOfTheFolder) {
  for (const char *file : {"../weights", "a/b", "..", "."}) {
    ProgramWriter writer;
    writer.addEntry({"main", {}, {}, {}});
    writer.addLevel("base", 0);
    WeightsDesc weights;
    weights.file = file;
    writer.setWeights(weights);
    Blob blob(writer.finish());
    ProgramView view;
    EXPECT_STREQ(ProgramView::open(blob.data(), blob.size, view),
                 "the weights of the program are malformed");
  }
}

/// The value of an expression of one symbol, or -1 when it has none.
int64_t evaluate(const SizeExpr &expr, int64_t symbol) {
  ProgramWriter writer;
  writer.addSymbol("s", 0, INT64_MAX);
  writer.addEntry({"main", {{"x", 2, 32, {expr}}}, {}, {}});
  writer.addLevel("base", 0);
  Blob blob(writer.finish());
  ProgramView view;
  EXPECT_EQ(ProgramView::open(blob.data(), blob.size, view), nullptr);
  int64_t value;
  return view.evaluate(view.dim(view.tensor(0), 0), &symbol, value) ? value
                                                                    : -1;
}

TEST(SizeExpr, Evaluates) {
  SizeExpr s = SizeExpr::symbol(0);
  auto op = [&](qcc_expr_opcode code, int64_t b) {
    return SizeExpr::binary(code, s, constant(b));
  };
  EXPECT_EQ(evaluate(op(QCC_EXPR_ADD, 3), 4), 7);
  EXPECT_EQ(evaluate(op(QCC_EXPR_MUL, 3), 4), 12);
  EXPECT_EQ(evaluate(op(QCC_EXPR_FLOORDIV, 3), 4), 1);
  EXPECT_EQ(evaluate(op(QCC_EXPR_CEILDIV, 3), 4), 2);
  EXPECT_EQ(evaluate(op(QCC_EXPR_MOD, 3), 5), 2);
  EXPECT_EQ(evaluate(op(QCC_EXPR_MAX, 3), 2), 3);
  EXPECT_EQ(evaluate(op(QCC_EXPR_MIN, 3), 2), 2);
  // Below zero on the way: floor, not truncation.
  SizeExpr less = s + constant(-8);
  EXPECT_EQ(evaluate(SizeExpr::binary(QCC_EXPR_FLOORDIV, less, constant(3)) +
                         constant(10),
                     1),
            7);
  EXPECT_EQ(evaluate(SizeExpr::binary(QCC_EXPR_CEILDIV, less, constant(3)) +
                         constant(10),
                     1),
            8);
  EXPECT_EQ(evaluate(SizeExpr::binary(QCC_EXPR_MOD, less, constant(3)), 1), 2);
}

TEST(SizeExpr, FailsInsteadOfWrapping) {
  SizeExpr s = SizeExpr::symbol(0);
  EXPECT_EQ(evaluate(s * s, INT64_MAX), -1);
  EXPECT_EQ(evaluate(s + constant(1), INT64_MAX), -1);
  EXPECT_EQ(evaluate(s + constant(-5), 4), -1);
  EXPECT_EQ(evaluate(SizeExpr::binary(QCC_EXPR_FLOORDIV, constant(4), s), 0),
            -1);
  EXPECT_EQ(evaluate(s, -1), -1) << "a symbol without a value";
  EXPECT_EQ(evaluate(constant(-1), 0), -1);
}

TEST(SizeExpr, ConstantsFold) {
  SizeExpr folded = SizeExpr::binary(QCC_EXPR_CEILDIV,
                                     constant(7) * constant(3), constant(2));
  ASSERT_TRUE(folded.isConstant());
  EXPECT_EQ(folded.constantValue(), 11);
  EXPECT_FALSE((constant(INT64_MAX) + constant(1)).isConstant());
}

TEST(ElementBytes, RoundsUpAndChecks) {
  uint64_t bytes;
  ASSERT_TRUE(runtime::elementBytes(3, 4, bytes));
  EXPECT_EQ(bytes, 2u);
  ASSERT_TRUE(runtime::elementBytes(0, 32, bytes));
  EXPECT_EQ(bytes, 0u);
  EXPECT_FALSE(runtime::elementBytes(INT64_MAX, 64, bytes));
  EXPECT_FALSE(runtime::elementBytes(-1, 8, bytes));
}

} // namespace
