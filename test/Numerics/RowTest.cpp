//===- RowTest.cpp - kernels of row-wise operations --------------*- C++
//-*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Harness.h"
#include "qcc/Codegen/Emitters.h"
#include "gtest/gtest.h"
