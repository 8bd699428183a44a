// RUN: qcc-opt %s --qcc-plan | FileCheck %s
#one = affine_map<() -> (1)>
#none = affine_map<() -> ()>

// Values live from the step that writes them to the last that reads them; the
// result is written where the caller wants it; the weight has a place.
// CHECK: qcc_host.weights [0] bytes 64
// CHECK: qcc.param "w"
// CHECK: qcc_host.entry @main
// CHECK-SAME: inputs [#qcc_host.tensor<"x", tensor<4xf32>>]
// CHECK-SAME: outputs [#qcc_host.tensor<"y", tensor<2x2xf32>>, #qcc_host.tensor<"output1", tensor<4xf32>>]
// CHECK-SAME: buffers [#qcc_host.buffer<#{{.*}}, 0, 2>, #qcc_host.buffer<#{{.*}}, 1, 2>]
// CHECK: qcc_host.dispatch @k [#qcc_host.slot<input, 0, 0>, #qcc_host.slot<weight, 0, 0>, #qcc_host.slot<arena, 0, 0>]
// CHECK: qcc_host.dispatch @k [#qcc_host.slot<arena, 0, 0>, #qcc_host.slot<weight, 0, 0>, #qcc_host.slot<arena, 1, 0>]
// CHECK: qcc_host.dispatch @k [#qcc_host.slot<arena, 0, 0>, #qcc_host.slot<arena, 1, 0>, #qcc_host.slot<output, 0, 0>]
// The second output is an input: copied.
// CHECK: qcc_host.copy <output, 1, 0> from <input, 0, 0>
// The state is written last.
// CHECK-NEXT: qcc_host.copy <state, 0, 0> from <output, 0, 0>
module attributes {qcc.symbols = []} {
qcc.state @s : tensor<4xf32>
qcc.kernel @k {kernel = "generic"} {
^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
  %0 = qcc.generic none ins(%a, %b : tensor<4xf32>, tensor<4xf32>)
      maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] {
  ^bb1(%p: f32, %q: f32):
    %r = arith.addf %p, %q : f32
    qcc.yield %r : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
func.func @main(%x: tensor<4xf32> {qcc.name = "x"}) -> (tensor<2x2xf32> {qcc.name = "y"}, tensor<4xf32>) {
  %w = qcc.param "w" : tensor<4xf32>
  %0 = qcc.launch @k(%x, %w) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = qcc.launch @k(%0, %w) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = qcc.launch @k(%0, %1) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  qcc.state_write @s, %2 : tensor<4xf32>
  %3 = qcc.reshape %2 : tensor<4xf32> -> tensor<2x2xf32>
  return %3, %x : tensor<2x2xf32>, tensor<4xf32>
}
}
