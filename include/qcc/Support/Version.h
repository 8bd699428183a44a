//===- Version.h - the version of qcc ---------------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_SUPPORT_VERSION_H
#define QCC_SUPPORT_VERSION_H

/// The version of the compiler; the build checks that it is that of
/// CMakeLists.txt. Plugins carry it and are refused when it differs.
#define QCC_VERSION_STRING "0.1.0"

#endif // QCC_SUPPORT_VERSION_H
