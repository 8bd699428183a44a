//===- Npz.h - reads and writes numpy archives ------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_DATA_NPZ_H
#define QCC_LIB_DATA_NPZ_H

#include "Array.h"

#include <filesystem>

namespace qcc::run {

/// The most that the members of one archive may hold together.
inline constexpr uint64_t maxArchiveBytes = uint64_t(16) << 30;

/// All members of an .npz, by the names of their tensors. Types that numpy
/// lacks are raw integers whose member's name ends in the type ("x.bf16"), one
/// byte per element for those below a byte. Throws BadData; a member that
/// claims more than it holds is refused before memory is taken for it.
std::vector<Array> readNpz(const std::filesystem::path &path);

/// Writes an .npz without compression; equal arrays give equal bytes. Throws
/// CannotWrite.
void writeNpz(const std::filesystem::path &path,
              const std::vector<Array> &arrays);

} // namespace qcc::run

#endif // QCC_LIB_DATA_NPZ_H
