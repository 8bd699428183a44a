//===- Cpu.h - what this machine's CPU can do -------------------*- C++ -*-===//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef QCC_LIB_RUNTIME_CPU_H
#define QCC_LIB_RUNTIME_CPU_H

#include <stdint.h>

namespace qcc::runtime {

/// Bits 1 << qcc_cpu_feature of the features that CPUID reports and whose
/// registers the operating system keeps (XCR0). Models and vendors are never
/// looked at. Permission for AMX is asked for only when `wanted` has it.
uint64_t hostFeatures(uint64_t wanted);

/// Takes away the features that `list` names, as "-avx512vnni,-amx_tile".
/// Nothing can be added. Null or unknown names: nothing happens.
uint64_t withoutFeatures(uint64_t features, const char *list);

/// Name of a feature as /proc/cpuinfo and compilers write it.
const char *featureName(uint32_t feature);

} // namespace qcc::runtime

#endif // QCC_LIB_RUNTIME_CPU_H
