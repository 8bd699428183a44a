//===- GenericTest.cpp - kernels of qcc.generic -----------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "Harness.h"
#include "qcc/Codegen/Emitters.h"
#include "gtest/gtest.h"
