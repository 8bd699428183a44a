// RUN: qcc-opt %s --qcc-layout --canonicalize | FileCheck %s
// Permuting copies move down the graph and cancel.

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#last = affine_map<(d0, d1, d2, d3) -> (d0, d2, d3, d1)>
#second = affine_map<(d0, d1, d2, d3) -> (d0, d3, d1, d2)>
#channel = affine_map<(d0, d1, d2, d3) -> (d1)>

// The bias is read by the channel, which is the last dimension now.
// CHECK-DAG: #[[LAST:.*]] = affine_map<(d0, d1, d2, d3) -> (d3)>
// CHECK-DAG: affine_map<(d0, d1, d2, d3) -> (d0, d1 floordiv 2, d2 floordiv 2, d3)>
// CHECK-LABEL: func.func @cancel
// CHECK: %[[SUM:.*]] = qcc.generic none ins(%arg0, %arg1 : tensor<1x4x4x8xf32>, tensor<8xf32>) maps [#{{.*}}, #[[LAST]]]
// CHECK: qcc.index 3
// CHECK-NOT: qcc.generic
// CHECK: return %[[SUM]] : tensor<1x4x4x8xf32>
func.func @cancel(%x: tensor<1x4x4x8xf32>, %bias: tensor<8xf32>) -> tensor<1x4x4x8xf32> {
  %0 = qcc.generic none ins(%x : tensor<1x4x4x8xf32>) maps [#last] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<1x8x4x4xf32>
  %1 = qcc.generic none ins(%0, %bias : tensor<1x8x4x4xf32>, tensor<8xf32>) maps [#id, #channel] {
  ^bb0(%a: f32, %b: f32):
    %i = qcc.index 1
    %j = arith.index_cast %i : index to i32
    %f = arith.sitofp %j : i32 to f32
    %s = arith.addf %a, %b : f32
    %t = arith.addf %s, %f : f32
    qcc.yield %t : f32
  } -> tensor<1x8x4x4xf32>
  %2 = qcc.generic none ins(%1 : tensor<1x8x4x4xf32>) maps [#second] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<1x4x4x8xf32>
  return %2 : tensor<1x4x4x8xf32>
}

// Both operands are permuted alike, and so are those of the concatenation.
// CHECK-LABEL: func.func @join
// CHECK: %[[SUM:.*]] = qcc.generic none ins(%arg0, %arg1 : tensor<1x4x4x8xf32>, tensor<1x4x4x8xf32>)
// CHECK: %[[JOINED:.*]] = qcc.concat 3, %[[SUM]], %arg0 : {{.*}} -> tensor<1x4x4x16xf32>
// CHECK: qcc.generic none ins(%[[JOINED]]
// CHECK: -> tensor<1x16x4x4xf32>
func.func @join(%x: tensor<1x4x4x8xf32>, %y: tensor<1x4x4x8xf32>) -> tensor<1x16x4x4xf32> {
  %0 = qcc.generic none ins(%x : tensor<1x4x4x8xf32>) maps [#last] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<1x8x4x4xf32>
  %1 = qcc.generic none ins(%y : tensor<1x4x4x8xf32>) maps [#last] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<1x8x4x4xf32>
  %2 = qcc.generic none ins(%0, %1 : tensor<1x8x4x4xf32>, tensor<1x8x4x4xf32>) maps [#id, #id] {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    qcc.yield %s : f32
  } -> tensor<1x8x4x4xf32>
  %3 = qcc.concat 1, %2, %0 : (tensor<1x8x4x4xf32>, tensor<1x8x4x4xf32>) -> tensor<1x16x4x4xf32>
  return %3 : tensor<1x16x4x4xf32>
}

// One operand has another order: nothing would be saved.
// CHECK-LABEL: func.func @mixed
// CHECK: %[[MOVED:.*]] = qcc.generic none ins(%arg0
// CHECK: qcc.generic none ins(%[[MOVED]], %arg1 : tensor<1x8x4x4xf32>, tensor<1x8x4x4xf32>)
func.func @mixed(%x: tensor<1x4x4x8xf32>, %y: tensor<1x8x4x4xf32>) -> tensor<1x8x4x4xf32> {
  %0 = qcc.generic none ins(%x : tensor<1x4x4x8xf32>) maps [#last] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<1x8x4x4xf32>
  %1 = qcc.generic none ins(%0, %y : tensor<1x8x4x4xf32>, tensor<1x8x4x4xf32>) maps [#id, #id] {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    qcc.yield %s : f32
  } -> tensor<1x8x4x4xf32>
  return %1 : tensor<1x8x4x4xf32>
}

// A resize to the nearest reads each dimension by its own index.
// CHECK-LABEL: func.func @resize
// CHECK: %[[LARGE:.*]] = qcc.generic none ins(%arg0 : tensor<1x4x4x8xui8>) maps [#{{.*}}] {
// CHECK: -> tensor<1x8x8x8xui8>
// CHECK: qcc.generic none ins(%[[LARGE]]
// CHECK: -> tensor<1x8x8x8xui8>
func.func @resize(%x: tensor<1x4x4x8xui8>) -> tensor<1x8x8x8xui8> {
  %0 = qcc.generic none ins(%x : tensor<1x4x4x8xui8>) maps [#last] {
  ^bb0(%a: i8):
    qcc.yield %a : i8
  } -> tensor<1x8x4x4xui8>
  %1 = qcc.generic none ins(%0 : tensor<1x8x4x4xui8>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2 floordiv 2, d3 floordiv 2)>] {
  ^bb0(%a: i8):
    qcc.yield %a : i8
  } -> tensor<1x8x8x8xui8>
  return %1 : tensor<1x8x8x8xui8>
}

// Extremes are found in the order of the source: the rows that are kept, then what is reduced as it lies.
// CHECK-LABEL: func.func @extremes
// CHECK: %[[MOST:.*]] = qcc.generic max ins(%arg0, %arg1 : tensor<2x4x6x8xf32>, tensor<8xf32>) maps [#[[ROWS:.*]], #[[CHANNEL:.*]]] over #[[OVER:.*]] {
// CHECK: return %[[MOST]]
func.func @extremes(%x: tensor<2x4x6x8xf32>, %y: tensor<8xf32>) -> tensor<2x4xf32> {
  %0 = qcc.generic none ins(%x : tensor<2x4x6x8xf32>) maps [#last] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x8x4x6xf32>
  %1 = qcc.generic max ins(%0, %y : tensor<2x8x4x6xf32>, tensor<8xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>, affine_map<(d0, d1, d2, d3) -> (d2)>] over affine_map<() -> (8, 6)> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    qcc.yield %s : f32
  } -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// Sums of floats keep their order.
// CHECK-LABEL: func.func @sums
// CHECK: %[[MOVED:.*]] = qcc.generic none ins(%arg0
// CHECK: qcc.generic sum ins(%[[MOVED]]
func.func @sums(%x: tensor<2x4x6x8xf32>) -> tensor<2x4xf32> {
  %0 = qcc.generic none ins(%x : tensor<2x4x6x8xf32>) maps [#last] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x8x4x6xf32>
  %1 = qcc.generic sum ins(%0 : tensor<2x8x4x6xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] over affine_map<() -> (8, 6)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}
