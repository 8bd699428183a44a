// RUN: qcc-opt %s --qcc-fuse | FileCheck %s
// CHECK-DAG: #[[REPEATED:.*]] = affine_map<(d0)[s0] -> (-(d0 mod s0) + s0 - 1)>
#id2 = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d1)>

// Bias and activation become the epilogue of the product; the constant of the
// activation stands in the body.
// CHECK-LABEL: func.func @epilogue
// CHECK: qcc.dispatch(%arg0, %{{.*}}, %{{.*}})
// CHECK: qcc.matmul
// CHECK-NEXT: qcc.generic none
// CHECK: arith.addf
// CHECK: arith.maximumf
// CHECK-NOT: qcc.dispatch
// CHECK: return
func.func @epilogue(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = qcc.param "w" : tensor<4x8xf32>
  %b = qcc.param "b" : tensor<8xf32>
  %zero = qcc.constant dense<0.0> : tensor<f32> -> tensor<f32>
  %0 = qcc.matmul %x, %w : (tensor<2x4xf32>, tensor<4x8xf32>) -> tensor<2x8xf32>
  %1 = qcc.generic none ins(%0, %b : tensor<2x8xf32>, tensor<8xf32>) maps [#id2, #row] {
  ^bb0(%p: f32, %q: f32):
    %s = arith.addf %p, %q : f32
    qcc.yield %s : f32
  } -> tensor<2x8xf32>
  %2 = qcc.generic none ins(%1, %zero : tensor<2x8xf32>, tensor<f32>) maps [#id2, affine_map<(d0, d1) -> ()>] {
  ^bb0(%p: f32, %z: f32):
    %s = arith.maximumf %p, %z : f32
    qcc.yield %s : f32
  } -> tensor<2x8xf32>
  return %2 : tensor<2x8xf32>
}

// A product that is used twice keeps its result: no epilogue.
// CHECK-LABEL: func.func @two_uses
// CHECK: qcc.dispatch
// CHECK: qcc.matmul
// CHECK: qcc.yield
// CHECK: qcc.dispatch
// CHECK: arith.addf
func.func @two_uses(%x: tensor<2x4xf32>) -> (tensor<2x8xf32>, tensor<2x8xf32>) {
  %w = qcc.param "w" : tensor<4x8xf32>
  %0 = qcc.matmul %x, %w : (tensor<2x4xf32>, tensor<4x8xf32>) -> tensor<2x8xf32>
  %1 = qcc.generic none ins(%0 : tensor<2x8xf32>) maps [#id2] {
  ^bb0(%p: f32):
    %s = arith.addf %p, %p : f32
    qcc.yield %s : f32
  } -> tensor<2x8xf32>
  return %0, %1 : tensor<2x8xf32>, tensor<2x8xf32>
}

// Of two roots whose sum is asked for, the later one takes the sum.
// CHECK-LABEL: func.func @residual
// CHECK: %[[A:.*]] = qcc.dispatch
// CHECK: qcc.matmul
// CHECK-NEXT: qcc.yield
// CHECK: qcc.dispatch(%{{.*}}, %{{.*}}, %[[A]])
// CHECK: qcc.matmul
// CHECK: arith.addf
func.func @residual(%x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %w = qcc.param "w" : tensor<8x8xf32>
  %v = qcc.param "v" : tensor<8x8xf32>
  %0 = qcc.matmul %x, %w : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %1 = qcc.matmul %x, %v : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %2 = qcc.generic none ins(%0, %1 : tensor<2x8xf32>, tensor<2x8xf32>) maps [#id2, #id2] {
  ^bb0(%p: f32, %q: f32):
    %s = arith.addf %p, %q : f32
    qcc.yield %s : f32
  } -> tensor<2x8xf32>
  return %2 : tensor<2x8xf32>
}

// A transpose is read through the map of what uses it.
// CHECK-LABEL: func.func @transpose
// CHECK-COUNT-1: qcc.generic
// CHECK-SAME: maps [#{{.*}}]
// CHECK-NOT: qcc.generic
// CHECK: return
func.func @transpose(%x: tensor<2x3xf32>) -> tensor<3x2xf32> {
  %0 = qcc.generic none ins(%x : tensor<2x3xf32>) maps [affine_map<(d0, d1) -> (d1, d0)>] {
  ^bb0(%p: f32):
    qcc.yield %p : f32
  } -> tensor<3x2xf32>
  %1 = qcc.generic none ins(%0 : tensor<3x2xf32>) maps [#id2] {
  ^bb0(%p: f32):
    %e = math.exp %p : f32
    qcc.yield %e : f32
  } -> tensor<3x2xf32>
  return %1 : tensor<3x2xf32>
}

