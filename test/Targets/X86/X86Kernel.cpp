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
