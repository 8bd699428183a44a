//===- KernelProbe.h - a dispatch as a model of its own ---------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_PIPELINE_KERNELPROBE_H
#define QCC_LIB_PIPELINE_KERNELPROBE_H

#include "mlir/IR/OwningOpRef.h"
#include "qcc/Calibration/HostExecutor.h"
#include "qcc/Target/Target.h"

namespace qcc {

/// Bytes of a tensor at these sizes of symbols; none if they are not known or
/// not sound, or more than a GiB.
std::optional<int64_t> countBytes(mlir::Type type,
                                  llvm::ArrayRef<int64_t> sizes);

/// A dispatch as a model of its own, with an entry for each of its schedules.
class KernelProbe {
public:
  /// `sizes` are those of the symbols of the dispatch's module. None if the
  /// sizes of its tensors do not follow from those of its inputs, or are not
  /// known.
  static std::optional<KernelProbe>
  create(DispatchOp dispatch, llvm::ArrayRef<KernelSchedule> schedules,
         llvm::ArrayRef<int64_t> sizes);

  /// After Fuse, with kScheduleAttr on the dispatch of each function.
  mlir::ModuleOp getModule() const { return module.get(); }
  /// What the dispatch computes: equal for dispatches that share kernels.
  std::string printWork() const;
  /// Random inputs.
  Sample makeSample() const;

private:
  void addEntry(DispatchOp dispatch, llvm::StringRef name,
                llvm::StringRef schedule);
  bool renumberSymbols(llvm::ArrayRef<int64_t> all);

  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<int64_t> sizes; ///< of the probe's symbols
};

} // namespace qcc

#endif // QCC_LIB_PIPELINE_KERNELPROBE_H
