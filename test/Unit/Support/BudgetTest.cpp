//===- BudgetTest.cpp - limits that a user sets -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Budget.h"
#include "gtest/gtest.h"

using namespace qcc;
using llvm::cantFail;

TEST(Budget, ReadsSizes) {
  Limit limit = cantFail(parseSizeLimit("--max-size", "0.3x"));
  EXPECT_TRUE(limit.isRelative);
  EXPECT_DOUBLE_EQ(limit.value, 0.3);
  for (auto [text, bytes] :
       {std::pair("120MB", 120e6), std::pair("1.5GiB", 1.5 * (1 << 30)),
        std::pair("700KB", 700e3), std::pair("4096B", 4096.0),
        std::pair("2KiB", 2048.0), std::pair("1TB", 1e12)}) {
    limit = cantFail(parseSizeLimit("--max-size", text));
    EXPECT_FALSE(limit.isRelative) << text;
    EXPECT_DOUBLE_EQ(limit.value, bytes) << text;
  }
}

TEST(Budget, ReadsSharesAndRatios) {
  EXPECT_DOUBLE_EQ(cantFail(parseShare("--max-drop", "1%")), 0.01);
  EXPECT_DOUBLE_EQ(cantFail(parseShare("--max-drop", "0.02")), 0.02);
  EXPECT_DOUBLE_EQ(cantFail(parseShare("--max-drop", "0")), 0.0);
  EXPECT_DOUBLE_EQ(cantFail(parseRatioLimit("--max-latency", "0.5x")).value,
                   0.5);
}

TEST(Budget, RefusesWhatIsNoLimit) {
  for (const char *text :
       {"", "x", "0.3", "0x", "-1x", "nanx", "infx", "1e999x", "MB", "0MB",
        "-3MB", "3PB", "3iB", "3 MB", "3mb", "B", "1MBx", "1.01x", "2x"})
    EXPECT_NE(toString(parseSizeLimit("--max-size", text).takeError())
                  .find("--max-size"),
              std::string::npos)
        << text;
  for (const char *text :
       {"", "%", "-1%", "nan", "inf", "1e9", "1x", "one", "1", "2"})
    EXPECT_NE(toString(parseShare("--max-drop", text).takeError()), "") << text;
  for (const char *text : {"", "0.5", "50%", "0x", "-0.5x"})
    EXPECT_NE(toString(parseRatioLimit("--max-latency", text).takeError()), "")
        << text;
  EXPECT_NE(toString(checkBudgets({"0.3x", "x", ""})), "");
  EXPECT_FALSE(checkBudgets({"0.3x", "1%", "0.5x"}));
  EXPECT_FALSE(checkBudgets({}));
}
