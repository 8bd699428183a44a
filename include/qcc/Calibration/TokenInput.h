//===- TokenInput.h - which input has a model's tokens ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_CALIBRATION_TOKENINPUT_H
#define QCC_CALIBRATION_TOKENINPUT_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Calibration/HostExecutor.h"

namespace qcc {

/// Names of the inputs that may have the tokens [rows, positions] of `logits`
/// [rows, positions, classes], a result of `entry`: integers that choose rows
/// of a constant with a dimension of `classes` (an embedding, not a mask, and
/// not positions), of them those with the rows and positions of the logits if
/// there are any. Without such an embedding the one integer input of two
/// dimensions, if it is the only one. One name is an answer, several are a
/// question.
llvm::SmallVector<std::string> findTokenInputs(mlir::func::FuncOp entry,
                                               mlir::Value logits);

/// An input of integers that choose rows of a table, and how many those are.
struct TokenTable {
  std::string input;
  int64_t rows = 0;
};

/// Inputs of `entry` whose integers, as they are (casts and views aside),
/// choose rows of constants of two or more dimensions: embeddings. Of several
/// such constants the one with the fewest rows counts.
llvm::SmallVector<TokenTable> findTokenTables(mlir::func::FuncOp entry);

/// Elements of an array of 32 or 64 bit integers; none of other arrays.
std::vector<int64_t> getIntegers(const SampleArray &array);

/// True if an input of a sample has ids below the number of classes, one for
/// each position of an output of `elements` elements.
bool hasTokens(const Sample &sample, llvm::StringRef input, size_t elements,
               int64_t classes);

} // namespace qcc

#endif // QCC_CALIBRATION_TOKENINPUT_H
