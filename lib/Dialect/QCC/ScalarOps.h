//===- ScalarOps.h - arithmetic of the interpreter --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DIALECT_QCC_SCALAROPS_H
#define QCC_LIB_DIALECT_QCC_SCALAROPS_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Types.h"

namespace qcc {

/// A scalar of any type: floats up to f32 in `f`, f64 in `d`, integers and
/// index sign-extended in `i`.
union Scalar {
  float f;
  double d;
  int64_t i;
};

/// Reads and writes elements of a type in memory.
Scalar loadScalar(const char *address, mlir::Type elementType);
void storeScalar(char *address, mlir::Type elementType, Scalar value);
/// The same for many elements, of any addresses and one after the other.
void loadScalars(llvm::ArrayRef<const char *> addresses, mlir::Type elementType,
                 Scalar *values);
void storeScalars(char *address, mlir::Type elementType,
                  llvm::ArrayRef<Scalar> values);

namespace scalar {
/// Operations that the interpreter knows.
enum Code : unsigned {
  Unknown,
  AddF,
  SubF,
  MulF,
  DivF,
  RemF,
  NegF,
  MaximumF,
  MinimumF,
  MaxNumF,
  MinNumF,
  CmpF,
  Fma,
  Exp,
  Exp2,
  Expm1,
  Log,
  Log1p,
  Log2,
  Sqrt,
  Rsqrt,
  AbsF,
  Tanh,
  Erf,
  Sin,
  Cos,
  Tan,
  Sinh,
  Cosh,
  Asin,
  Acos,
  Atan,
  Asinh,
  Acosh,
  Atanh,
  PowF,
  Floor,
  Ceil,
  Trunc,
  Round,
  RoundEven,
  CopySign,
  AddI,
  SubI,
  MulI,
  DivSI,
  DivUI,
  FloorDivSI,
  CeilDivSI,
  RemSI,
  RemUI,
  AndI,
  OrI,
  XorI,
  ShlI,
  ShrSI,
  ShrUI,
  MaxSI,
  MaxUI,
  MinSI,
  MinUI,
  CmpI,
  AbsI,
  Select,
  ExtF,
  TruncF,
  ExtSI,
  ExtUI,
  TruncI,
  SIToFP,
  UIToFP,
  FPToSI,
  FPToUI,
  IndexCast,
  Bitcast,
  Constant,
  Index,
  Extent,
  Read,
  If,
  For
};

/// Code of an operation by its full name; Unknown if there is none.
Code getCode(llvm::StringRef name);
/// Width of a scalar type; 64 for index.
unsigned getBits(mlir::Type type);
/// One operation from AddF to CopySign.
float runFloat(unsigned code, float a, float b, float c);
double runFloat(unsigned code, double a, double b, double c);
/// One operation from AddI to AbsI on values of `bits` bits, sign-extended.
/// Division by zero gives 0: constants are evaluated whether or not they are
/// used.
int64_t runInteger(unsigned code, int64_t a, int64_t b, unsigned bits);
bool compareIntegers(mlir::arith::CmpIPredicate predicate, int64_t a, int64_t b,
                     unsigned bits);
/// One conversion from ExtF to Bitcast.
Scalar convert(unsigned code, Scalar a, mlir::Type from, mlir::Type to);
} // namespace scalar

/// An operation on scalars, from AddF to Bitcast.
struct ScalarInstruction {
  unsigned code = 0; ///< value of scalar::Code
  unsigned bits = 0; ///< width of the operand type
  bool isDouble = false;
  unsigned predicate = 0; ///< of a comparison
  mlir::Type from, to;    ///< of a conversion

  /// The result for operands, of which there are up to three.
  Scalar run(Scalar a, Scalar b, Scalar c) const;
  /// The same for `count` elements: operands that are not there are null.
  void run(const Scalar *a, const Scalar *b, const Scalar *c, int64_t count,
           Scalar *out) const;
};

} // namespace qcc

#endif // QCC_LIB_DIALECT_QCC_SCALAROPS_H
