// RUN: qcc-opt %s | FileCheck %s
// RUN: qcc-opt %s | qcc-opt | FileCheck %s
// RUN: qcc-opt %s --mlir-print-op-generic | qcc-opt | FileCheck %s

// Programs, sizes found at run time, branches and loops come back as they were written.
#rows = affine_map<() -> (4)>
#trip = affine_map<()[s0] -> (s0)>
#size = affine_map<()[s0, s1] -> (s1)>
#grow = affine_map<()[s0, s1] -> (s1 + 2)>
#stack = affine_map<()[s0, s1, s2, s3] -> (s3, 2)>
#pair = affine_map<()[s0, s1] -> (s1, s0)>
#two = affine_map<() -> (2)>

module attributes {qcc.symbols = ["a", "n", "i", "k"], qcc.runtime_from = 1 : i64} {
  // CHECK-LABEL: func.func @sums
  func.func @sums(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
    // CHECK: qcc.program(%{{.*}}) over #{{.*}} : (tensor<4x8xf32>) -> tensor<4x8xf32> {
    %0 = qcc.program (%x) over #rows : (tensor<4x8xf32>) -> tensor<4x8xf32> {
    ^bb0(%in: tensor<4x8xf32>, %out: tensor<4x8xf32>):
      %row = qcc.index 0
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c8 = arith.constant 8 : index
      %zero = arith.constant 0.0 : f32
      %last = scf.for %i = %c0 to %c8 step %c1 iter_args(%sum = %zero) -> f32 {
        %v = qcc.read %in[%row, %i] : tensor<4x8xf32> -> f32
        %next = arith.addf %sum, %v : f32
        // CHECK: qcc.write %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}] : f32, tensor<4x8xf32>
        qcc.write %next, %out[%row, %i] : f32, tensor<4x8xf32>
        scf.yield %next : f32
      }
      qcc.yield
    }
    return %0 : tensor<4x8xf32>
  }

  // CHECK-LABEL: func.func @flow
  func.func @flow(%c: tensor<i1>, %n: tensor<2xi64>, %x: tensor<2xf32>) -> tensor<?x2xf32, #stack> {
    // CHECK: qcc.bind 1 from %{{.*}} : tensor<2xi64> {element = 1 : i64}
    qcc.bind 1 from %n : tensor<2xi64> {element = 1 : i64}
    // CHECK: qcc.check #
    qcc.check #pair
    // CHECK: qcc.if %{{.*}} : tensor<i1> -> (tensor<?xf32, #{{.*}}>)
    %0 = qcc.if %c : tensor<i1> -> (tensor<?xf32, #size>) {
      // CHECK: qcc.bind 1 to #
      qcc.bind 1 to #two
      qcc.yield %x : tensor<2xf32>
    // CHECK: else
    } else {
      qcc.bind 1 to #two
      qcc.yield %x : tensor<2xf32>
    }
    // CHECK: qcc.loop while %{{.*}} : tensor<i1> init(%{{.*}}) attributes
    %1:2 = qcc.loop while %c : tensor<i1> init(%0) attributes {iteration = 2 : i64, count = 3 : i64, trip = #trip,
        sizes = array<i64: 1>, next = #grow} : (tensor<?xf32, #size>) -> (tensor<?xf32, #size>, tensor<?x2xf32, #stack>) {
    ^bb0(%v: tensor<?xf32, #size>):
      %w = qcc.concat 0, %v, %x : (tensor<?xf32, #size>, tensor<2xf32>) -> tensor<?xf32, #grow>
      qcc.yield %c, %w, %x : tensor<i1>, tensor<?xf32, #grow>, tensor<2xf32>
    }
    return %1#1 : tensor<?x2xf32, #stack>
  }
}
