//===- RowProgram.h - bodies of generics on rows of f32 ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_ROWPROGRAM_H
#define QCC_LIB_DIALECT_QCC_ROWPROGRAM_H

#include "ScalarOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include <array>
#include <optional>
#include <vector>

namespace qcc {

/// Elements of an operand along a row: the address of the first one, which need
/// not be aligned, and the step, 0 where the row has one value.
struct RowOperand {
  const char *data = nullptr;
  int64_t step = 0; ///< in elements
};

/// The body of a generic that is a few sums and products of f32, run for many
/// elements at once: what scales, shifts and merges weights is of this kind,
/// and looking at each instruction for each element costs more than the
/// arithmetic.
/// Results have the bits of ScalarProgram's.
class RowProgram {
public:
  /// None for a body of another kind.
  static std::optional<RowProgram> compile(GenericOp op);

  /// Computes `count` elements.
  void run(llvm::ArrayRef<RowOperand> inputs, int64_t count, char *out);

private:
  /// Elements between two looks at the instructions.
  static constexpr int64_t kElements = 512;
  struct Instruction {
    unsigned code = 0; ///< value of scalar::Code
    unsigned left = 0, right = 0, result = 0;
  };
  using Register = std::array<float, kElements>;

  std::vector<Instruction> body;
  std::vector<Register> registers; ///< inputs first
  unsigned yielded = 0, numInputs = 0;
};

/// Copies `count` elements that are `step` apart to a row. Neither address need
/// be aligned.
void copyRow(const char *from, int64_t step, int64_t count,
             int64_t elementBytes, char *out);

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_ROWPROGRAM_H
