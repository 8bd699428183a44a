// RUN: qcc-opt %s | FileCheck %s
// RUN: qcc-opt %s | qcc-opt | FileCheck %s
// RUN: qcc-opt %s --mlir-print-op-generic | qcc-opt | FileCheck %s
// Every operation prints what it parses, in both forms.

#batch = affine_map<()[s0] -> (s0, 4)>
module attributes {qcc.symbols = ["batch"]} {
  // CHECK: qcc.state @counter : tensor<1xi64>
  qcc.state @counter : tensor<1xi64>

  // CHECK-LABEL: func.func @generic
  // CHECK-SAME: tensor<?x4xf32, #{{.*}}>
  func.func @generic(%x: tensor<?x4xf32, #batch>, %t: tensor<8xf32>) -> tensor<?x4xf32, #batch> {
    // CHECK: qcc.generic none ins(%{{.*}} : tensor<?x4xf32, #{{.*}}>) maps [#{{.*}}] whole(%{{.*}} : tensor<8xf32>)
    // CHECK: qcc.index 1
    // CHECK: qcc.extent #{{.*}}
    // CHECK: qcc.read %{{.*}}[%{{.*}}] : tensor<8xf32> -> f32
    // CHECK: qcc.yield %{{.*}} : f32
    %0 = qcc.generic none ins(%x : tensor<?x4xf32, #batch>) maps [affine_map<(d0, d1) -> (d0, d1)>]
        whole(%t : tensor<8xf32>) {
    ^bb0(%a: f32, %w: tensor<8xf32>):
      %i = qcc.index 1
      %n = qcc.extent affine_map<()[s0] -> (s0)>
      %j = arith.minsi %i, %n : index
      %v = qcc.read %w[%j] : tensor<8xf32> -> f32
      %r = arith.addf %a, %v : f32
      qcc.yield %r : f32
    } -> tensor<?x4xf32, #batch>
    return %0 : tensor<?x4xf32, #batch>
  }

  // CHECK-LABEL: func.func @reduction
  func.func @reduction(%x: tensor<2x3xf32>) -> tensor<2xf32> {
    // CHECK: qcc.generic max ins(%{{.*}} : tensor<2x3xf32>) maps [#{{.*}}] over #{{.*}}
    %0 = qcc.generic max ins(%x : tensor<2x3xf32>) maps [affine_map<(d0, d1) -> (d0, d1)>]
        over affine_map<() -> (3)> {
    ^bb0(%a: f32):
      qcc.yield %a : f32
    } -> tensor<2xf32>
    return %0 : tensor<2xf32>
  }

  // CHECK-LABEL: func.func @named
  func.func @named(%x: tensor<1x3x8x8xf32>, %q: tensor<1x2x4x8xf32>) -> tensor<1x2x4x8xf32> {
    // CHECK: qcc.param "w" : tensor<4x3x3x3xf32>
    %w = qcc.param "w" : tensor<4x3x3x3xf32>
    // CHECK: qcc.constant dense<1.000000e+00> : tensor<1x2x8x4xf32> -> tensor<1x2x8x4xf32>
    %c = qcc.constant dense<1.0> : tensor<1x2x8x4xf32> -> tensor<1x2x8x4xf32>
    // CHECK: qcc.conv
    %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>,
        strides = array<i64: 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x8x8xf32>
    // CHECK: qcc.pool average
    %1 = qcc.pool average %0 {dilations = array<i64: 1, 1>, kernel = array<i64: 2, 2>, pads = array<i64: 0, 0, 0, 0>,
        strides = array<i64: 2, 2>} : (tensor<1x4x8x8xf32>) -> tensor<1x4x4x4xf32>
    // CHECK: qcc.matmul
    %2 = qcc.matmul %q, %c : (tensor<1x2x4x8xf32>, tensor<1x2x8x4xf32>) -> tensor<1x2x4x4xf32>
    // CHECK: qcc.softmax
    %3 = qcc.softmax %2 : tensor<1x2x4x4xf32> -> tensor<1x2x4x4xf32>
    // CHECK: qcc.norm layer
    %4 = qcc.norm layer %3 {epsilon = 1.0e-5 : f32} : tensor<1x2x4x4xf32> -> tensor<1x2x4x4xf32>
    // CHECK: qcc.attention
    %5 = qcc.attention %q, %q, %q mask %4 {scale = 0.5 : f32} : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>,
        tensor<1x2x4x8xf32>, tensor<1x2x4x4xf32>) -> tensor<1x2x4x8xf32>
    // CHECK: qcc.attention {{.*}} {scale = 5.000000e-01 : f32, softcap = 5.000000e+01 : f32}
    %capped = qcc.attention %q, %q, %q {scale = 0.5 : f32, softcap = 50.0 : f32} : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>)
      -> tensor<1x2x4x8xf32>
    // CHECK: qcc.attention {{.*}} mask %{{.*}} sink %{{.*}} {scale
    %sink = qcc.constant dense<1.0> : tensor<2xf32> -> tensor<2xf32>
    %sunk = qcc.attention %q, %q, %q mask %4 sink %sink {scale = 0.5 : f32} : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>,
        tensor<1x2x4x8xf32>, tensor<1x2x4x4xf32>, tensor<2xf32>) -> tensor<1x2x4x8xf32>
    // CHECK: qcc.attention {{.*}} {int8, scale
    %codes = qcc.attention %q, %q, %q {scale = 0.5 : f32, int8} : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>)
        -> tensor<1x2x4x8xf32>
    // CHECK: qcc.observe "x"
    qcc.observe "x", %5 : tensor<1x2x4x8xf32>
    // CHECK: qcc.state_read @counter
    %6 = qcc.state_read @counter : tensor<1xi64>
    // CHECK: qcc.state_write @counter
    qcc.state_write @counter, %6 : tensor<1xi64>
    return %5 : tensor<1x2x4x8xf32>
  }

  // CHECK-LABEL: func.func @quantized
  func.func @quantized(%x: tensor<2x64xf32>) -> tensor<2x16xf32> {
    %w = qcc.param "w2" : tensor<64x16xf32>
    // CHECK: qcc.encode %{{.*}} <"int8", group = 0, symmetric = true>
    %e = qcc.encode %w <"int8", group = 0, symmetric = true> : (tensor<64x16xf32>) -> tensor<1152xi8>
    %g = qcc.param "scales" : tensor<3x16xf32>
    %z = qcc.param "zeros" : tensor<3x16xi32>
    %i = qcc.param "importance" : tensor<64xf32>
    // CHECK: qcc.encode %{{.*}} importance %{{.*}} scales %{{.*}} zeros %{{.*}} <"w4a16", group = 30, symmetric = false>
    %f = qcc.encode %w importance %i scales %g zeros %z <"w4a16", group = 30, symmetric = false>
        : (tensor<64x16xf32>, tensor<64xf32>, tensor<3x16xf32>, tensor<3x16xi32>) -> tensor<64x16xf32>
    // CHECK: qcc.quantize_rows
    %c, %s, %n = qcc.quantize_rows %x {group = 0 : i64}
        : (tensor<2x64xf32>) -> (tensor<2x64xi8>, tensor<2x1xf32>, tensor<2x1xi32>)
    // CHECK: qcc.qmatmul(%{{.*}}, %{{.*}}, %{{.*}}), %{{.*}}
    %0 = qcc.qmatmul(%c, %s, %n), %e <"int8", group = 0, symmetric = true> {n = 16 : i64}
        : (tensor<2x64xi8>, tensor<2x1xf32>, tensor<2x1xi32>, tensor<1152xi8>) -> tensor<2x16xf32>
    return %0 : tensor<2x16xf32>
  }

  // CHECK-LABEL: func.func @codes
  func.func @codes(%x: tensor<2x64xf32>, %s: tensor<64xf32>, %z: tensor<64xui4>, %b: tensor<2x4xf8E8M0FNU>,
                   %u: tensor<ui8>, %i: tensor<2x1xi8>) -> (tensor<2x2xi32>, tensor<1x4x6x6xi32>) {
    // CHECK: qcc.quantize %{{.*}}, %{{.*}} zero %{{.*}} {axis = 1 : i64} : (tensor<2x64xf32>, tensor<64xf32>, tensor<64xui4>) -> tensor<2x64xui4>
    %0 = qcc.quantize %x, %s zero %z {axis = 1 : i64} : (tensor<2x64xf32>, tensor<64xf32>, tensor<64xui4>) -> tensor<2x64xui4>
    // CHECK: qcc.dequantize
    %1 = qcc.dequantize %0, %s zero %z {axis = 1 : i64} : (tensor<2x64xui4>, tensor<64xf32>, tensor<64xui4>) -> tensor<2x64xbf16>
    // CHECK: qcc.quantize %{{.*}}, %{{.*}} {axis = 1 : i64, block = 16 : i64, overflow, precision = f16}
    %2 = qcc.quantize %1, %b {axis = 1 : i64, block = 16 : i64, overflow, precision = f16}
        : (tensor<2x64xbf16>, tensor<2x4xf8E8M0FNU>) -> tensor<2x64xf8E5M2>
    %3 = qcc.dequantize %2, %b {axis = 1 : i64, block = 16 : i64} : (tensor<2x64xf8E5M2>, tensor<2x4xf8E8M0FNU>) -> tensor<2x64xf32>
    %one = qcc.constant dense<1.0> : tensor<f32> -> tensor<f32>
    %4 = qcc.quantize %3, %one : (tensor<2x64xf32>, tensor<f32>) -> tensor<2x64xi8>
    %w = qcc.param "w" : tensor<64x2xui8>
    // CHECK: qcc.int_matmul %{{.*}}, %{{.*}} lhs_zero %{{.*}} rhs_zero %{{.*}} : (tensor<2x64xi8>, tensor<64x2xui8>, tensor<2x1xi8>, tensor<ui8>) -> tensor<2x2xi32>
    %5 = qcc.int_matmul %4, %w lhs_zero %i rhs_zero %u
        : (tensor<2x64xi8>, tensor<64x2xui8>, tensor<2x1xi8>, tensor<ui8>) -> tensor<2x2xi32>
    %img = qcc.param "img" : tensor<1x2x6x6xui8>
    %k = qcc.param "k" : tensor<4x2x3x3xi8>
    // CHECK: qcc.int_conv %{{.*}}, %{{.*}} input_zero %{{.*}} {dilations
    %6 = qcc.int_conv %img, %k input_zero %u {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 1, 1, 1, 1>,
        strides = array<i64: 1, 1>} : (tensor<1x2x6x6xui8>, tensor<4x2x3x3xi8>, tensor<ui8>) -> tensor<1x4x6x6xi32>
    return %5, %6 : tensor<2x2xi32>, tensor<1x4x6x6xi32>
  }
}
