// RUN: qcc-opt %s --qcc-schedule=target=avx512-vnni | FileCheck %s --check-prefix=FLAT
// RUN: qcc-opt %s --qcc-schedule=target=avx2+avx512-vnni | FileCheck %s --check-prefix=TAPS
// RUN: qcc-opt %s --qcc-schedule=target=amx+avx512-vnni | FileCheck %s --check-prefix=TAPS
// Taps of fewer inputs than a step holds lie side by side where all levels have VNNI and none tiles: 27 inputs in 7 steps, not 9.

// FLAT: qcc.pack %{{.*}} "flat:1" {nr = 16 : i64} : tensor<32x3x3x3xi8> -> tensor<1x2x512xi8>
// FLAT: flat = true
// TAPS: qcc.pack %{{.*}} "dot:1" {nr = 16 : i64} : tensor<32x3x3x3xi8> -> tensor<1x2x640xi8>
// TAPS: flat = false
func.func @main(%x: tensor<1x6x6x3xui8>) -> tensor<1x6x6x32xi32> {
  %w = qcc.param "w" : tensor<32x3x3x3xi8>
  %0 = qcc.dispatch(%x, %w) : (tensor<1x6x6x3xui8>, tensor<32x3x3x3xi8>) -> tensor<1x6x6x32xi32> {
  ^bb0(%a: tensor<1x6x6x3xui8>, %b: tensor<32x3x3x3xi8>):
    %1 = qcc.int_conv %a, %b {channels_last, dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x6x6x3xui8>, tensor<32x3x3x3xi8>) -> tensor<1x6x6x32xi32>
    qcc.yield %1 : tensor<1x6x6x32xi32>
  }
  return %0 : tensor<1x6x6x32xi32>
}
