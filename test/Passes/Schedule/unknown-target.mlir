// RUN: not qcc-opt %s --qcc-schedule=target=vax 2>&1 | FileCheck %s
// CHECK: expected a target of reference, avx2, avx512, avx512-vnni, amx, native, but got 'vax'; `qcc targets` lists them [QCC-E401]
func.func @main() {
  return
}
