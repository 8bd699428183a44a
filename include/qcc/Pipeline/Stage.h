//===- Stage.h - the stages of a compile ------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_PIPELINE_STAGE_H
#define QCC_PIPELINE_STAGE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <optional>

namespace qcc {

/// The stages in the order in which data flows. `--emit=NAME` stops after any.
/// Up to Plan the state is text IR that can be read back.
enum class Stage {
  Import,    ///< qcc ops, float
  Calibrate, ///< statistics collected
  Transform, ///< equal in float, easier to quantize
  Assign,    ///< storage and compute format per op
  Quantize,  ///< encoded weights, quantized ops
  Fuse,      ///< dispatch regions
  Schedule,  ///< kernels and launches, layouts chosen
  Plan,      ///< buffers, host program
  Codegen,   ///< kernel and host modules at the level of llvm
  Emit,      ///< object files
  Package    ///< the artifact
};

/// Name of a stage as `--emit` takes it, for example "import".
llvm::StringRef getStageName(Stage stage);
std::optional<Stage> parseStage(llvm::StringRef name);
llvm::ArrayRef<Stage> getAllStages();

} // namespace qcc

#endif // QCC_PIPELINE_STAGE_H
