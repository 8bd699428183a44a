// RUN: qcc-opt %s --qcc-quantize-static=pairs-fit --qcc-form-integer --cse | FileCheck %s
// RUN: qcc-opt %s --qcc-quantize-static --qcc-form-integer --cse | FileCheck %s --check-prefix=PLAIN
// Scales with which codes of one sign fit in pairs of rows, counted through all taps (`tap * 3 + input`), and the mark that
// kernels and packing look for. A depthwise weight has none.

// PLAIN-NOT: qcc.pairs_fit

// CHECK-DAG: #[[FIRST:.*]] = affine_map<(d0, d1) -> (d0, (d1 * 2) mod 3, (((d1 * 2) floordiv 3) floordiv 3) mod 3, ((d1 * 2) floordiv 3) mod 3)>
// CHECK-DAG: #[[SECOND:.*]] = affine_map<(d0, d1) -> (d0, (d1 * 2 + 1) mod 3, (((d1 * 2 + 1) floordiv 3) floordiv 3) mod 3, ((d1 * 2 + 1) floordiv 3) mod 3)>
// CHECK-DAG: #[[PAIRS:.*]] = affine_map<() -> (13)>
// CHECK-LABEL: func.func @window
// CHECK: %[[LARGEST:.*]] = qcc.generic max ins(%[[W:.*]] : tensor<8x3x3x3xf32>)
// CHECK: %[[PAIR:.*]] = qcc.generic max ins(%[[W]], %[[W]] : {{.*}}) maps [#[[FIRST]], #[[SECOND]]] over #[[PAIRS]]
// CHECK: %[[SCALE:.*]] = qcc.generic none ins(%[[LARGEST]], %[[PAIR]] :
// CHECK: %[[CODES:.*]] = qcc.quantize %[[W]], %[[SCALE]] {{.*}}qcc.pairs_fit
// CHECK: qcc.int_conv %{{.*}}, %[[CODES]] {{.*}}qcc.pairs_fit
func.func @window(%x: tensor<1x3x8x8xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x8x8x8xf32> {
  %w = qcc.param "w" : tensor<8x3x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x3x8x8xf32>, tensor<8x3x3x3xf32>) -> tensor<1x8x8x8xf32>
  return %0 : tensor<1x8x8x8xf32>
}

// CHECK-LABEL: func.func @matrix
// CHECK: qcc.quantize {{.*}}qcc.pairs_fit
// CHECK: qcc.int_matmul {{.*}}qcc.pairs_fit
func.func @matrix(%x: tensor<4x64xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<4x8xf32> {
  %w = qcc.param "w" : tensor<64x8xf32>
  %0 = qcc.matmul %x, %w : (tensor<4x64xf32>, tensor<64x8xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// As frameworks keep the weights of linear layers.
// CHECK-LABEL: func.func @transposed
// CHECK: qcc.quantize {{.*}}qcc.pairs_fit
// CHECK: qcc.int_matmul {{.*}}qcc.pairs_fit
func.func @transposed(%x: tensor<4x64xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<4x8xf32> {
  %w = qcc.param "w" : tensor<8x64xf32>
  %0 = qcc.matmul %x, %w {trans_b} : (tensor<4x64xf32>, tensor<8x64xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// CHECK-LABEL: func.func @depthwise
// CHECK-NOT: qcc.pairs_fit
// CHECK: return
func.func @depthwise(%x: tensor<1x16x8x8xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x16x8x8xf32> {
  %w = qcc.param "w" : tensor<16x1x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 16 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x16x8x8xf32>, tensor<16x1x3x3xf32>) -> tensor<1x16x8x8xf32>
  return %0 : tensor<1x16x8x8xf32>
}
