// RUN: qcc-opt %s --qcc-recognize | FileCheck %s

#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#channel = affine_map<(d0, d1, d2, d3) -> (d1, 0, 0)>
#row = affine_map<(d0, d1, d2, d3) -> (d2, 0, 0)>

// The scale of a channel goes into the weight; the shift and the name of the result stay.
// CHECK-DAG: #[[ID:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
// CHECK-DAG: #[[OUTPUT:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, 0, 0)>
// CHECK-DAG: #[[CHANNEL:.*]] = affine_map<(d0, d1, d2, d3) -> (d1, 0, 0)>
// CHECK-LABEL: func.func @normalised
// CHECK-DAG: %[[W:.*]] = qcc.param "w"
// CHECK-DAG: %[[S:.*]] = qcc.param "s"
// CHECK-DAG: %[[T:.*]] = qcc.param "t"
// CHECK: %[[SCALED:.*]] = qcc.generic none ins(%[[W]], %[[S]] : {{.*}}) maps [#[[ID]], #[[OUTPUT]]] attributes {qcc.scaled}
// CHECK: arith.mulf
// CHECK: %[[Y:.*]] = qcc.conv %arg0, %[[SCALED]] {dilations
// CHECK-NOT: qcc.value = "conv"
// CHECK: qcc.generic none ins(%[[Y]], %[[T]] : {{.*}}) maps [#[[ID]], #[[CHANNEL]]] attributes {qcc.shift_of = "conv", qcc.value = "norm"}
// CHECK-NEXT: ^bb0(
// CHECK-NEXT: arith.addf
// CHECK-NEXT: qcc.yield
func.func @normalised(%x: tensor<1x4x8x8xf32>) -> tensor<1x6x8x8xf32> {
  %w = qcc.param "w" : tensor<6x4x1x1xf32>
  %s = qcc.param "s" : tensor<6x1x1xf32>
  %t = qcc.param "t" : tensor<6x1x1xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>, qcc.value = "conv"} : (tensor<1x4x8x8xf32>, tensor<6x4x1x1xf32>) -> tensor<1x6x8x8xf32> loc("conv")
  %1 = qcc.generic none ins(%0, %s, %t : tensor<1x6x8x8xf32>, tensor<6x1x1xf32>, tensor<6x1x1xf32>) maps [#id, #channel, #channel] attributes {qcc.value = "norm"} {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %n = arith.addf %m, %c : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  return %1 : tensor<1x6x8x8xf32>
}

// A bias goes into the shift.
// CHECK-LABEL: func.func @biased
// CHECK-DAG: %[[S:.*]] = qcc.param "s"
// CHECK-DAG: %[[T:.*]] = qcc.param "t"
// CHECK-DAG: %[[B:.*]] = qcc.param "b"
// CHECK: %[[SHIFT:.*]] = qcc.generic none ins(%[[B]], %[[S]], %[[T]] : {{.*}}) maps {{.*}} {
// CHECK: arith.mulf
// CHECK-NEXT: arith.addf
// CHECK: -> tensor<6xf32>
// CHECK: qcc.generic {{.*}} attributes {qcc.scaled}
// CHECK: %[[Y:.*]] = qcc.conv
// CHECK: qcc.generic none ins(%[[Y]], %[[SHIFT]] : {{.*}}) maps {{.*}} attributes {qcc.shift_of
// CHECK-NOT: arith.mulf
// CHECK: return
func.func @biased(%x: tensor<1x4x8x8xf32>) -> tensor<1x6x8x8xf32> {
  %w = qcc.param "w" : tensor<6x4x1x1xf32>
  %s = qcc.param "s" : tensor<6x1x1xf32>
  %t = qcc.param "t" : tensor<6x1x1xf32>
  %v = qcc.param "b" : tensor<6xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<6x4x1x1xf32>) -> tensor<1x6x8x8xf32>
  %1 = qcc.generic none ins(%0, %v : tensor<1x6x8x8xf32>, tensor<6xf32>) maps [#id, affine_map<(d0, d1, d2, d3) -> (d1)>] {
  ^bb0(%a: f32, %b: f32):
    %n = arith.addf %a, %b : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  %2 = qcc.generic none ins(%1, %s, %t : tensor<1x6x8x8xf32>, tensor<6x1x1xf32>, tensor<6x1x1xf32>) maps [#id, #channel, #channel] {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %n = arith.addf %m, %c : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  return %2 : tensor<1x6x8x8xf32>
}

// Not where others read the result, where the scale is not one of channels or no constant, and not into codes.
// CHECK-LABEL: func.func @others
// CHECK-COUNT-4: arith.mulf
func.func @others(%x: tensor<1x4x8x8xf32>, %v: tensor<6x1x1xf32>, %q: tensor<6x4x1x1xi8>) -> (tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>) {
  %w = qcc.param "w" : tensor<6x4x1x1xf32>
  %s = qcc.param "s" : tensor<6x1x1xf32>
  %r = qcc.param "r" : tensor<8x1x1xf32>
  %k = qcc.param "k" : tensor<6x4x1x1xi8>
  %half = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %d = qcc.dequantize %k, %half : (tensor<6x4x1x1xi8>, tensor<f32>) -> tensor<6x4x1x1xf32>
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<6x4x1x1xf32>) -> tensor<1x6x8x8xf32>
  %1 = qcc.generic none ins(%0, %s, %s : tensor<1x6x8x8xf32>, tensor<6x1x1xf32>, tensor<6x1x1xf32>) maps [#id, #channel, #channel] {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %n = arith.addf %m, %c : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  %2 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<6x4x1x1xf32>) -> tensor<1x6x8x8xf32>
  %3 = qcc.generic none ins(%2, %r, %s : tensor<1x6x8x8xf32>, tensor<8x1x1xf32>, tensor<6x1x1xf32>) maps [#id, #row, #channel] {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %n = arith.addf %m, %c : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  %4 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<6x4x1x1xf32>) -> tensor<1x6x8x8xf32>
  %5 = qcc.generic none ins(%4, %v, %s : tensor<1x6x8x8xf32>, tensor<6x1x1xf32>, tensor<6x1x1xf32>) maps [#id, #channel, #channel] {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %n = arith.addf %m, %c : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  %6 = qcc.conv %x, %d {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<6x4x1x1xf32>) -> tensor<1x6x8x8xf32>
  %7 = qcc.generic none ins(%6, %s, %s : tensor<1x6x8x8xf32>, tensor<6x1x1xf32>, tensor<6x1x1xf32>) maps [#id, #channel, #channel] {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %m = arith.mulf %a, %b : f32
    %n = arith.addf %m, %c : f32
    qcc.yield %n : f32
  } -> tensor<1x6x8x8xf32>
  return %0, %1, %3, %5, %7 : tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>, tensor<1x6x8x8xf32>
}
