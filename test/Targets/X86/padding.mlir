// Where many taps of a window lie in the padding a weight has them one after the other, and tasks list those that do not.
// RUN: qcc-opt %s --qcc-schedule=target=avx2 | FileCheck %s --check-prefixes=CHECK,AVX2
// RUN: qcc-opt %s --qcc-schedule=target=avx512 | FileCheck %s --check-prefixes=CHECK,AVX512
// RUN: qcc-opt %s --qcc-schedule=target=avx2+avx512-vnni | FileCheck %s --check-prefixes=CHECK,AVX512

// Of three taps of an axis one reads the image at a pixel, two of them somewhere.
// CHECK-LABEL: func.func @far
// CHECK: qcc.pack %{{.*}} "conv_taps:1" {nr = {{6|8}} : i64} : tensor<32x16x3x3xf32>
func.func @far(%x: tensor<1x16x20x40xf32>) -> tensor<1x32x20x40xf32> {
  %w = qcc.param "w" : tensor<32x16x3x3xf32>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x16x20x40xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x20x40xf32> {
  ^bb0(%a: tensor<1x16x20x40xf32>, %b: tensor<32x16x3x3xf32>):
    %1 = qcc.conv %a, %b {dilations = array<i64: 24, 24>, groups = 1 : i64, pads = array<i64: 24, 24, 24, 24>, strides = array<i64: 1, 1>} : (tensor<1x16x20x40xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x20x40xf32>
    qcc.yield %1 : tensor<1x32x20x40xf32>
  }
  return %0 : tensor<1x32x20x40xf32>
}

// A dilation alone puts few taps into the padding of a large image.
// CHECK-LABEL: func.func @near
// CHECK: qcc.pack %{{.*}} "conv_panel:1"
func.func @near(%x: tensor<1x16x65x65xf32>) -> tensor<1x32x65x65xf32> {
  %w = qcc.param "w" : tensor<32x16x3x3xf32>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x16x65x65xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x65x65xf32> {
  ^bb0(%a: tensor<1x16x65x65xf32>, %b: tensor<32x16x3x3xf32>):
    %1 = qcc.conv %a, %b {dilations = array<i64: 6, 6>, groups = 1 : i64, pads = array<i64: 6, 6, 6, 6>, strides = array<i64: 1, 1>} : (tensor<1x16x65x65xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x65x65xf32>
    qcc.yield %1 : tensor<1x32x65x65xf32>
  }
  return %0 : tensor<1x32x65x65xf32>
}

// Nor does a small image without one: a tile of pixels reads all taps, though each pixel has 69 % of them.
// CHECK-LABEL: func.func @small
// CHECK: qcc.pack %{{.*}} "conv_panel:1"
func.func @small(%x: tensor<1x16x4x4xf32>) -> tensor<1x32x4x4xf32> {
  %w = qcc.param "w" : tensor<32x16x3x3xf32>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x16x4x4xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x4x4xf32> {
  ^bb0(%a: tensor<1x16x4x4xf32>, %b: tensor<32x16x3x3xf32>):
    %1 = qcc.conv %a, %b {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x16x4x4xf32>, tensor<32x16x3x3xf32>) -> tensor<1x32x4x4xf32>
    qcc.yield %1 : tensor<1x32x4x4xf32>
  }
  return %0 : tensor<1x32x4x4xf32>
}

// CHECK-LABEL: func.func @codes
// AVX2: qcc.pack %{{.*}} "quadtaps:1" {nr = 16 : i64} : tensor<32x16x3x3xi8> -> tensor<1x2x2944xi8>
// AVX512: qcc.pack %{{.*}} "dotfit:1" {nr = 16 : i64} : tensor<32x16x3x3xi8> -> tensor<1x2x2368xi8>
func.func @codes(%x: tensor<1x20x20x16xui8>) -> tensor<1x20x20x32xi32> {
  %w = qcc.param "c" : tensor<32x16x3x3xi8>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x20x20x16xui8>, tensor<32x16x3x3xi8>) -> tensor<1x20x20x32xi32> {
  ^bb0(%a: tensor<1x20x20x16xui8>, %b: tensor<32x16x3x3xi8>):
    %1 = qcc.int_conv %a, %b {channels_last, dilations = array<i64: 12, 12>, groups = 1 : i64, pads = array<i64: 12, 12, 12, 12>, qcc.pairs_fit, strides = array<i64: 1, 1>} : (tensor<1x20x20x16xui8>, tensor<32x16x3x3xi8>) -> tensor<1x20x20x32xi32>
    qcc.yield %1 : tensor<1x20x20x32xi32>
  }
  return %0 : tensor<1x20x20x32xi32>
}

// CHECK: qcc.kernel {{.*}}kernel = "conv.f32"{{.*}}slots = 3 : i64
// AVX2: qcc.kernel {{.*}}kernel = "dot.int8"{{.*}}taps = true
