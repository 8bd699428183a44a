// RUN: qcc-opt %s --qcc-quantize-static=dynamic --cse | FileCheck %s
// RUN: qcc-opt %s --qcc-quantize-static="dynamic target=avx2" | FileCheck %s --check-prefix=FAST
// RUN: qcc-opt %s --qcc-quantize-static --cse | FileCheck %s --check-prefix=OFF
// Convolutions of no known range: one scale and zero point for each sample, found at run time.
// OFF-NOT: qcc.int_conv

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>

// Elements may be negative and there may be several samples: the least and the largest element in one pass over rows, padding made of
// zero points, which are taken away after the sum.
// CHECK-LABEL: func.func @many
// CHECK: %[[BOTH:.*]] = qcc.constant dense<[0, -1]> : tensor<2xi32>
// CHECK: %[[ROWS:.*]] = qcc.generic max ins(%arg0, %[[BOTH]] : {{.*}} over
// CHECK: arith.bitcast {{.*}} : f32 to i32
// CHECK: -> tensor<?x20x2xi32
// CHECK: %[[ENDS:.*]] = qcc.generic max ins(%[[ROWS]] :
// CHECK: -> tensor<?x2xi32
// CHECK: %[[NUMBERS:.*]] = qcc.generic none ins(%[[ENDS]], %[[ENDS]] :
// CHECK: -> tensor<?x3xf32
// CHECK: %[[CODES:.*]] = qcc.generic none ins(%arg0, %[[NUMBERS]], %[[NUMBERS]] :
// CHECK: -> tensor<?x64x20x20xui8
// CHECK: %[[W:.*]] = qcc.quantize %{{.*}} -> tensor<96x64x3x3xi8>
// CHECK: %[[LAST:.*]] = qcc.generic none ins(%[[CODES]]
// CHECK: %[[PADDED:.*]] = qcc.generic none ins(%[[NUMBERS]] {{.*}} whole(%[[LAST]]
// CHECK: -> tensor<?x22x22x64xui8
// CHECK: %[[SUMS:.*]] = qcc.int_conv %[[PADDED]], %[[W]] {channels_last, {{.*}}pads = array<i64: 0, 0, 0, 0>, qcc.executed = "int8", qcc.reason = "as asked", qcc.requested = "int8"
// CHECK: %[[SECOND:.*]] = qcc.generic none ins(%[[SUMS]]
// CHECK: %[[COLUMNS:.*]] = qcc.generic sum ins(%[[W]]
// CHECK: qcc.generic none ins(%[[SECOND]], %{{.*}}, %[[NUMBERS]], %[[NUMBERS]], %[[COLUMNS]] :
// FAST-LABEL: func.func @many
// FAST: qcc.int_conv
func.func @many(%x: tensor<?x64x20x20xf32, affine_map<()[s0] -> (s0, 64, 20, 20)>> {qcc.name = "x"}) -> tensor<?x96x20x20xf32, affine_map<()[s0] -> (s0, 96, 20, 20)>> {
  %w = qcc.param "w" : tensor<96x64x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<?x64x20x20xf32, affine_map<()[s0] -> (s0, 64, 20, 20)>>, tensor<96x64x3x3xf32>) -> tensor<?x96x20x20xf32, affine_map<()[s0] -> (s0, 96, 20, 20)>>
  return %0 : tensor<?x96x20x20xf32, affine_map<()[s0] -> (s0, 96, 20, 20)>>
}

// One sample: its zero point is the kernel's.
// CHECK-LABEL: func.func @one
// CHECK: %[[ZERO:.*]] = qcc.generic none ins(%[[NUMBERS:.*]] : tensor<1x3xf32>)
// CHECK: -> tensor<ui8>
// CHECK: qcc.int_conv %{{.*}}, %{{.*}} input_zero %[[ZERO]] {{.*}}pads = array<i64: 1, 1, 1, 1>
// CHECK-NOT: qcc.generic sum
// FAST-LABEL: func.func @one
func.func @one(%x: tensor<1x64x20x20xf32> {qcc.name = "x"}) -> tensor<1x96x20x20xf32> {
  %w = qcc.param "w" : tensor<96x64x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x64x20x20xf32>, tensor<96x64x3x3xf32>) -> tensor<1x96x20x20xf32>
  return %0 : tensor<1x96x20x20xf32>
}

// Nothing is negative after a maximum with zero: no zero point. Two convolutions read the same codes; few rows of a weight stay float.
// CHECK-LABEL: func.func @positive
// CHECK: %[[A:.*]] = qcc.generic none ins(%arg0
// CHECK: qcc.generic max ins(%[[A]] : tensor<2x64x20x20xf32>)
// CHECK-NOT: xori
// CHECK: %[[NUMBERS:.*]] = qcc.generic none {{.*}}
// CHECK: -> tensor<2x2xf32>
// CHECK: %[[CODES:.*]] = qcc.generic none ins(%[[A]], %[[NUMBERS]] :
// CHECK: qcc.int_conv %[[CODES]], %{{[0-9]+}} {dilations
// CHECK: qcc.int_conv %[[CODES]], %{{[0-9]+}} {dilations
// CHECK: qcc.conv {{.*}}qcc.executed = "f32", qcc.reason = "kept: not faster"
// FAST-LABEL: func.func @positive
func.func @positive(%x: tensor<2x64x20x20xf32> {qcc.name = "x"}) -> (tensor<2x96x20x20xf32>, tensor<2x96x20x20xf32>, tensor<2x8x20x20xf32>) {
  %w = qcc.param "w" : tensor<96x64x3x3xf32>
  %v = qcc.param "v" : tensor<96x64x3x3xf32>
  %n = qcc.param "n" : tensor<8x8x1x1xf32>
  %0 = qcc.generic none ins(%x : tensor<2x64x20x20xf32>) maps [#id] {
  ^bb0(%a: f32):
    %zero = arith.constant 0.0 : f32
    %m = arith.maximumf %a, %zero : f32
    qcc.yield %m : f32
  } -> tensor<2x64x20x20xf32>
  %1 = qcc.conv %0, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<2x64x20x20xf32>, tensor<96x64x3x3xf32>) -> tensor<2x96x20x20xf32>
  %2 = qcc.conv %0, %v {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<2x64x20x20xf32>, tensor<96x64x3x3xf32>) -> tensor<2x96x20x20xf32>
  %3 = qcc.conv %0, %n {dilations = array<i64: 1, 1>, groups = 8 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<2x64x20x20xf32>, tensor<8x8x1x1xf32>) -> tensor<2x8x20x20xf32>
  return %1, %2, %3 : tensor<2x96x20x20xf32>, tensor<2x96x20x20xf32>, tensor<2x8x20x20xf32>
}

// Alone, one with few outputs is not worth the two passes.
// FAST-LABEL: func.func @narrow
// FAST: qcc.conv {{.*}}qcc.reason = "kept: not faster"
func.func @narrow(%x: tensor<1x64x40x40xf32> {qcc.name = "x"}) -> tensor<1x1x40x40xf32> {
  %w = qcc.param "o" : tensor<1x64x1x1xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x64x40x40xf32>, tensor<1x64x1x1xf32>) -> tensor<1x1x40x40xf32>
  return %0 : tensor<1x1x40x40xf32>
}
