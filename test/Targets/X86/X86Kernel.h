//===- X86Kernel.h - what tests of x86 kernels share ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_TARGETS_X86_X86KERNEL_H
#define QCC_TEST_TARGETS_X86_X86KERNEL_H

#include "Harness.h"

namespace qcc::test {

/// The x86 target and the sets of levels of it that are tested, also several at
/// once: layouts are shared then. Levels above the machine's are emulated.
class X86 {
public:
  X86();
  const Target &target() const { return *registry.all().front(); }
  const std::vector<std::string> &levels() const { return values; }
  std::vector<Capabilities> parse(const std::string &value) const;

private:
  TargetRegistry registry;
  std::vector<std::string> values;
};

/// A dimension of a tensor type: a size, or one that is a symbol.
struct Dim {
  int64_t size;
  std::string symbol; ///< "s0", or an expression; "": static
  Dim(int64_t size, std::string symbol = "")
      : size(size), symbol(std::move(symbol)) {}
};
/// The text of a tensor type; with any symbol, as one of `symbols` symbols.
std::string tensor(const std::vector<Dim> &dims, const std::string &element,
                   unsigned symbols = 3);
int64_t count(const std::vector<Dim> &dims);
/// The dimensions of an operand of a batch of matrix products: those of `batch`
/// (mode 0), the last of these behind a 1 (1) or none of them (2), and the
/// matrix's, as symbols if it is `dynamic`.
std::vector<Dim> batchDims(std::vector<Dim> batch, int mode, Dim rows,
                           Dim columns, bool dynamic);
/// Bytes of the whole range, the extremes more often.
Bytes randomBytes(Random &random, size_t count);

/// The module text of a kernel with these operands (%0, %1, ...) whose body
/// yields `result`.
std::string kernelText(const std::vector<std::string> &operands,
                       const std::string &body, const std::string &result,
                       const std::string &type);

/// How many random shapes to try: QCC_TEST_SHAPES, else `otherwise`.
int getShapeCount(int otherwise);

/// Error of a result relative to the sum of the magnitudes that were added.
inline double relative(float result, double exact, double magnitude) {
  double error = std::abs(result - exact) / (magnitude + 1e-30);
  return error == error ? error : 1e300;
}
/// Bound of that for sums in f32 (docs/numerics.md).
inline constexpr double kSumBound = 1e-6;

} // namespace qcc::test

#endif // QCC_TEST_TARGETS_X86_X86KERNEL_H
