// RUN: qcc-opt %s --qcc-specialize --split-input-file --verify-diagnostics | FileCheck %s
#shape = affine_map<()[s0, s1] -> (s0, s1)>
#half = affine_map<()[s0, s1] -> (s0, s1 floordiv 2)>
#read = affine_map<(d0, d1) -> (d0, d1 * 2)>
#equal = affine_map<()[s0, s1] -> (s0 * 2, s1)>
#other = affine_map<()[s0, s1] -> (s0 mod 2, s1 mod 2)>

// A copy for each combination; sizes are constants in it, and so is what
// follows from them. Checks that hold are gone.
// CHECK-NOT: qcc.sizes
// CHECK: func.func @main_batch2_a_b4(%{{.*}}: tensor<2x4xf32> {qcc.name = "x"}) -> tensor<2x2xf32>
// CHECK-SAME: qcc.checks = []
// CHECK: -> tensor<2x2xf32>
// CHECK: func.func @main_batch4_a_b4(%{{.*}}: tensor<4x4xf32>
// CHECK-NOT: func.func @main(
module attributes {qcc.symbols = ["batch", "a.b"], qcc.sizes = [array<i64: 0, 2, 4>, array<i64: 1, 4>]} {
  func.func @main(%x: tensor<?x?xf32, #shape> {qcc.name = "x"}) -> tensor<?x?xf32, #half> attributes {qcc.checks = [#other]} {
    %0 = qcc.generic none ins(%x : tensor<?x?xf32, #shape>) maps [#read] {
    ^bb0(%v: f32):
      qcc.yield %v : f32
    } -> tensor<?x?xf32, #half>
    return %0 : tensor<?x?xf32, #half>
  }
}

// -----

#shape = affine_map<()[s0, s1] -> (s0, s1)>
#equal = affine_map<()[s0, s1] -> (s0 * 2, s1)>
module attributes {qcc.symbols = ["batch", "width"], qcc.sizes = [array<i64: 0, 2, 3>, array<i64: 1, 4>]} {
  // expected-error @+1 {{the sizes given by --dim for 'main_batch3_width4' do not fit each other}}
  func.func @main(%x: tensor<?x?xf32, #shape>) -> tensor<?x?xf32, #shape> attributes {qcc.checks = [#equal]} {
    return %x : tensor<?x?xf32, #shape>
  }
}

// -----

// expected-error @+3 {{expected one size of 'batch', which state 's' has, but got several by --dim}}
#shape = affine_map<()[s0] -> (s0)>
module attributes {qcc.symbols = ["batch"], qcc.sizes = [array<i64: 0, 2, 3>]} {
  qcc.state @s : tensor<?xf32, #shape>
}
