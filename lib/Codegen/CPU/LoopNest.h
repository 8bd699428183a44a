//===- LoopNest.h - the iteration space of a generic kernel -----*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_CODEGEN_CPU_LOOPNEST_H
#define QCC_LIB_CODEGEN_CPU_LOOPNEST_H

#include "mlir/IR/OwningOpRef.h"
#include "qcc/Codegen/KernelBuilder.h"
#include "qcc/Target/Target.h"

namespace qcc {

/// A root generic and what follows it.
struct LoopNest {
  GenericOp root;
  Epilogue epilogue;
  /// All generics of the nest, the root first.
  llvm::SmallVector<GenericOp> generics() {
    llvm::SmallVector<GenericOp> all{root};
    llvm::append_range(all, epilogue.chain);
    return all;
  }
};

/// True if a tensor lies in memory: an argument or a constant, also reshaped.
bool isInMemory(mlir::Value tensor);

/// The nest in a dispatch's or kernel's block, if the block holds generics
/// only, in a form that the generic emitter takes.
mlir::FailureOr<LoopNest> getLoopNest(mlir::Block &block);

/// Merges neighbouring iteration dimensions that all operands of the nest read
/// contiguously, by reshapes before and after it. Changes the block.
void collapseDims(LoopNest &nest);

/// The root's dimensions that `collapseDims` would merge: the first and the
/// number of dimensions of each group, in order.
llvm::SmallVector<std::pair<unsigned, unsigned>> getDimGroups(LoopNest &nest);

/// A copy of a dispatch or kernel whose nest is collapsed.
struct CollapsedNest {
  mlir::OwningOpRef<mlir::Operation *> copy;
  LoopNest nest; ///< in the copy
};

/// Collapses a copy of `op`: others need it as it is. Fails as getLoopNest.
mlir::FailureOr<CollapsedNest> collapseCopy(mlir::Operation *op);

/// How the work is split into tasks: blocks of `rows` iterations of all
/// parallel dimensions but the last, by `cols` of the last. Functions of the
/// shapes only, never of the machine.
struct Grain {
  mlir::AffineExpr outer, inner; ///< extents of both spaces
  mlir::AffineExpr rows, cols;   ///< of one task
  mlir::AffineExpr rowTasks, colTasks;
};
/// `parallel` are the extents of the parallel dimensions, `depth` the work for
/// each of their points.
Grain getGrain(llvm::ArrayRef<mlir::AffineExpr> parallel,
               mlir::AffineExpr depth);

/// A schedule without parameters that has the grain's tasks.
KernelSchedule makeSchedule(const Grain &grain);

/// True if there are vectors at all levels.
bool haveVectors(llvm::ArrayRef<Capabilities> levels);

/// Calls `body(rowBegin, rowEnd, colBegin, colEnd)` for each task of this call
/// of the kernel.
void forEachTask(
    KernelBuilder &b, const Grain &grain,
    llvm::function_ref<void(mlir::Value rowBegin, mlir::Value rowEnd,
                            mlir::Value colBegin, mlir::Value colEnd)>
        body);

/// Calls `body(row, colBegin, colEnd)` for everything in the tasks of this call
/// of the kernel.
void forEachRow(KernelBuilder &b, const Grain &grain,
                llvm::function_ref<void(mlir::Value row, mlir::Value colBegin,
                                        mlir::Value colEnd)>
                    body);

/// The same with the indices of the row along `extents`, whose product is the
/// outer extent.
void forEachRow(
    KernelBuilder &b, const Grain &grain,
    llvm::ArrayRef<mlir::AffineExpr> extents,
    llvm::function_ref<void(llvm::ArrayRef<mlir::Value> indices,
                            mlir::Value colBegin, mlir::Value colEnd)>
        body);

/// The indices along `extents` of position `linear` in row-major order.
llvm::SmallVector<mlir::Value>
delinearize(KernelBuilder &b, mlir::Value linear,
            llvm::ArrayRef<mlir::AffineExpr> extents);

} // namespace qcc

#endif // QCC_LIB_CODEGEN_CPU_LOOPNEST_H
