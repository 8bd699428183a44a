//===- X86Kernel.cpp - what tests of x86 kernels share ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "X86Kernel.h"
#include <cstdlib>

using namespace qcc;
using namespace qcc::test;

X86::X86() {
  registerX86Target(registry);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    values = {"avx2", "avx512", "avx512-vnni", "avx2+avx512"};
}

std::vector<Capabilities> X86::parse(const std::string &value) const {
  auto levels = target().parse(value);
  return std::vector<Capabilities>(levels.begin(), levels.end());
}

std::string test::tensor(const std::vector<Dim> &dims,
                         const std::string &element, unsigned symbols) {
  std::string text = "tensor<", sizes;
  bool dynamic = false;
  for (const Dim &dim : dims) {
    dynamic |= !dim.symbol.empty();
    text += (dim.symbol.empty() ? std::to_string(dim.size) : "?") + "x";
    sizes += (sizes.empty() ? "" : ", ") +
             (dim.symbol.empty() ? std::to_string(dim.size) : dim.symbol);
  }
  text += element;
  if (!dynamic)
    return text + ">";
  text += ", affine_map<()[s0";
  for (unsigned i = 1; i < symbols; ++i)
    text += ", s" + std::to_string(i);
  return text + "] -> (" + sizes + ")>>";
}

int64_t test::count(const std::vector<Dim> &dims) {
  int64_t product = 1;
  for (const Dim &dim : dims)
    product *= dim.size;
  return product;
}

std::vector<Dim> test::batchDims(std::vector<Dim> batch, int mode, Dim rows,
                                 Dim columns, bool dynamic) {
  if (mode == 1)
    batch.front() = 1;
  if (mode == 2)
    batch.clear();
  if (!dynamic)
    rows.symbol = columns.symbol = "";
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

Bytes test::randomBytes(Random &random, size_t count) {
  Bytes bytes(count);
  for (char &byte : bytes) {
    int64_t kind = random.range(0, 7);
    byte = kind == 0   ? char(0x80)
           : kind == 1 ? char(0x7f)
           : kind == 2 ? char(0xff)
                       : char(random.range(0, 255));
  }
  return bytes;
}

std::string test::kernelText(const std::vector<std::string> &operands,
                             const std::string &body, const std::string &result,
                             const std::string &type) {
  std::string text = "qcc.kernel @k {} {\n^bb0(";
  for (size_t i = 0; i < operands.size(); ++i)
    text += (i ? ", %" : "%") + std::to_string(i) + ": " + operands[i];
  return text + "):\n" + body + "  qcc.yield " + result + " : " + type +
         "\n}\n";
}

int test::getShapeCount(int otherwise) {
  const char *wanted = std::getenv("QCC_TEST_SHAPES");
  return wanted && *wanted ? std::atoi(wanted) : otherwise;
}
