//===- Budget.cpp - limits that a user sets ---------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Budget.h"
#include "qcc/Support/Diagnostics.h"
#include <cmath>

using namespace qcc;
using llvm::StringRef;

/// A number that is finite and above 0, or 0 too.
static bool readNumber(StringRef text, double &value, bool orZero) {
  return !text.getAsDouble(value) && std::isfinite(value) &&
         (orZero ? value >= 0 : value > 0);
}

llvm::Expected<Limit> qcc::parseSizeLimit(StringRef flag, StringRef text) {
  StringRef number = text;
  Limit limit;
  if (number.consume_back("x")) {
    if (readNumber(number, limit.value, /*orZero=*/false)) {
      if (limit.value <= 1)
        return limit;
      return makeError(Diag::Usage, flag,
                       "expected a part of the float model's size, at most 1x, "
                       "but got '" +
                           text +
                           "', which limits nothing; half the size is 0.5x");
    }
  } else if (number.consume_back("B")) {
    double unit = 1, base = number.consume_back("i") ? 1024 : 1000;
    constexpr StringRef kPrefixes = "KMGT";
    bool isPlain = number.empty() || llvm::isDigit(number.back());
    if (!isPlain) {
      size_t power = kPrefixes.find(number.back());
      number = number.drop_back();
      unit = power == StringRef::npos ? 0 : std::pow(base, double(power + 1));
    }
    limit.isRelative = false;
    if (unit > 0 && !(isPlain && base == 1024) &&
        readNumber(number, limit.value, /*orZero=*/false)) {
      limit.value *= unit;
      return limit;
    }
  }
  return makeError(Diag::Usage, flag,
                   "expected a part of the float model's size (0.3x) or bytes "
                   "(120MB), but got '" +
                       text + "'");
}

llvm::Expected<Limit> qcc::parseRatioLimit(StringRef flag, StringRef text) {
  StringRef number = text;
  Limit limit;
  if (number.consume_back("x") &&
      readNumber(number, limit.value, /*orZero=*/false))
    return limit;
  return makeError(Diag::Usage, flag,
                   "expected a part of the float model's time such as 0.5x, "
                   "but got '" +
                       text + "'");
}

llvm::Expected<double> qcc::parseShare(StringRef flag, StringRef text) {
  StringRef number = text;
  bool isPercent = number.consume_back("%");
  double value = 0;
  if (!readNumber(number, value, /*orZero=*/true) || value > 1e6)
    return makeError(Diag::Usage, flag,
                     "expected a share such as 0.01 or 1%, but got '" + text +
                         "'");
  if (!isPercent && value >= 1)
    return makeError(Diag::Usage, flag,
                     "expected a share below 1, or a percentage such as '" +
                         text + "%', but got '" + text +
                         "'; one percent is 1% or 0.01");
  return isPercent ? value / 100 : value;
}

llvm::Error qcc::checkBudgets(const Budgets &budgets) {
  if (!budgets.size.empty())
    if (auto limit = parseSizeLimit("--max-size", budgets.size); !limit)
      return limit.takeError();
  if (!budgets.drop.empty())
    if (auto limit = parseShare("--max-drop", budgets.drop); !limit)
      return limit.takeError();
  if (!budgets.latency.empty())
    if (auto limit = parseRatioLimit("--max-latency", budgets.latency); !limit)
      return limit.takeError();
  return llvm::Error::success();
}
