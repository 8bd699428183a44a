//===- Budget.h - limits that a user sets -----------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_BUDGET_H
#define QCC_SUPPORT_BUDGET_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace qcc {

/// What --max-size, --max-drop and --max-latency said; "" where there is no
/// such limit.
struct Budgets {
  std::string size, drop, latency;

  bool any() const {
    return !size.empty() || !drop.empty() || !latency.empty();
  }
};

/// A part of what the float model takes (`0.3x`: 0.3, relative) or, for sizes,
/// bytes (`120MB`, `90MiB`, also K, G and no prefix).
struct Limit {
  double value = 0;
  bool isRelative = true;
};

/// Reads a limit; `flag` is for messages. Numbers are above 0 and finite, parts
/// of the float model's size at most 1. Errors: Usage.
llvm::Expected<Limit> parseSizeLimit(llvm::StringRef flag,
                                     llvm::StringRef text);
/// A relative limit. Errors: Usage.
llvm::Expected<Limit> parseRatioLimit(llvm::StringRef flag,
                                      llvm::StringRef text);
/// A share, 0.01 or 1%, not negative. One of 1 and more is taken as a
/// percentage only: a perplexity may rise by 150%. Errors: Usage.
llvm::Expected<double> parseShare(llvm::StringRef flag, llvm::StringRef text);

/// Errors of any of the limits.
llvm::Error checkBudgets(const Budgets &budgets);

} // namespace qcc

#endif // QCC_SUPPORT_BUDGET_H
