// RUN: qcc-opt %s --qcc-plan | FileCheck %s
#one = affine_map<() -> (1)>
#none = affine_map<() -> ()>
#n = affine_map<()[s0] -> (s0)>
#stack = affine_map<()[s0, s1, s2] -> (s2, 4)>

// What a loop reads from outside, and the carried value, live until its end; a
// stack whose length is not known is a block that grows. A value whose size is
// found at run time is a block that is reserved before it is written and freed
// behind its last reader.
// CHECK: qcc_host.entry @main
// CHECK-SAME: buffers [#qcc_host.buffer<#{{.*}}, 0, 7>, #qcc_host.buffer<#{{.*}}, 1, 7>, #qcc_host.buffer<#{{.*}}, 2, 7>
// CHECK: qcc_host.dispatch @k [#qcc_host.slot<input, 0, 0>, #qcc_host.slot<input, 0, 0>, #qcc_host.slot<arena, 0, 0>]
// CHECK: qcc_host.copy <arena, 1, 0> from <input, 0, 0>
// CHECK: qcc_host.reserve <host, 0, 0> bytes
// CHECK: qcc_host.copy <arena, 2, 0> from <input, 1, 0>
// CHECK: qcc_host.loop 1 count 2 while <arena, 2, 0> {
// CHECK-NEXT: qcc_host.dispatch @k [#qcc_host.slot<arena, 1, 0>, #qcc_host.slot<arena, 0, 0>, #qcc_host.slot<arena, 3, 0>]
// CHECK-NEXT: qcc_host.reserve <host, 0, 0> bytes #{{.*}} {keep}
// CHECK-NEXT: qcc_host.copy <host, 0, 0> at #{{.*}} from <arena, 3, 0>
// CHECK-NEXT: qcc_host.copy <arena, 2, 0> from <input, 1, 0>
// CHECK-NEXT: qcc_host.copy <arena, 1, 0> from <arena, 3, 0>
// CHECK-NEXT: }
// CHECK: qcc_host.bind 0 from <input, 2, 0> tensor<1xi64> element 0
// CHECK-NEXT: qcc_host.reserve <host, 1, 0> bytes
// CHECK-NEXT: qcc_host.dispatch @fill [#qcc_host.slot<host, 1, 0>]
// CHECK-NEXT: qcc_host.prepare <output, 0, 0>
// CHECK-NEXT: qcc_host.dispatch @copy [#qcc_host.slot<host, 1, 0>, #qcc_host.slot<output, 0, 0>]
// CHECK-NEXT: qcc_host.release <host, 1, 0>
// CHECK: qcc_host.prepare <output, 1, 0>
// CHECK-NEXT: qcc_host.copy <output, 1, 0> from <host, 0, 0>
// CHECK-NEXT: qcc_host.release <host, 0, 0>
module attributes {qcc.symbols = ["n", "i", "k"], qcc.runtime_from = 0 : i64} {
qcc.kernel @k {kernel = "generic"} {
^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
  qcc.yield %a : tensor<4xf32>
}
qcc.kernel @fill {kernel = "generic"} {
  %0 = qcc.generic none maps [] {
    %z = arith.constant 0.0 : f32
    qcc.yield %z : f32
  } -> tensor<?xf32, #n>
  qcc.yield %0 : tensor<?xf32, #n>
}
qcc.kernel @copy {kernel = "generic"} {
^bb0(%a: tensor<?xf32, #n>):
  qcc.yield %a : tensor<?xf32, #n>
}
func.func @main(%x: tensor<4xf32>, %c: tensor<i1>, %m: tensor<1xi64>) -> (tensor<?xf32, #n>, tensor<?x4xf32, #stack>) {
  %0 = qcc.launch @k(%x, %x) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1:2 = qcc.loop while %c : tensor<i1> init(%x) attributes {iteration = 1 : i64, count = 2 : i64}
      : (tensor<4xf32>) -> (tensor<4xf32>, tensor<?x4xf32, #stack>) {
  ^bb0(%v: tensor<4xf32>):
    %w = qcc.launch @k(%v, %0) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
    qcc.yield %c, %w, %w : tensor<i1>, tensor<4xf32>, tensor<4xf32>
  }
  qcc.bind 0 from %m : tensor<1xi64>
  %2 = qcc.launch @fill() dims #n tasks #one : () -> tensor<?xf32, #n>
  %3 = qcc.launch @copy(%2) dims #n tasks #one : (tensor<?xf32, #n>) -> tensor<?xf32, #n>
  return %3, %1#1 : tensor<?xf32, #n>, tensor<?x4xf32, #stack>
}
}
