// RUN: qcc-opt %s --qcc-schedule=target=avx2 | FileCheck %s --check-prefixes=CHECK,FLAT
// RUN: qcc-opt %s --qcc-schedule=target=avx512 | FileCheck %s --check-prefixes=CHECK,FIT
// RUN: qcc-opt %s --qcc-schedule=target=avx2+avx512-vnni | FileCheck %s --check-prefixes=CHECK,FIT
// Weights whose codes fit in pairs of rows stay bytes for levels without VNNI: all taps side by side for AVX2 alone, else tap
// by tap, in which an odd number of inputs has other pairs. Codes of 4 bits always fit.

// CHECK-LABEL: func.func @even
// FLAT: qcc.pack %{{.*}} "quad:1" {nr = 16 : i64} : tensor<32x8x3x3xi8> -> tensor<1x2x1216xi8>
// FIT: qcc.pack %{{.*}} "dotfit:1" {nr = 16 : i64} : tensor<32x8x3x3xi8> -> tensor<1x2x1216xi8>
func.func @even(%x: tensor<1x6x6x8xui8>) -> tensor<1x6x6x32xi32> {
  %w = qcc.param "w" : tensor<32x8x3x3xi8>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x6x6x8xui8>, tensor<32x8x3x3xi8>) -> tensor<1x6x6x32xi32> {
  ^bb0(%a: tensor<1x6x6x8xui8>, %b: tensor<32x8x3x3xi8>):
    %2 = qcc.int_conv %a, %b {channels_last, dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, qcc.pairs_fit, strides = array<i64: 1, 1>} : (tensor<1x6x6x8xui8>, tensor<32x8x3x3xi8>) -> tensor<1x6x6x32xi32>
    qcc.yield %2 : tensor<1x6x6x32xi32>
  }
  return %0 : tensor<1x6x6x32xi32>
}

// CHECK-LABEL: func.func @odd
// FLAT: qcc.pack %{{.*}} "quad:1" {nr = 16 : i64} : tensor<32x3x3x3xi8> -> tensor<1x2x512xi8>
// FIT: qcc.pack %{{.*}} "dot{{(16)?}}:1" {nr = 16 : i64} : tensor<32x3x3x3xi8>
func.func @odd(%x: tensor<1x6x6x3xui8>) -> tensor<1x6x6x32xi32> {
  %w = qcc.param "w" : tensor<32x3x3x3xi8>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x6x6x3xui8>, tensor<32x3x3x3xi8>) -> tensor<1x6x6x32xi32> {
  ^bb0(%a: tensor<1x6x6x3xui8>, %b: tensor<32x3x3x3xi8>):
    %2 = qcc.int_conv %a, %b {channels_last, dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, qcc.pairs_fit, strides = array<i64: 1, 1>} : (tensor<1x6x6x3xui8>, tensor<32x3x3x3xi8>) -> tensor<1x6x6x32xi32>
    qcc.yield %2 : tensor<1x6x6x32xi32>
  }
  return %0 : tensor<1x6x6x32xi32>
}

// CHECK-LABEL: func.func @nibbles
// FLAT: qcc.pack %{{.*}} "quad4" {nr = 16 : i64} : tensor<64x32xi4> -> tensor<1x2x576xi8>
// FIT: qcc.pack %{{.*}} "dot4" {nr = 16 : i64} : tensor<64x32xi4> -> tensor<1x2x576xi8>
func.func @nibbles(%x: tensor<4x64xui8>) -> tensor<4x32xi32> {
  %w = qcc.param "w" : tensor<64x32xi4>
  %0 = qcc.dispatch(%x, %w) : (tensor<4x64xui8>, tensor<64x32xi4>) -> tensor<4x32xi32> {
  ^bb0(%a: tensor<4x64xui8>, %b: tensor<64x32xi4>):
    %2 = qcc.int_matmul %a, %b : (tensor<4x64xui8>, tensor<64x32xi4>) -> tensor<4x32xi32>
    qcc.yield %2 : tensor<4x32xi32>
  }
  return %0 : tensor<4x32xi32>
}
