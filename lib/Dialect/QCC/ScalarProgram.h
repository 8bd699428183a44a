//===- ScalarProgram.h - interpreter for bodies of generics -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_SCALARPROGRAM_H
#define QCC_LIB_DIALECT_QCC_SCALARPROGRAM_H

#include "ScalarOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Support/Error.h"
#include <array>
#include <vector>

namespace qcc {

/// A tensor that the interpreter reads: bytes, type, strides in elements.
struct TensorView {
  const char *data = nullptr;
  mlir::Type elementType;
  int64_t elementBytes = 0;
  llvm::SmallVector<int64_t> shape, strides;

  TensorView() = default;
  TensorView(const char *data, mlir::RankedTensorType type);
};

/// The body of a generic as a list of instructions on numbered registers, so
/// that running it for each element costs no look-ups.
class ScalarProgram {
public:
  /// Translates the body. Errors: Internal for an operation that is not known.
  static llvm::Expected<ScalarProgram> compile(GenericOp op);

  /// Runs the body: `inputs` are the scalars, `whole` the tensors, `point` the
  /// iteration indices. Returns what is yielded. Fails if a read is out of
  /// range.
  bool run(llvm::ArrayRef<Scalar> inputs, llvm::ArrayRef<TensorView> whole,
           llvm::ArrayRef<int64_t> point, Scalar &result);

  /// True if the body has neither branches, loops nor reads of tensors: it can
  /// run for many elements at once, which look at each instruction once.
  bool isStraight() const;
  /// Elements of a batch.
  static constexpr int64_t kBatch = 256;
  using Batch = std::array<Scalar, kBatch>;
  /// Runs a straight body for `count` elements: `inputs` are their scalars,
  /// `points` their iteration indices, by dimension.
  const Batch &runBatch(llvm::ArrayRef<Batch> inputs,
                        llvm::ArrayRef<Batch> points, int64_t count);

private:
  struct Instruction;
  using Block = std::vector<Instruction>;
  struct Instruction : ScalarInstruction {
    mlir::Operation *op = nullptr;
    int64_t immediate = 0;
    llvm::SmallVector<unsigned, 4> operands, results;
    std::vector<Block> blocks;                 ///< of scf.if and scf.for
    std::vector<std::vector<unsigned>> yields; ///< per block
    std::vector<unsigned> arguments;           ///< of the block of scf.for
  };

  llvm::Error compileBlock(mlir::Block &block, Block &out,
                           std::vector<unsigned> &yields, unsigned depth);
  llvm::Error compileOp(mlir::Operation &op, Block &out, unsigned depth);
  unsigned getRegister(mlir::Value value);
  bool runBlock(const Block &block);
  bool runRead(const Instruction &inst);
  bool runLoop(const Instruction &inst);

  llvm::DenseMap<mlir::Value, unsigned> registers;
  std::vector<Scalar> values;
  Block body;
  std::vector<unsigned> yielded;
  unsigned numInputs = 0;
  llvm::DenseMap<mlir::Value, unsigned> tensors; ///< whole operand by argument
  llvm::ArrayRef<TensorView> currentWhole;
  llvm::ArrayRef<int64_t> currentPoint;
  std::vector<Batch> batches; ///< a register for each of a batch's elements
};

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_SCALARPROGRAM_H
