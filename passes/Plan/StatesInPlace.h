//===- StatesInPlace.h - states written where they are ----------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_PLAN_STATESINPLACE_H
#define QCC_PASSES_PLAN_STATESINPLACE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "qcc/Dialect/QCC/QCCDialect.h"

namespace qcc {

/// The value whose memory `value` views.
mlir::Value getBase(mlir::Value value);

/// Chooses the states of a function whose next values are written over the
/// current ones while they are computed, by what computes them (a result of a
/// launch for which `isFree` holds): nothing reads the current value behind it,
/// and it itself reads at most the element that it writes. A cache of keys and
/// values that new rows are put into is neither copied nor needed twice so.
/// Kernels that read what they overwrite get kInPlaceAttr.
llvm::DenseMap<mlir::Value, mlir::StringRef>
chooseStatesInPlace(mlir::func::FuncOp func,
                    llvm::function_ref<bool(mlir::Value)> isFree);

} // namespace qcc

#endif // QCC_PASSES_PLAN_STATESINPLACE_H
