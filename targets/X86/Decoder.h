//===- Decoder.h - decodes of schemes on x86 --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_DECODER_H
#define QCC_TARGETS_X86_DECODER_H

#include "qcc/Codegen/KernelBuilder.h"
#include "qcc/Scheme/Scheme.h"

namespace qcc::x86 {

/// Builds decodes at the place where a KernelBuilder is; tables are looked up
/// by permutations of registers.
class Decoder final : public DecodeBuilder {
public:
  explicit Decoder(KernelBuilder &b)
      : DecodeBuilder(b.getLoc(), b), avx512(b.caps().hasAvx512) {
    setInsertionPoint(b.getInsertionBlock(), b.getInsertionPoint());
  }
  mlir::Value lookup(llvm::ArrayRef<float> table, mlir::Value indices) override;

private:
  mlir::Value permute(llvm::ArrayRef<float> table, mlir::Value indices);

  bool avx512;
};

/// Decodes `bytes` at the place of `b` and hands out the results in order. The
/// operations behind a result are put right before its first use: a unit of
/// many rows does not fit the registers at once.
class DecodedUnit {
public:
  /// With `inPlace`, codes that are cut out of words stay where they are in
  /// them, which saves moving them: results are multiples, see getShift.
  DecodedUnit(KernelBuilder &b, const Scheme &scheme, mlir::Value bytes,
              bool inPlace = false);
  /// Result `i`, with what it needs moved to where `b` is now.
  mlir::Value take(KernelBuilder &b, unsigned i);
  /// Result `i` is 2^getShift(i) times the decoded value.
  unsigned getShift(unsigned i) const { return shifts[i]; }
  /// Erases what no taken result needs. No take() after this.
  void finish();

private:
  llvm::SmallVector<mlir::Value> results;
  llvm::SmallVector<unsigned> shifts;
  llvm::SmallVector<mlir::Operation *> built;       ///< in order
  llvm::SmallPtrSet<mlir::Operation *, 32> waiting; ///< not yet moved
};

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_DECODER_H
