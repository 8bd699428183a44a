//===- Json.h - JSON of files that may be hostile ---------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_JSON_H
#define QCC_SUPPORT_JSON_H

#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

namespace qcc {

/// The value that a text is. LLVM's parser recurses for each list and object:
/// ones nested deeper than 32 are an error (ours nest five deep).
llvm::Expected<llvm::json::Value> parseJson(llvm::StringRef text);

} // namespace qcc

#endif // QCC_SUPPORT_JSON_H
