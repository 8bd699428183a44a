//===- HashTest.cpp - SHA-256 against LLVM's --------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "qcc/Support/Hash.h"
#include "llvm/Support/SHA256.h"
#include "gtest/gtest.h"

using namespace qcc;

TEST(Hash, IsThatOfTheStandard) {
  // FIPS 180-4 examples.
  EXPECT_EQ(hashBytes("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223"
                              "b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hashBytes(""), "sha256:e3b0c44298fc1c149afbf4c8996fb924"
                           "27ae41e4649b934ca495991b7852b855");
}

TEST(Hash, IsThatOfLLVMAtEveryLength) {
  std::vector<char> bytes;
  for (unsigned length = 0; length < 400; ++length) {
    EXPECT_EQ(hashSha256(bytes),
              llvm::SHA256::hash(
                  {reinterpret_cast<const uint8_t *>(bytes.data()), length}))
        << length;
    bytes.push_back(static_cast<char>(length * 37 + (length >> 3)));
  }
}
