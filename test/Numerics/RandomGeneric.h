//===- RandomGeneric.h - random kernels and their oracle --------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TEST_NUMERICS_RANDOMGENERIC_H
#define QCC_TEST_NUMERICS_RANDOMGENERIC_H

#include "Harness.h"

namespace qcc::test {

/// A random `qcc.generic` with maps, body, combiner and epilogue, in f32 or in
/// an integer type, some of its extents symbolic.
class RandomGeneric {
public:
  explicit RandomGeneric(uint64_t seed);

  /// The module with the kernel `@k`.
  std::string getText() const;
  std::vector<Bytes> getInputs() const;
  size_t getResultBytes() const;
  const std::vector<int64_t> &getDims() const { return dims; }
  /// Compares a result with the oracle in f64 (exactly for integers); an empty
  /// text if they agree, else what differs.
  std::string check(const Bytes &result) const;

private:
  /// coefficient * d + constant per dimension of an operand; dim < 0: constant.
  struct Access {
    int dim;
    int64_t coefficient, constant;
    int second = -1; ///< another dimension added to it, or -1
  };
  struct Operand {
    std::vector<Access> accesses;
    std::vector<int64_t> shape;
    std::vector<double> values;
  };
  /// value i of the body: an input, a constant, an index or an operation on
  /// earlier values.
  struct Step {
    std::string op;
    int a = 0, b = 0;
    double constant = 0;
  };

  bool isFloat() const { return element == "f32"; }
  void makeOperand(Random &random, bool identity);
  void makeBody(Random &random);
  std::string sizeText(size_t dim) const;
  std::string typeText(const std::vector<int64_t> &shape,
                       const std::vector<int> &fromDims) const;
  std::string operandType(const Operand &operand) const;
  std::string mapText(const Operand &operand) const;
  std::string bodyText() const;
  double wrap(double value) const;
  double read(const Operand &operand, const std::vector<int64_t> &at) const;
  double evaluateBody(const std::vector<int64_t> &at, double &magnitude) const;
  double combine(double a, double b) const;

  std::string element, combiner = "none";
  std::vector<int64_t> extents; ///< parallel ones first
  std::vector<int> symbols;     ///< of each extent, or -1
  std::vector<int64_t> dims;
  size_t numParallel = 0;
  std::vector<Operand> operands;
  std::vector<Step> steps;
  bool hasEpilogue = false;
  std::vector<double> bias; ///< of the epilogue, along the last dimension
};

} // namespace qcc::test

#endif // QCC_TEST_NUMERICS_RANDOMGENERIC_H
