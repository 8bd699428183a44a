// Where many taps of a window lie in the padding a weight has them one after the other, and tasks list those that do not.
// RUN: qcc-opt %s --qcc-schedule=target=avx2 | FileCheck %s
// RUN: qcc-opt %s --qcc-schedule=target=avx512 | FileCheck %s
// RUN: qcc-opt %s --qcc-schedule=target=avx2+avx512-vnni | FileCheck %s

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

// CHECK: qcc.kernel {{.*}}kernel = "conv.f32"{{.*}}slots = 3 : i64
