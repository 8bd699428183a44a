// RUN: qcc-opt %s --qcc-quantize-static=keep=kept --cse | FileCheck %s
// RUN: not qcc-opt %s --qcc-quantize-static=keep=[ 2>&1 | FileCheck %s --check-prefix=BAD
// BAD: expected a regular expression, but got '['

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>

// Codes without a sign for -1 to 1, a scale per output channel of the weight, and the range of the sum's earlier operand.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %arg0: tensor<1x16x8x8xf32> {qcc.name = "x"}
// CHECK-DAG: %[[SX:.*]] = qcc.constant dense<0.00784313772> : tensor<f32>
// CHECK-DAG: %[[ZX:.*]] = qcc.constant dense<127> : tensor<ui8>
// CHECK: %[[QX:.*]] = qcc.quantize %arg0, %[[SX]] zero %[[ZX]] : {{.*}} -> tensor<1x16x8x8xui8>
// CHECK: %[[X:.*]] = qcc.dequantize %[[QX]], %[[SX]] zero %[[ZX]]
// CHECK: %[[LARGEST:.*]] = qcc.generic max ins(%[[W:.*]] : tensor<8x16x1x1xf32>)
// CHECK: math.absf
// CHECK: %[[SW:.*]] = qcc.generic none ins(%[[LARGEST]] : tensor<8xf32>)
// CHECK: %[[QW:.*]] = qcc.quantize %[[W]], %[[SW]] : {{.*}} -> tensor<8x16x1x1xi8>
// CHECK: %[[DW:.*]] = qcc.dequantize %[[QW]], %[[SW]]
// CHECK: %[[A:.*]] = qcc.conv %[[X]], %[[DW]] {{.*}}qcc.executed = "int8", qcc.reason = "as asked", qcc.requested = "int8"
// CHECK: %[[QA:.*]] = qcc.quantize %[[A]], %{{.*}} : {{.*}} -> tensor<1x8x8x8xui8>
// CHECK: %[[DA:.*]] = qcc.dequantize %[[QA]]
// CHECK: %[[B:.*]] = qcc.conv %[[X]],
// CHECK: qcc.generic none ins(%[[DA]], %[[B]] :
func.func @main(%x: tensor<1x16x8x8xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x8x8x8xf32> {
  %w = qcc.param "w" : tensor<8x16x1x1xf32>
  %v = qcc.param "v" : tensor<8x16x1x1xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>, qcc.range = [0.0 : f32, 5.1 : f32]} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %1 = qcc.conv %x, %v {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>, qcc.range = [0.0 : f32, 2.0 : f32]} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %2 = qcc.generic none ins(%0, %1 : tensor<1x8x8x8xf32>, tensor<1x8x8x8xf32>) maps [#id, #id] {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    qcc.yield %s : f32
  } -> tensor<1x8x8x8xf32>
  return %2 : tensor<1x8x8x8xf32>
}

// What is kept or not supported says so; what has no range is left to other schemes.
// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<4x16xf32> {qcc.name = "x", qcc.range = [0.0 : f32, 1.0 : f32]}, %y: tensor<16x8xf32>, %z: tensor<4x16xf32>, %t: tensor<4x8xf32> {qcc.name = "t", qcc.range = [0.0 : f32, 1.0 : f32]}) -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {
  %w = qcc.param "w" : tensor<16x8xf32>
  %u = qcc.param "u" : tensor<8x8xf32>
  // CHECK: qcc.matmul %{{.*}}, %arg1 {{.*}}qcc.reason = "kept: both operands are activations"
  %0 = qcc.matmul %x, %y : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  // CHECK: qcc.matmul %{{.*}}, %{{.*}} {{.*}}qcc.reason = "kept: matches --keep=kept"
  %1 = qcc.matmul %x, %w : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32> loc("kept")
  // CHECK: qcc.matmul %arg2, %{{[a-z0-9]*}} : (
  %2 = qcc.matmul %z, %w : (tensor<4x16xf32>, tensor<16x8xf32>) -> tensor<4x8xf32>
  // CHECK: qcc.matmul %arg3, %{{.*}} {{.*}}qcc.reason = "kept: not faster"
  %3 = qcc.matmul %t, %u : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  return %0, %1, %2, %3 : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}
