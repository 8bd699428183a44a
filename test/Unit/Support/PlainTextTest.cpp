//===- PlainTextTest.cpp - text out of files ---------------------*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Diagnostics.h"
#include "gtest/gtest.h"

using qcc::toPlainText;

TEST(PlainText, KeepsText) {
  EXPECT_EQ(toPlainText(""), "");
  EXPECT_EQ(toPlainText("conv_1/Add: [N, 3]"), "conv_1/Add: [N, 3]");
  EXPECT_EQ(toPlainText("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc2\xa0."),
            "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc2\xa0.");
  EXPECT_EQ(toPlainText("\xe2\x80\xa9\xe2\x80\xaf"), // beside the marks
            "\xe2\x80\xa9\xe2\x80\xaf");
}

TEST(PlainText, LeavesOutControls) {
  EXPECT_EQ(toPlainText("a\x1b[31m\nb\x7f"), "a [31m b ");
  EXPECT_EQ(toPlainText(llvm::StringRef("\0x", 2)), " x");
  EXPECT_EQ(toPlainText("\xc2\x9b"
                        "31m"),
            " 31m"); // CSI in one character
  EXPECT_EQ(toPlainText("a\xe2\x80\xae"
                        "b\xe2\x81\xa6"),
            "a b ");
}

TEST(PlainText, ReplacesWhatIsNoText) {
  for (const char *text :
       {"\x9b", "\xff", "\xc2", "\xe2\x80", "\xed\xa0\x80"}) {
    std::string plain = toPlainText(text);
    EXPECT_EQ(llvm::StringRef(plain).take_front(3), "\xef\xbf\xbd") << text;
    EXPECT_EQ(plain.find('\x9b'), std::string::npos);
  }
}
