// RUN: qcc-opt %s --qcc-quantize-static=target=avx2 | FileCheck %s
// RUN: qcc-opt %s --qcc-quantize-static=target=reference | FileCheck %s --check-prefix=ALL
// RUN: not qcc-opt %s --qcc-quantize-static=target=abacus 2>&1 | FileCheck %s --check-prefix=BAD
// What the target's figures say is faster in f32 stays there. A target without figures has no say.
// ALL-NOT: not faster
// BAD: expected {{.*}}abacus

// One output channel uses a sixteenth of a vector of columns.
// CHECK-LABEL: func.func @narrow
// CHECK: qcc.conv %arg0, {{.*}}qcc.reason = "kept: not faster"
// ALL-LABEL: func.func @narrow
func.func @narrow(%x: tensor<1x64x40x40xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x1x40x40xf32> {
  %w = qcc.param "w" : tensor<1x64x1x1xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x64x40x40xf32>, tensor<1x64x1x1xf32>) -> tensor<1x1x40x40xf32>
  return %0 : tensor<1x1x40x40xf32>
}

// A wide one between floats pays for both conversions.
// CHECK-LABEL: func.func @wide
// CHECK: qcc.conv {{.*}}qcc.reason = "as asked"
func.func @wide(%x: tensor<1x256x28x28xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x256x28x28xf32> {
  %w = qcc.param "w" : tensor<256x256x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x256x28x28xf32>, tensor<256x256x3x3xf32>) -> tensor<1x256x28x28xf32>
  return %0 : tensor<1x256x28x28xf32>
}

// Alone a depthwise convolution is not worth two conversions; between two wide ones there are none.
// CHECK-LABEL: func.func @alone
// CHECK: qcc.conv %arg0, {{.*}}qcc.reason = "kept: not faster"
func.func @alone(%x: tensor<1x256x40x40xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x256x40x40xf32> {
  %w = qcc.param "d" : tensor<256x1x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 256 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x256x40x40xf32>, tensor<256x1x3x3xf32>) -> tensor<1x256x40x40xf32>
  return %0 : tensor<1x256x40x40xf32>
}

// CHECK-LABEL: func.func @between
// CHECK-COUNT-3: qcc.reason = "as asked"
func.func @between(%x: tensor<1x256x40x40xf32> {qcc.name = "x", qcc.range = [-1.0 : f32, 1.0 : f32]}) -> tensor<1x256x40x40xf32> {
  %w = qcc.param "w" : tensor<256x256x3x3xf32>
  %d = qcc.param "d" : tensor<256x1x3x3xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>, qcc.range = [0.0 : f32, 1.0 : f32]} : (tensor<1x256x40x40xf32>, tensor<256x256x3x3xf32>) -> tensor<1x256x40x40xf32>
  %1 = qcc.conv %0, %d {dilations = array<i64: 1, 1>, groups = 256 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>, qcc.range = [0.0 : f32, 1.0 : f32]} : (tensor<1x256x40x40xf32>, tensor<256x1x3x3xf32>) -> tensor<1x256x40x40xf32>
  %2 = qcc.conv %1, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x256x40x40xf32>, tensor<256x256x3x3xf32>) -> tensor<1x256x40x40xf32>
  return %2 : tensor<1x256x40x40xf32>
}
