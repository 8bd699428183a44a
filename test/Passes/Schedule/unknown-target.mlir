// RUN: not qcc-opt %s --qcc-schedule=target=vax 2>&1 | FileCheck %s
// CHECK: expected a level of one of the targets reference, x86, but got 'vax' [QCC-E306]
func.func @main() {
  return
}
