//===- MakeFakeProgram.cpp - the blob of the hand-written model -*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// usage: MakeFakeProgram FOLDER [WEIGHTS_FILE [demanding]]
// Writes FOLDER/Program.inc, and the weights as WEIGHTS_FILE ("-": inside).
// A demanding model has no level for CPUs without SSE4.2 and POPCNT.
// FakeModel.c has the code that this describes.
//===----------------------------------------------------------------------===//

#include "Sha256.h"

#include "qcc/Runtime/ProgramWriter.h"
#include "qcc/Runtime/qcc.h"

#include <cstring>
#include <fstream>

using namespace qcc;

static const float weightValues[4] = {10, 20, 30, 40};

static std::array<uint8_t, 32> digest(const std::string &bytes) {
  std::array<uint8_t, 32> result;
  runtime::sha256(bytes.data(), bytes.size(), result.data());
  return result;
}

/// The weights; their file starts with 4096 bytes of header when it is named.
static WeightsDesc makeWeights(const std::string &folder,
                               const std::string &file) {
  std::string data(reinterpret_cast<const char *>(weightValues),
                   sizeof(weightValues));
  WeightsDesc desc;
  desc.bytes = data.size();
  desc.alignment = 64;
  desc.sha256 = digest(data);
  if (file.empty())
    return desc;
  std::string header(4096, 'h');
  desc.file = file;
  desc.dataOffset = header.size();
  desc.headerSha256 = digest(header);
  std::ofstream(folder + "/" + file, std::ios::binary) << header << data;
  return desc;
}

static TensorDesc tensor(const char *name, uint8_t code, uint8_t bits,
                         std::vector<SizeExpr> dims) {
  return {name, code, bits, std::move(dims)};
}

static void describe(ProgramWriter &writer, bool demanding) {
  uint32_t batch = writer.addSymbol("batch", 1, 64);
  uint32_t length = writer.addSymbol("n", 0, INT64_MAX);
  uint32_t found = writer.addSymbol("found", 0, INT64_MAX, QCC_SYMBOL_RUNTIME);
  SizeExpr rows = SizeExpr::symbol(batch), n = SizeExpr::symbol(length),
           four = SizeExpr::constant(4);
  SizeExpr one = SizeExpr::constant(1), bytes = rows * SizeExpr::constant(16);

  TensorDesc x = tensor("x", kDLFloat, 32, {rows, four}),
             y = tensor("y", kDLFloat, 32, {rows, four});
  TensorDesc twice = tensor("twice_0", kDLFloat, 32, {rows, four});
  writer.addEntry(
      {"main", {x}, {y}, {{bytes, 0, 1}, {SizeExpr::constant(100), 1, 1}}});
  writer.addEntry({"count",
                   {tensor("step", kDLInt, 64, {})},
                   {tensor("total", kDLInt, 64, {one})},
                   {{SizeExpr::constant(8), 0, 1}}});
  writer.addEntry(
      {"nonzero",
       {tensor("values", kDLFloat, 32, {n}),
        tensor("double", kDLFloat, 32, {n * SizeExpr::constant(2)})},
       {tensor("indices", kDLInt, 64, {SizeExpr::symbol(found)})},
       {{SizeExpr::constant(8), 0, 0}}});
  writer.addEntry({"refuse", {}, {}, {}});
  writer.addEntry({"probe",
                   {},
                   {tensor("probed", kDLInt, 32, {SizeExpr::constant(2)})},
                   {}});
  writer.addEntry({"wild", {}, {tensor("never", kDLFloat, 32, {four})}, {}});
  writer.addState(tensor("counter", kDLInt, 64, {one}));
  writer.addState(tensor("history", kDLFloat, 32, {rows, four}));

  writer.addKernel("twice", 64, 2, 1);
  writer.addKernel("add_weight", 0, 3, 1);
  writer.addKernel("accumulate", 0, 2, 0);
  writer.addKernel("count_nonzero", 0, 2, 1);
  writer.addKernel("fill_indices", 0, 3, 1);
  writer.addKernel("probe", 0, 1, 0);
  writer.addSite(
      {0, 0, "Mul_0", "qcc.generic", rows * four, bytes, {{twice, 1}}});
  writer.addSite(
      {0, 1, "Add_1", "qcc.generic", rows * four, bytes + bytes, {{y, 2}}});
  writer.addSite({1,
                  2,
                  "Count",
                  "qcc.generic",
                  SizeExpr::constant(1),
                  SizeExpr::constant(16),
                  {}});
  writer.addSite({2, 3, "NonZero_count", "qcc.generic", n, n, {}});
  writer.addSite({2, 4, "NonZero_fill", "qcc.generic", n, n, {}});
  writer.addSite({3,
                  QCC_NONE,
                  "Gather_7",
                  "qcc.generic",
                  SizeExpr::constant(0),
                  SizeExpr::constant(0),
                  {}});
  writer.addSite({4,
                  5,
                  "Probe",
                  "qcc.generic",
                  SizeExpr::constant(0),
                  SizeExpr::constant(0),
                  {}});
  uint64_t better = uint64_t(1) << QCC_CPU_SSE42;
  uint64_t base = better | uint64_t(1) << QCC_CPU_POPCNT;
  writer.addLevel("base", demanding ? base : 0);
  writer.addLevel("better", demanding ? base : better);
}

int main(int argc, char **argv) {
  if (argc < 2)
    return 2;
  std::string folder = argv[1];
  ProgramWriter writer;
  writer.setModel("fake", "qcc test", digest("source"));
  writer.setWeights(makeWeights(
      folder, argc > 2 && std::strcmp(argv[2], "-") != 0 ? argv[2] : ""));
  describe(writer, argc > 3);
  std::ofstream out(folder + "/Program.inc");
  for (uint8_t byte : writer.finish())
    out << unsigned(byte) << ",\n";
  return out.good() ? 0 : 1;
}
