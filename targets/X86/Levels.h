//===- Levels.h - feature levels of x86-64 ----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_TARGETS_X86_LEVELS_H
#define QCC_TARGETS_X86_LEVELS_H

#include "qcc/Codegen/KernelBuilder.h"

namespace qcc::x86 {

/// What each level can do, lowest first. Every level includes those below.
llvm::ArrayRef<Capabilities> getLevels();

/// Number of the highest level that this machine's CPUID bits and the operating
/// system's XCR0 allow, whatever the model; none below AVX2.
std::optional<unsigned> detectNativeLevel();

/// Levels named by a `--target` value: level names, their aliases (cascadelake,
/// icelake, sapphirerapids) and `native`, joined by `+`; in ascending order
/// without duplicates, empty if a part is not known.
llvm::SmallVector<Capabilities> parseLevels(llvm::StringRef value);

} // namespace qcc::x86

#endif // QCC_TARGETS_X86_LEVELS_H
