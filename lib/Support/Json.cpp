//===- Json.cpp - JSON of files that may be hostile -------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Json.h"

using namespace llvm;

namespace qcc {

static constexpr unsigned kMaxDepth = 32;

static bool isTooDeep(StringRef text) {
  unsigned depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      i += c == '\\';
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth)
        return true;
    } else if ((c == ']' || c == '}') && depth) {
      --depth;
    }
  }
  return false;
}

Expected<json::Value> parseJson(StringRef text) {
  if (isTooDeep(text))
    return createStringError("expected lists and objects nested at most %u "
                             "deep",
                             kMaxDepth);
  return json::parse(text);
}

} // namespace qcc
