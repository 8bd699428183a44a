//===- TargetRegistry.cpp - targets by name ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Diagnostics.h"
#include "qcc/Target/Target.h"
#include "llvm/ADT/StringExtras.h"

using namespace qcc;

llvm::Expected<std::pair<const Target *, llvm::SmallVector<Capabilities>>>
TargetRegistry::find(llvm::StringRef value) const {
  for (const std::unique_ptr<Target> &target : targets) {
    llvm::SmallVector<Capabilities> levels = target->parse(value);
    if (!levels.empty())
      return std::make_pair(static_cast<const Target *>(target.get()),
                            std::move(levels));
  }
  std::string known =
      llvm::join(llvm::map_range(targets,
                                 [](const std::unique_ptr<Target> &target) {
                                   return target->getName().str();
                                 }),
                 ", ");
  return makeError(Diag::UnsupportedTarget, "",
                   "expected a level of one of the targets " + known +
                       ", but got '" + value.str() + "'");
}
