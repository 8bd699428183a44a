//===- Speed.h - products that integers would not make faster ---*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PASSES_QUANTIZE_STATICINT8_SPEED_H
#define QCC_PASSES_QUANTIZE_STATICINT8_SPEED_H

#include "mlir/IR/BuiltinOps.h"
#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Dialect/QCC/QCCDialect.h"
#include "qcc/Target/Target.h"

namespace qcc {

/// Of the products and convolutions that could run in integers, those that
/// should for speed: the choice of least time by the target's figures for its
/// lowest level, over whole regions, since codes that only one operation reads
/// have to be made and floats that the others read to be brought back. All of
/// them where the target has no figures. Sizes that are not known count as 1
/// where they are an input's first dimension, else as in the first of the
/// samples, and as 64 where that does not say.
///
/// `isDynamic`: of convolutions whose input is rounded with scales found at run
/// time. Between them are floats, so other operations gain nothing, and only
/// the order of dimensions differs at borders.
llvm::SmallVector<mlir::Operation *>
chooseFaster(mlir::ModuleOp module,
             llvm::ArrayRef<mlir::Operation *> candidates, const Target &target,
             const Capabilities &level, llvm::ArrayRef<Sample> samples = {},
             bool isDynamic = false);

/// The attentions that products of codes make faster, by the same figures and
/// sizes; all of them where the target has no figures.
llvm::SmallVector<AttentionOp>
chooseFaster(mlir::ModuleOp module, llvm::ArrayRef<AttentionOp> attentions,
             const Target &target, const Capabilities &level,
             llvm::ArrayRef<Sample> samples);

/// What a layer takes, in nanoseconds.
struct LayerTimes {
  double inIntegers, inFloats;
};

/// What each of the products and convolutions takes, without borders and by the
/// same figures and sizes; none where the target has no figures.
std::optional<std::vector<LayerTimes>>
estimateTimes(mlir::ModuleOp module, llvm::ArrayRef<mlir::Operation *> layers,
              const Target &target, const Capabilities &level,
              llvm::ArrayRef<Sample> samples = {});

} // namespace qcc

#endif // QCC_PASSES_QUANTIZE_STATICINT8_SPEED_H
