// RUN: qcc-opt %s --qcc-schedule=target=avx2 | FileCheck %s --check-prefixes=CHECK,WORDS
// RUN: qcc-opt %s --qcc-schedule=target=avx512 | FileCheck %s --check-prefixes=CHECK,LANES
// RUN: qcc-opt %s --qcc-schedule=target=avx512-vnni | FileCheck %s --check-prefixes=CHECK,BYTES
// RUN: qcc-opt %s --qcc-schedule=target=avx2+avx512-vnni | FileCheck %s --check-prefixes=CHECK,BYTES
// RUN: qcc-opt %s --qcc-schedule=target=amx+avx512-vnni | FileCheck %s --check-prefixes=CHECK,BYTES,TILES
// Kernels of exact products of bytes: the weight in words for levels without VNNI, in pairs for AVX2 alone, and the arithmetic of each.

// CHECK-DAG: #[[FLOPS:.*]] = affine_map<() -> (165888)>
// CHECK-LABEL: func.func @main
// WORDS: qcc.pack %{{.*}} "pair:1" {nr = 16 : i64} : tensor<32x8x3x3xi8> -> tensor<1x2x1216xi8>
// LANES: qcc.pack %{{.*}} "dot16:1" {nr = 16 : i64} : tensor<32x8x3x3xi8> -> tensor<1x2x2368xi8>
// BYTES: qcc.pack %{{.*}} "dot:1" {nr = 16 : i64} : tensor<32x8x3x3xi8> -> tensor<1x2x1216xi8>
// CHECK: qcc.launch @k0_dot
// CHECK-SAME: qcc.flops = #[[FLOPS]]
// WORDS: qcc.pack %{{.*}} "tap" {nr = 16 : i64} : tensor<32x1x3x3xi8> -> tensor<10x32xi32>
// LANES: qcc.pack %{{.*}} "tap" {nr = 16 : i64} : tensor<32x1x3x3xi8> -> tensor<10x32xi32>
// BYTES: qcc.pack %{{.*}} "tap4" {nr = 16 : i64} : tensor<32x1x3x3xi8> -> tensor<13x32xi32>
// CHECK: qcc.launch @k1_depthwise
// CHECK: kernel = "dot.int8"
// TILES-SAME: tiles = true
// CHECK: kernel = "depthwise.int8"
func.func @main(%x: tensor<1x6x6x8xui8>, %y: tensor<1x6x6x32xui8>) -> (tensor<1x6x6x32xi32>, tensor<1x6x6x32xi32>) {
  %w = qcc.param "w" : tensor<32x8x3x3xi8>
  %v = qcc.param "v" : tensor<32x1x3x3xi8>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x6x6x8xui8>, tensor<32x8x3x3xi8>) -> tensor<1x6x6x32xi32> {
  ^bb0(%a: tensor<1x6x6x8xui8>, %b: tensor<32x8x3x3xi8>):
    %2 = qcc.int_conv %a, %b {channels_last, dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x6x6x8xui8>, tensor<32x8x3x3xi8>) -> tensor<1x6x6x32xi32>
    qcc.yield %2 : tensor<1x6x6x32xi32>
  }
  %1 = qcc.dispatch(%y, %v) : (tensor<1x6x6x32xui8>, tensor<32x1x3x3xi8>) -> tensor<1x6x6x32xi32> {
  ^bb0(%a: tensor<1x6x6x32xui8>, %b: tensor<32x1x3x3xi8>):
    %2 = qcc.int_conv %a, %b {channels_last, dilations = array<i64: 1, 1>, groups = 32 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x6x6x32xui8>, tensor<32x1x3x3xi8>) -> tensor<1x6x6x32xi32>
    qcc.yield %2 : tensor<1x6x6x32xi32>
  }
  return %0, %1 : tensor<1x6x6x32xi32>, tensor<1x6x6x32xi32>
}
