//===- Reduction.h - combining elements -------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_CPU_REDUCTION_H
#define QCC_LIB_CODEGEN_CPU_REDUCTION_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc {

/// How elements of a type are combined in registers.
class Reduction {
public:
  /// `element` is the storage type of the result, which says whether integers
  /// are signed. Sums and products of floats below f32 are kept in f32, those
  /// of f32 in f64 with exactMath.
  Reduction(Combiner combiner, mlir::Type element, const Capabilities &caps);

  /// Type of an accumulator of `lanes`.
  mlir::Type getType(unsigned lanes) const;
  /// The neutral element.
  mlir::Value getNeutral(KernelBuilder &b, unsigned lanes) const;
  /// An element (or a vector of them) in the type of accumulators.
  mlir::Value widen(KernelBuilder &b, mlir::Value element) const;
  /// An accumulator in the type of elements.
  mlir::Value narrow(KernelBuilder &b, mlir::Value accumulator) const;
  mlir::Value combine(KernelBuilder &b, mlir::Value a, mlir::Value c) const;
  /// Combines all lanes of a vector in a fixed order: halves, quarters, ...
  mlir::Value horizontal(KernelBuilder &b, mlir::Value vector) const;

private:
  Combiner combiner;
  bool isUnsigned;
  mlir::Type scalar, accumulator;
};

} // namespace qcc

#endif // QCC_LIB_CODEGEN_CPU_REDUCTION_H
