// RUN: qcc-opt %s --qcc-quantize-static=scheme=w4a8 --cse | FileCheck %s
// RUN: qcc-opt %s --qcc-quantize-static=scheme=w4a8 --qcc-form-integer --canonicalize | FileCheck %s --check-prefix=INT
// RUN: qcc-opt %s --qcc-quantize-static=scheme=w4a8 --qcc-form-integer --qcc-quantize-rtn=scheme=w4a8 | FileCheck %s --check-prefix=ALL
// RUN: not qcc-opt %s --qcc-quantize-static=scheme=w4a16 2>&1 | FileCheck %s --check-prefix=BAD
// BAD: expected int8 or w4a8, but got 'w4a16'

// Without samples a weight is rounded to 4 bits as it is; depthwise ones have 8.
// CHECK-LABEL: func.func @main
// CHECK: qcc.quantize %{{.*}} -> tensor<8x16x1x1xi4>
// CHECK: qcc.conv {{.*}}qcc.executed = "w4a8", qcc.reason = "as asked", qcc.requested = "w4a8", qcc.transform = "weights by rtn"
// CHECK: qcc.quantize %{{.*}} -> tensor<8x1x3x3xi8>
// CHECK: qcc.conv {{.*}}qcc.executed = "int8", qcc.reason = "kept in int8: depthwise", qcc.requested = "w4a8"
// CHECK-NOT: qcc.quantize
// CHECK: qcc.matmul
// CHECK-NOT: qcc.executed

// INT-LABEL: func.func @main
// INT: qcc.int_conv {{.*}}qcc.executed = "w4a8"{{.*}}qcc.requested = "w4a8"{{.*}} tensor<8x16x1x1xi4>
// INT: qcc.int_conv {{.*}}qcc.executed = "int8"{{.*}}qcc.requested = "w4a8"{{.*}} tensor<8x1x3x3xi8>

// ALL: qcc.int_conv
// ALL: qcc.int_conv
// ALL: qcc.qmatmul
func.func @main(%x: tensor<1x16x8x8xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}, %y: tensor<4x32xf32> {qcc.name = "y", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> (tensor<1x8x6x6xf32>, tensor<4x8xf32>) {
  %w = qcc.param "w" : tensor<8x16x1x1xf32>
  %v = qcc.param "v" : tensor<8x1x3x3xf32>
  %u = qcc.param "u" : tensor<32x8xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>, qcc.range = [0.0 : f32, 5.1 : f32]} : (tensor<1x16x8x8xf32>, tensor<8x16x1x1xf32>) -> tensor<1x8x8x8xf32>
  %1 = qcc.conv %0, %v {dilations = array<i64: 1, 1>, groups = 8 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x8x8x8xf32>, tensor<8x1x3x3xf32>) -> tensor<1x8x6x6xf32>
  %2 = qcc.matmul %y, %u : (tensor<4x32xf32>, tensor<32x8xf32>) -> tensor<4x8xf32>
  return %1, %2 : tensor<1x8x6x6xf32>, tensor<4x8xf32>
}
