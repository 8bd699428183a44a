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

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Dialect/QCC/Shape.h"

namespace qcc {

/// What the instructions of one feature level can do; all an emitter may know
/// of the machine. Filled by a target.
struct Capabilities {
  std::string level;   ///< "avx2", "avx512", "avx512-vnni", "amx", "scalar"
  std::string llvmCpu; ///< for TargetMachine, e.g. "haswell"
  std::string llvmFeatures;
  /// What the CPU must have: bits 1 << qcc_cpu_feature (qcc/Runtime/Program.h).
  uint64_t cpuFeatures = 0;
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
  /// its body. The pointers are noalias to each other, but for the two that
  /// kInPlaceAttr tells of.
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
  mlir::Value offset(mlir::Type tensorType,
                     llvm::ArrayRef<mlir::Value> indices);

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
  /// Elements at a vector of offsets (vector<lanes x index>); lanes that the
  /// mask has off read zero.
  mlir::Value gather(mlir::Value pointer, mlir::Type element,
                     mlir::Value offsets, mlir::Value mask = {});
  /// first, first + 1, ...: vector<lanes x index>.
  mlir::Value indicesFrom(mlir::Value first, unsigned lanes);
  /// Mask of the first `count` (index) of `lanes` lanes.
  mlir::Value firstLanes(mlir::Value count, unsigned lanes);
  void prefetch(mlir::Value pointer, mlir::Type element, mlir::Value offset);
  /// `bytes` on the stack for the whole function, aligned to 64: a few KiB at
  /// most.
  mlir::Value stackBuffer(int64_t bytes);

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
              mlir::Value, llvm::ArrayRef<mlir::Value>)>
              body,
          LoopHint hint = LoopHint::None);
  /// The same without carried values.
  void forLoop(mlir::Value lower, mlir::Value upper, mlir::Value step,
               llvm::function_ref<void(mlir::Value)> body,
               LoopHint hint = LoopHint::None);

  /// Runs `then` or `otherwise`, as `condition` (i1) says.
  void emitEither(mlir::Value condition, llvm::function_ref<void()> then,
                  llvm::function_ref<void()> otherwise);

  /// Clones the body of a generic on given argument values. `args` are the
  /// scalars (or vectors of `lanes`) of the inputs; `indices` the iteration
  /// indices for qcc.index (that of `laneDim`, by default the last one, is the
  /// first lane's and lane i is index + i); whole operands are read through
  /// `wholePointer`. Types of all scalar ops are lifted to vectors of `lanes`.
  /// Lanes that `mask` has off do not touch memory. Returns the yielded value;
  /// fails if the body cannot be lifted (then use lanes = 1, which always
  /// works).
  mlir::FailureOr<mlir::Value>
  inlineBody(GenericOp generic, llvm::ArrayRef<mlir::Value> args,
             llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
             llvm::function_ref<mlir::Value(unsigned wholeIndex)> wholePointer,
             mlir::Value mask = {}, std::optional<unsigned> laneDim = {});

private:
  mlir::Value symbol(unsigned position);
  mlir::Value fromStorage(mlir::Value value, mlir::Type element);
  mlir::Value toStorage(mlir::Value value, mlir::Type element);

  Capabilities capabilities;
  KernelOp kernelOp;
  mlir::Value begin, end, scratchPtr, dimsPtr;
  llvm::SmallVector<mlir::Value> pointers, symbols;
};

/// True if `inlineBody` can lift the body to vectors: it has no loop and no
/// integer division. Both arms of a conditional are computed then, with masked
/// reads.
bool canVectorize(GenericOp generic);

/// By how much an expression grows with iteration dimension `dim`; none if the
/// growth is not constant.
std::optional<int64_t> getDimStep(mlir::AffineExpr expr, unsigned dim);

/// Values that are in registers already: (tensor, its element or elements at
/// the point of the read).
using ComputedValues = llvm::ArrayRef<std::pair<mlir::Value, mlir::Value>>;

/// Pointer of a tensor of the kernel that lies in memory: an argument or a
/// constant, also behind reshapes. Null for a computed one.
mlir::Value getTensorPointer(KernelBuilder &b, mlir::Value tensor);

/// Reads any tensor of the kernel at `map(indices)`: loads it, or computes it
/// there if it is the result of an elementwise generic (a prologue). With
/// lanes > 1 index `laneDim` (the last one by default) runs over the lanes, and
/// the result is a vector, or a scalar if it is equal in all lanes. With a mask
/// only its lanes are read; lane 0 must be on. Fails for reads that vectors
/// cannot do; with lanes = 1 only for results of reductions and of named
/// operations.
mlir::FailureOr<mlir::Value> readTensor(KernelBuilder &b, mlir::Value tensor,
                                        mlir::AffineMap map,
                                        llvm::ArrayRef<mlir::Value> indices,
                                        unsigned lanes, mlir::Value mask = {},
                                        ComputedValues computed = {},
                                        std::optional<unsigned> laneDim = {});

/// The body of a generic at `indices` with inputs as `readTensor` gives them;
/// for a reduction the value to be combined. Vector or scalar as there.
mlir::FailureOr<mlir::Value>
computeGeneric(KernelBuilder &b, GenericOp generic,
               llvm::ArrayRef<mlir::Value> indices, unsigned lanes,
               mlir::Value mask = {}, ComputedValues computed = {},
               std::optional<unsigned> laneDim = {});

/// The elementwise chain after a kernel's root, ready to be inlined in an
/// emitter: the generics that follow the root's result by identity maps up to
/// the kernel's yield.
struct Epilogue {
  llvm::SmallVector<GenericOp> chain;
  mlir::Value rootResult;
  /// The result's dimension that vectors run along; none: the last one.
  std::optional<unsigned> laneDim;
  /// Applies the chain to `value` (scalar or vector of lanes) at `indices` of
  /// the result; loads the other operands. With a mask only its lanes are read;
  /// lane 0 must be on.
  mlir::FailureOr<mlir::Value> apply(KernelBuilder &b, mlir::Value value,
                                     llvm::ArrayRef<mlir::Value> indices,
                                     unsigned lanes,
                                     mlir::Value mask = {}) const;
  /// True if a body has functions such as `erf`: many operations, each of which
  /// waits for the one before.
  bool hasFunctions() const;
};
/// The epilogue of `root`; fails if the root's users have another form.
mlir::FailureOr<Epilogue> getEpilogue(mlir::Operation *root);

} // namespace qcc

#endif // QCC_CODEGEN_KERNELBUILDER_H
