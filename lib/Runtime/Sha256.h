//===- Sha256.h - SHA-256 for the check of weights --------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_SHA256_H
#define QCC_LIB_RUNTIME_SHA256_H

#include <stdint.h>

namespace qcc::runtime {

/// The SHA-256 digest (FIPS 180-4) of `bytes` bytes at `data`.
void sha256(const void *data, uint64_t bytes, uint8_t digest[32]);

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_SHA256_H
