//===- Hash.h - SHA-256 of large files --------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_HASH_H
#define QCC_SUPPORT_HASH_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <array>
#include <cstdint>
#include <string>

namespace qcc {

using Digest = std::array<uint8_t, 32>;

/// SHA-256 (FIPS 180-4), with the CPU's instructions for it where it has them:
/// a model of some GiB is read several times while an artifact is written.
Digest hashSha256(llvm::ArrayRef<char> bytes);

/// "sha256:" and the digest in lower-case hexadecimal, as manifests write it.
std::string toText(const Digest &digest);

/// The text of the hash of bytes.
std::string hashBytes(llvm::StringRef bytes);
/// The same of a file. Errors: BadArtifact if it cannot be read.
llvm::Expected<std::string> hashFile(llvm::StringRef path);

} // namespace qcc

#endif // QCC_SUPPORT_HASH_H
