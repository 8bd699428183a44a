//===- Codes.h - operands that are dequantized codes ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_FORMINTEGER_CODES_H
#define QCC_PASSES_QUANTIZE_FORMINTEGER_CODES_H

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/PatternMatch.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// What a dequantized operand is made of.
struct Codes {
  mlir::TypedValue<mlir::RankedTensorType> codes, scale,
      zero;     ///< zero may be null: none, or 0
  int64_t axis; ///< of the scale; -1: one for all
};

/// The codes that `value` is dequantized from: of 8 bits, with a scale of f32
/// and a zero point of their own type. None if it is made otherwise.
std::optional<Codes> getCodes(mlir::Value value);

/// The same of the weight of a convolution or product, which if it is constant
/// may also have signed codes of 4 bits without a zero point: kernels have a
/// layout for them.
std::optional<Codes> getWeightCodes(ConvOp op);
std::optional<Codes> getWeightCodes(MatMulOp op);

/// The one number that all elements of an integer constant have.
std::optional<int64_t> getSplatInteger(mlir::Value value);

/// The one number that all elements of a constant of floats have.
std::optional<double> getSplatFloat(mlir::Value value);

/// True for a tensor of one element.
bool hasOneElement(mlir::Value value);

/// A tensor of one element as a scalar.
mlir::Value toScalar(mlir::OpBuilder &b, mlir::Location loc, mlir::Value value);

/// A code in a body as a wider integer.
mlir::Value extendCode(mlir::ImplicitLocOpBuilder &b, mlir::Type type,
                       mlir::Value code, bool hasSign);

/// True for a constant scale far from where a code times it would vanish or
/// overflow.
bool isPositive(mlir::Value scale);

/// True for a convolution in groups of one channel.
bool isDepthwise(IntConvOp op);

/// True if a window of a pooling may lie in the padding.
bool coversPadding(PoolOp op);

/// Averages of codes: exact sums and one `qcc.dequantize`.
void populateAveragePatterns(mlir::RewritePatternSet &patterns);

/// Weights of integer operations as signed codes without a zero point.
void populateZeroPointPatterns(mlir::RewritePatternSet &patterns);

/// Convolutions of integers that no kernel takes, in floats that hold their
/// sums exactly.
void populateExactFloatPatterns(mlir::RewritePatternSet &patterns);

/// Weights of fewer than 8 bits in the forms that kernels take.
void populateFewBitsPatterns(mlir::RewritePatternSet &patterns);

/// Codes in place of floats in what copies, gathers, concatenates and reshapes.
void populateMovePatterns(mlir::RewritePatternSet &patterns);

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_FORMINTEGER_CODES_H