// The index of an inlined producer is that of the element its reader asks for.
// CHECK-LABEL: func.func @index
// CHECK: qcc.generic none
// CHECK: %[[C:.*]] = arith.constant 1
// CHECK: %[[I:.*]] = qcc.index 0
// CHECK: arith.addi %[[I]], %[[C]]
// CHECK-NOT: qcc.generic
// CHECK: return
func.func @index(%x: tensor<4xi64>) -> tensor<3xi64> {
  %0 = qcc.generic none ins(%x : tensor<4xi64>) maps [affine_map<(d0) -> (d0)>] {
  ^bb0(%p: i64):
    %i = qcc.index 0
    %v = arith.index_cast %i : index to i64
    %s = arith.addi %p, %v : i64
    qcc.yield %s : i64
  } -> tensor<4xi64>
  %1 = qcc.generic none ins(%0 : tensor<4xi64>) maps [affine_map<(d0) -> (d0 + 1)>] {
  ^bb0(%p: i64):
    %s = arith.muli %p, %p : i64
    qcc.yield %s : i64
  } -> tensor<3xi64>
  return %1 : tensor<3xi64>
}

// Reshapes and constant expressions stay outside.
// CHECK-LABEL: func.func @views
// CHECK: qcc.param
// CHECK-NEXT: qcc.generic
// CHECK: qcc.dispatch
// CHECK: qcc.reshape
func.func @views(%x: tensor<2x4xf32>) -> tensor<8x1xf32> {
  %w = qcc.param "w" : tensor<4x2xf32>
  %t = qcc.generic none ins(%w : tensor<4x2xf32>) maps [affine_map<(d0, d1) -> (d1, d0)>] {
  ^bb0(%p: f32):
    qcc.yield %p : f32
  } -> tensor<2x4xf32>
  %0 = qcc.generic none ins(%x, %t : tensor<2x4xf32>, tensor<2x4xf32>) maps [#id2, #id2] {
  ^bb0(%p: f32, %q: f32):
    %s = arith.mulf %p, %q : f32
    qcc.yield %s : f32
  } -> tensor<2x4xf32>
  %1 = qcc.reshape %0 : tensor<2x4xf32> -> tensor<8x1xf32>
  return %1 : tensor<8x1xf32>
}

// A product keeps its epilogue where a copy in another order follows.
// CHECK-LABEL: func.func @permuted_result
// CHECK: qcc.dispatch
// CHECK: %[[SUMS:.*]] = qcc.int_matmul
// CHECK: %[[CODES:.*]] = qcc.generic none ins(%[[SUMS]] : tensor<4x8xi32>)
// CHECK: arith.trunci
// CHECK: arith.addi
// CHECK: qcc.yield %[[CODES]] : tensor<4x8xi8>
// CHECK: qcc.dispatch
// CHECK: -> tensor<8x4xi8>
func.func @permuted_result(%x: tensor<4x16xi8>, %w: tensor<16x8xi8>) -> tensor<8x4xi8> {
  %0 = qcc.int_matmul %x, %w : (tensor<4x16xi8>, tensor<16x8xi8>) -> tensor<4x8xi32>
  %1 = qcc.generic none ins(%0 : tensor<4x8xi32>) maps [affine_map<(d0, d1) -> (d0, d1)>] {
  ^bb0(%a: i32):
    %b = arith.trunci %a : i32 to i8
    qcc.yield %b : i8
  } -> tensor<4x8xi8>
  %2 = qcc.generic none ins(%1 : tensor<4x8xi8>) maps [affine_map<(d0, d1) -> (d0, d1)>] {
  ^bb0(%a: i8):
    %one = arith.constant 1 : i8
    %b = arith.addi %a, %one : i8
    qcc.yield %b : i8
  } -> tensor<4x8xi8>
  %3 = qcc.generic none ins(%2 : tensor<4x8xi8>) maps [affine_map<(d0, d1) -> (d1, d0)>] {
  ^bb0(%a: i8):
    qcc.yield %a : i8
  } -> tensor<8x4xi8>
  return %3 : tensor<8x4xi8>
}

