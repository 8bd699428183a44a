//===- KernelBuilder.h - building one kernel as MLIR ------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Emitters describe a kernel at the level of scf, arith, math, vector and raw
// LLVM pointers. There are no memrefs: an address is a binding's pointer plus
// an element offset that the emitter computes.
//
//===----------------------------------------------------------------------===//
#ifndef QCC_CODEGEN_KERNELBUILDER_H
#define QCC_CODEGEN_KERNELBUILDER_H

#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace qcc {

/// What the instructions of one feature level can do; all an emitter may know
/// of the machine. Filled by a target.
struct Capabilities {
  std::string level;       ///< "avx2", "avx512", "avx512-vnni", "amx", "scalar"
  std::string llvmCpu;     ///< for TargetMachine, e.g. "haswell"
  std::string llvmFeatures;
  unsigned vectorBits = 0; ///< 512, 256; 0: scalar code only
  bool hasFma = false, hasAvx512 = false, hasVnni = false, hasAmx = false;
  bool exactMath = false; ///< call libm instead of polynomials (Reference)
  int64_t l1Bytes = 32 << 10, l2Bytes = 1 << 20;
  /// Lanes of f32 in a register; 1 for scalar code.
  unsigned f32Lanes() const { return vectorBits ? vectorBits / 32 : 1; }
};

/// Builds the body of `void k(void *const *bindings, const int64_t *dims,
/// int64_t taskBegin, int64_t taskEnd, void *scratch)` for a scheduled kernel.
/// Bindings are the kernel block's arguments and then its results, in order;
/// dims are the values of the kernel's symbols s0, s1, ...
class KernelBuilder : public mlir::ImplicitLocOpBuilder {
public:
  /// Creates the function `name` in `module` and sets the insertion point in
  /// its body. The pointers are noalias to each other.
  KernelBuilder(mlir::ModuleOp module, llvm::StringRef name, KernelOp kernel,
                const Capabilities &caps);
  /// Ends the function.
  void finish();

  const Capabilities &caps() const { return capabilities; }
  KernelOp kernel() const { return kernelOp; }
  mlir::Value taskBegin() const { return begin; }
  mlir::Value taskEnd() const { return end; }
  mlir::Value scratch() const { return scratchPtr; }

  /// Pointer of a block argument of the kernel (`arg`) or of result `index`.
  mlir::Value pointer(mlir::BlockArgument arg);
  mlir::Value resultPointer(unsigned index);

  // Index arithmetic (type index); constants fold.
  mlir::Value idx(int64_t value);
  mlir::Value size(mlir::AffineExpr expr); ///< of the kernel's symbols
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  mlir::Value divFloor(mlir::Value a, mlir::Value b); ///< operands >= 0
  mlir::Value mod(mlir::Value a, mlir::Value b);      ///< operands >= 0
  mlir::Value minIdx(mlir::Value a, mlir::Value b);
  mlir::Value maxIdx(mlir::Value a, mlir::Value b);
  mlir::Value less(mlir::Value a, mlir::Value b); ///< signed; i1

  /// Value of an affine expression with `dims` (index values) and the kernel's
  /// symbols.
  mlir::Value apply(mlir::AffineExpr expr, llvm::ArrayRef<mlir::Value> dims);
  /// Row-major strides (in elements) of a tensor type, as index values.
  llvm::SmallVector<mlir::Value> strides(mlir::Type tensorType);
  /// Element offset of `indices` in a dense row-major tensor of that type.
  mlir::Value offset(mlir::Type tensorType, llvm::ArrayRef<mlir::Value> indices);

  // Memory. `element` is the storage element type (unsigned are read as
  // signless; i1 is a byte holding 0 or 1); `offset` counts elements. With
  // lanes > 1 the value is a vector of consecutive elements; with a mask
  // (vector<lanes x i1>) lanes that are off read zero and write nothing.
  mlir::Value load(mlir::Value pointer, mlir::Type element, mlir::Value offset,
                   unsigned lanes = 1, mlir::Value mask = {});
  void store(mlir::Value value, mlir::Value pointer, mlir::Type element,
             mlir::Value offset, mlir::Value mask = {});
  mlir::Value elementPointer(mlir::Value pointer, mlir::Type element,
                             mlir::Value offset);
  /// Mask of the first `count` (index) of `lanes` lanes.
  mlir::Value firstLanes(mlir::Value count, unsigned lanes);
  void prefetch(mlir::Value pointer, mlir::Type element, mlir::Value offset);

  // Values.
  mlir::Value constant(double value, mlir::Type scalarOrVector);
  mlir::Value constantInt(int64_t value, mlir::Type scalarOrVector);
  mlir::Value splat(mlir::Value scalar, unsigned lanes);
  mlir::Value fma(mlir::Value a, mlir::Value b, mlir::Value c);

  /// A loop; `body` gets the induction variable and the carried values and
  /// returns the next ones. Returns the final ones. `unroll = false` forbids
  /// LLVM to unroll it, `vectorize` asks LLVM to vectorise it.
  enum class LoopHint { None, NoUnroll, Vectorize, NoVectorize };
  llvm::SmallVector<mlir::Value>
  forLoop(mlir::Value lower, mlir::Value upper, mlir::Value step,
          llvm::ArrayRef<mlir::Value> init,
          llvm::function_ref<llvm::SmallVector<mlir::Value>(
              mlir::Value, llvm::ArrayRef<mlir::Value>)> body,
          LoopHint hint = LoopHint::None);
  /// The same without carried values.
  void forLoop(mlir::Value lower, mlir::Value upper, mlir::Value step,
               llvm::function_ref<void(mlir::Value)> body,
               LoopHint hint = LoopHint::None);

  /// Clones the body of a generic on given argument values. `args` are the
  /// scalars (or vectors of `lanes`) of the inputs; `indices` the iteration
  /// indices for qcc.index (the last one is the first lane's when lanes > 1
  /// and lane i is index + i); whole operands are read from memory through
  /// `wholePointer`. Types of all scalar ops are lifted to vectors of `lanes`.
  /// Returns the yielded value; fails if the body cannot be lifted (then use
  /// lanes = 1, which always works).
  mlir::FailureOr<mlir::Value>
  inlineBody(GenericOp generic, llvm::ArrayRef<mlir::Value> args,
             llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
             llvm::function_ref<mlir::Value(unsigned wholeIndex)> wholePointer);

private:
  Capabilities capabilities;
  KernelOp kernelOp;
  mlir::Value begin, end, scratchPtr, dimsPtr;
  llvm::SmallVector<mlir::Value> pointers, symbols;
};

/// The scalar prologue or epilogue chains around a kernel's root, ready to be
/// inlined in an emitter. `Epilogue` follows the root's only use through
/// generics that read it by an identity map (in the parallel dimensions) up to
/// the kernel's yield.
struct Epilogue {
  llvm::SmallVector<GenericOp> chain;
  /// Applies the chain to `value` (scalar or vector of lanes along the last
  /// dimension) at `indices` of the result; loads the other operands. With a
  /// mask only its lanes are read.
  mlir::FailureOr<mlir::Value> apply(KernelBuilder &b, mlir::Value value,
                                     llvm::ArrayRef<mlir::Value> indices,
                                     unsigned lanes, mlir::Value mask = {}) const;
};
/// The epilogue of `root`; fails if the root's users have another form.
mlir::FailureOr<Epilogue> getEpilogue(mlir::Operation *root);

} // namespace qcc

#endif // QCC_CODEGEN_KERNELBUILDER_H