// Sizes keep their symbols where maps that both use some are composed.
// CHECK-LABEL: func.func @sizes_in_both_maps
// CHECK: qcc.generic
// CHECK-SAME: maps [#[[REPEATED]]]
// CHECK-NOT: qcc.generic
#reversed = affine_map<(d0)[s0] -> (-d0 + s0 - 1)>
#repeated = affine_map<(d0)[s0] -> (d0 mod s0)>
#size = affine_map<()[s0] -> (s0)>
#twice = affine_map<()[s0] -> (s0 * 2)>
func.func @sizes_in_both_maps(%x: tensor<?xf32, #size>) -> tensor<?xf32, #twice> {
  %0 = qcc.generic none ins(%x : tensor<?xf32, #size>) maps [#reversed] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<?xf32, #size>
  %1 = qcc.generic none ins(%0 : tensor<?xf32, #size>) maps [#repeated] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<?xf32, #twice>
  return %1 : tensor<?xf32, #twice>
}

// Of a sum of two products the earlier one stores codes, not sums of 32 bits.
// CHECK-LABEL: func.func @sum_of_products
// CHECK: qcc.dispatch
// CHECK: qcc.int_matmul
// CHECK: arith.trunci
// CHECK: qcc.dispatch
// CHECK: qcc.int_matmul
// CHECK: arith.extsi
// CHECK-NOT: qcc.dispatch
// CHECK: return
func.func @sum_of_products(%x: tensor<4x16xi8>, %w: tensor<16x8xi8>, %v: tensor<16x8xi8>) -> tensor<4x8xi32> {
  %0 = qcc.int_matmul %x, %w : (tensor<4x16xi8>, tensor<16x8xi8>) -> tensor<4x8xi32>
  %1 = qcc.generic none ins(%0 : tensor<4x8xi32>) maps [#id2] {
  ^bb0(%a: i32):
    %b = arith.trunci %a : i32 to i8
    qcc.yield %b : i8
  } -> tensor<4x8xi8>
  %2 = qcc.int_matmul %x, %v : (tensor<4x16xi8>, tensor<16x8xi8>) -> tensor<4x8xi32>
  %3 = qcc.generic none ins(%1, %2 : tensor<4x8xi8>, tensor<4x8xi32>) maps [#id2, #id2] {
  ^bb0(%a: i8, %b: i32):
    %c = arith.extsi %a : i8 to i32
    %d = arith.addi %b, %c : i32
    qcc.yield %d : i32
  } -> tensor<4x8xi32>
  return %3 : tensor<4x8xi32>
}

// A function is not computed again for each element that a nearest-neighbour
// resize makes of one; both parts of a divided index read each element once.
// CHECK-LABEL: func.func @function_before_resize
// CHECK: qcc.dispatch
// CHECK: math.exp
// CHECK: qcc.dispatch
// CHECK-NOT: math.exp
// CHECK: return
// CHECK-LABEL: func.func @function_before_split
// CHECK: qcc.dispatch
// CHECK: math.exp
// CHECK-NOT: qcc.dispatch
// CHECK: return
#nearest = affine_map<(d0) -> (d0 floordiv 4)>
#split = affine_map<(d0) -> (d0 floordiv 4, d0 mod 4)>
func.func @function_before_resize(%x: tensor<8xf32>) -> tensor<32xf32> {
  %0 = qcc.generic none ins(%x : tensor<8xf32>) maps [affine_map<(d0) -> (d0)>] {
  ^bb0(%a: f32):
    %b = math.exp %a : f32
    qcc.yield %b : f32
  } -> tensor<8xf32>
  %1 = qcc.generic none ins(%0 : tensor<8xf32>) maps [#nearest] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<32xf32>
  return %1 : tensor<32xf32>
}
func.func @function_before_split(%x: tensor<8x4xf32>) -> tensor<32xf32> {
  %0 = qcc.generic none ins(%x : tensor<8x4xf32>) maps [#id2] {
  ^bb0(%a: f32):
    %b = math.exp %a : f32
    qcc.yield %b : f32
  } -> tensor<8x4xf32>
  %1 = qcc.generic none ins(%0 : tensor<8x4xf32>) maps [#split] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<32xf32>
  return %1 : tensor<32xf32>
}
