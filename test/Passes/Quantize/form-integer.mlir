// RUN: qcc-opt %s --qcc-form-integer --canonicalize | FileCheck %s
// Products and convolutions of dequantized codes are computed in integers.

#keys = affine_map<()[s0] -> (5, s0)>
#values = affine_map<()[s0] -> (s0, 8)>

// CHECK-LABEL: func @conv
// CHECK: %[[SUMS:.*]] = qcc.int_conv %{{.*}}, %{{.*}} input_zero %{{.*}} {{.*}}qcc.executed = "int8"{{.*}} -> tensor<1x4x6x6xi32>
// CHECK: qcc.dequantize %[[SUMS]], %{{.*}} {axis = 1 : i64} : (tensor<1x4x6x6xi32>, tensor<4xf32>) -> tensor<1x4x6x6xf32>
// CHECK-NOT: qcc.conv
func.func @conv(%x: tensor<1x3x8x8xui8>) -> tensor<1x4x6x6xf32> {
  %w = qcc.param "w" : tensor<4x3x3x3xi8>
  %sw = qcc.param "s" : tensor<4xf32>
  %sx = qcc.constant dense<0.5> : tensor<1xf32> -> tensor<1xf32>
  %zx = qcc.constant dense<7> : tensor<1xui8> -> tensor<1xui8>
  %zw = qcc.constant dense<0> : tensor<4xi8> -> tensor<4xi8>
  %0 = qcc.dequantize %x, %sx zero %zx : (tensor<1x3x8x8xui8>, tensor<1xf32>, tensor<1xui8>) -> tensor<1x3x8x8xf32>
  %1 = qcc.dequantize %w, %sw zero %zw : (tensor<4x3x3x3xi8>, tensor<4xf32>, tensor<4xi8>) -> tensor<4x3x3x3xf32>
  %2 = qcc.conv %0, %1 {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x6x6xf32>
  return %2 : tensor<1x4x6x6xf32>
}

// A stored transpose of the codes, a scale per column, and codes again: the division is a product with the reciprocal.
// CHECK-LABEL: func @matmul
// CHECK: %[[SUMS:.*]] = qcc.int_matmul %{{.*}}, %{{.*}} : (tensor<5x16xi8>, tensor<16x8xi8>) -> tensor<5x8xi32>
// CHECK: %[[Y:.*]] = qcc.dequantize %[[SUMS]], %{{.*}} {axis = 1 : i64}
// CHECK: %[[STEPS:.*]] = qcc.generic none ins(%[[Y]], %{{.*}})
// CHECK: arith.mulf
// CHECK: qcc.quantize %[[STEPS]], %{{.*}} :
func.func @matmul(%x: tensor<5x16xi8>) -> tensor<5x8xi8> {
  %w = qcc.param "w" : tensor<8x16xi8>
  %sw = qcc.param "s" : tensor<8xf32>
  %sx = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.dequantize %x, %sx : (tensor<5x16xi8>, tensor<f32>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %sw : (tensor<8x16xi8>, tensor<8xf32>) -> tensor<8x16xf32>
  %2 = qcc.matmul %0, %1 {trans_b} : (tensor<5x16xf32>, tensor<8x16xf32>) -> tensor<5x8xf32>
  %3 = qcc.quantize %2, %sx : (tensor<5x8xf32>, tensor<f32>) -> tensor<5x8xi8>
  return %3 : tensor<5x8xi8>
}

// A weight's codes without a sign and 128 as their zero point become signed ones without one.
// CHECK-LABEL: func @unsigned_weight
// CHECK: arith.xori
// CHECK: qcc.int_matmul %{{.*}}, %{{.*}} : (tensor<5x16xui8>, tensor<16x8xi8>) -> tensor<5x8xi32>
func.func @unsigned_weight(%x: tensor<5x16xui8>) -> tensor<5x8xf32> {
  %w = qcc.param "w" : tensor<16x8xui8>
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %z = qcc.constant dense<128> : tensor<ui8> -> tensor<ui8>
  %0 = qcc.dequantize %x, %s : (tensor<5x16xui8>, tensor<f32>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %s zero %z : (tensor<16x8xui8>, tensor<f32>, tensor<ui8>) -> tensor<16x8xf32>
  %2 = qcc.matmul %0, %1 : (tensor<5x16xf32>, tensor<16x8xf32>) -> tensor<5x8xf32>
  return %2 : tensor<5x8xf32>
}

// Two activations, whose codes keep their zero points; a matrix of several is transposed as codes.
// CHECK-LABEL: func @activations
// CHECK: %[[SUMS:.*]] = qcc.int_matmul %arg0, %arg1 lhs_zero %{{.*}} rhs_zero %{{.*}}qcc.executed = "int8", qcc.reason = "as in the model"{{.*}} : (tensor<3x5x16xui8>, tensor<3x16x8xui8>, tensor<ui8>, tensor<ui8>) -> tensor<3x5x8xi32>
// CHECK: qcc.dequantize %[[SUMS]], %{{.*}} : (tensor<3x5x8xi32>, tensor<f32>) -> tensor<3x5x8xf32>
// CHECK: %[[TURNED:.*]] = qcc.generic none ins(%arg1 : tensor<3x16x8xui8>)
// CHECK: qcc.int_matmul %{{.*}}, %[[TURNED]] {{.*}} : (tensor<3x5x8xi8>, tensor<3x8x16xui8>, tensor<ui8>) -> tensor<3x5x16xi32>
// CHECK-NOT: qcc.matmul
func.func @activations(%x: tensor<3x5x16xui8>, %v: tensor<3x16x8xui8>) -> (tensor<3x5x8xf32>, tensor<3x5x16xf32>) {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %zx = qcc.constant dense<7> : tensor<ui8> -> tensor<ui8>
  %zv = qcc.constant dense<128> : tensor<ui8> -> tensor<ui8>
  %0 = qcc.dequantize %x, %s zero %zx : (tensor<3x5x16xui8>, tensor<f32>, tensor<ui8>) -> tensor<3x5x16xf32>
  %1 = qcc.dequantize %v, %s zero %zv : (tensor<3x16x8xui8>, tensor<f32>, tensor<ui8>) -> tensor<3x16x8xf32>
  %2 = qcc.matmul %0, %1 : (tensor<3x5x16xf32>, tensor<3x16x8xf32>) -> tensor<3x5x8xf32>
  %3 = qcc.quantize %2, %s : (tensor<3x5x8xf32>, tensor<f32>) -> tensor<3x5x8xi8>
  %4 = qcc.dequantize %3, %s : (tensor<3x5x8xi8>, tensor<f32>) -> tensor<3x5x8xf32>
  %5 = qcc.matmul %4, %1 {trans_b} : (tensor<3x5x8xf32>, tensor<3x16x8xf32>) -> tensor<3x5x16xf32>
  return %2, %5 : tensor<3x5x8xf32>, tensor<3x5x16xf32>
}

// With as many keys as the model is given: weights add up to 1, other codes may be too large together.
// CHECK-LABEL: func @keys
// CHECK: qcc.int_matmul {{.*}} -> tensor<5x8xi32>
// CHECK: qcc.matmul {{.*}}qcc.reason = "not supported: a sum may not fit 32 bits"
func.func @keys(%x: tensor<5x?xf32, #keys>, %v: tensor<?x8xi8, #values>) -> (tensor<5x8xf32>, tensor<5x8xf32>) {
  %s = qcc.constant dense<0.00787401571> : tensor<f32> -> tensor<f32>
  %0 = qcc.softmax %x : tensor<5x?xf32, #keys> -> tensor<5x?xf32, #keys>
  %1 = qcc.quantize %0, %s : (tensor<5x?xf32, #keys>, tensor<f32>) -> tensor<5x?xi8, #keys>
  %2 = qcc.dequantize %1, %s : (tensor<5x?xi8, #keys>, tensor<f32>) -> tensor<5x?xf32, #keys>
  %3 = qcc.dequantize %v, %s : (tensor<?x8xi8, #values>, tensor<f32>) -> tensor<?x8xf32, #values>
  %4 = qcc.matmul %2, %3 : (tensor<5x?xf32, #keys>, tensor<?x8xf32, #values>) -> tensor<5x8xf32>
  %5 = qcc.quantize %x, %s : (tensor<5x?xf32, #keys>, tensor<f32>) -> tensor<5x?xi8, #keys>
  %6 = qcc.dequantize %5, %s : (tensor<5x?xi8, #keys>, tensor<f32>) -> tensor<5x?xf32, #keys>
  %7 = qcc.matmul %6, %3 : (tensor<5x?xf32, #keys>, tensor<?x8xf32, #values>) -> tensor<5x8xf32>
  return %4, %7 : tensor<5x8xf32>, tensor<5x8xf32>
}

// What stays in f32 says why.
// CHECK-LABEL: func @refused
func.func @refused(%x: tensor<5x16xi8>, %long: tensor<1x40000xui8>, %v: tensor<40000x1xui8>) -> (tensor<5x8xf32>, tensor<1x1xf32>) {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %rows = qcc.param "r" : tensor<16xf32>
  %w = qcc.param "w" : tensor<16x8xi8>
  %0 = qcc.dequantize %x, %s : (tensor<5x16xi8>, tensor<f32>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %rows {axis = 0 : i64} : (tensor<16x8xi8>, tensor<16xf32>) -> tensor<16x8xf32>
  // CHECK: qcc.matmul {{.*}}qcc.reason = "not supported: the weight has a scale along its rows"
  %2 = qcc.matmul %0, %1 : (tensor<5x16xf32>, tensor<16x8xf32>) -> tensor<5x8xf32>
  %3 = qcc.dequantize %long, %s : (tensor<1x40000xui8>, tensor<f32>) -> tensor<1x40000xf32>
  %4 = qcc.dequantize %v, %s : (tensor<40000x1xui8>, tensor<f32>) -> tensor<40000x1xf32>
  // CHECK: qcc.matmul {{.*}}qcc.executed = "f32", qcc.reason = "not supported: a sum may not fit 32 bits"
  %5 = qcc.matmul %3, %4 : (tensor<1x40000xf32>, tensor<40000x1xf32>) -> tensor<1x1xf32>
  return %2, %5 : tensor<5x8xf32>, tensor<1x1xf32>
}

// Other zero points: less their difference to 128 (0 of signed codes) times the sums of the inputs.
// CHECK-LABEL: func @zero_points
// CHECK: %[[ROWS:.*]] = qcc.int_matmul %arg0, %{{.*}} lhs_zero %{{.*}} {{{.*}}qcc.reason = "sums codes: the weight has a zero point"{{.*}}} : (tensor<5x16xui8>, tensor<16x1xi8>, tensor<ui8>) -> tensor<5x1xi32>
// CHECK: %[[SUMS:.*]] = qcc.int_matmul %arg0, %{{.*}} lhs_zero %{{.*}}qcc.reason = "as in the model"{{.*}} : (tensor<5x16xui8>, tensor<16x8xi8>, tensor<ui8>) -> tensor<5x8xi32>
// CHECK: %[[ALL:.*]] = qcc.generic none ins(%[[SUMS]], %[[ROWS]], %{{.*}} : tensor<5x8xi32>, tensor<5x1xi32>, tensor<1x8xi32>)
// CHECK: qcc.dequantize %[[ALL]], %{{.*}} {axis = 1 : i64} : (tensor<5x8xi32>, tensor<8xf32>) -> tensor<5x8xf32>
// CHECK: %[[INPUTS:.*]] = qcc.int_conv {{.*}}qcc.reason = "sums codes{{.*}} : (tensor<1x4x8x8xui8>, tensor<1x4x3x3xi8>) -> tensor<1x1x6x6xi32>
// CHECK: %[[CONV:.*]] = qcc.int_conv {{.*}} : (tensor<1x4x8x8xui8>, tensor<6x4x3x3xi8>) -> tensor<1x6x6x6xi32>
// CHECK: qcc.generic none ins(%[[CONV]], %[[INPUTS]], %{{.*}} : tensor<1x6x6x6xi32>, tensor<1x1x6x6xi32>, tensor<i32>)
// CHECK-NOT: qcc.matmul
// CHECK-NOT: qcc.conv
func.func @zero_points(%x: tensor<5x16xui8>, %image: tensor<1x4x8x8xui8>) -> (tensor<5x8xf32>, tensor<1x6x6x6xf32>) {
  %w = qcc.param "w" : tensor<16x8xui8>
  %v = qcc.param "v" : tensor<6x4x3x3xi8>
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %sw = qcc.param "s" : tensor<8xf32>
  %zw = qcc.param "z" : tensor<8xui8>
  %zx = qcc.constant dense<7> : tensor<ui8> -> tensor<ui8>
  %zv = qcc.constant dense<3> : tensor<i8> -> tensor<i8>
  %0 = qcc.dequantize %x, %s zero %zx : (tensor<5x16xui8>, tensor<f32>, tensor<ui8>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %sw zero %zw {axis = 1 : i64} : (tensor<16x8xui8>, tensor<8xf32>, tensor<8xui8>) -> tensor<16x8xf32>
  %2 = qcc.matmul %0, %1 : (tensor<5x16xf32>, tensor<16x8xf32>) -> tensor<5x8xf32>
  %3 = qcc.dequantize %image, %s : (tensor<1x4x8x8xui8>, tensor<f32>) -> tensor<1x4x8x8xf32>
  %4 = qcc.dequantize %v, %s zero %zv : (tensor<6x4x3x3xi8>, tensor<f32>, tensor<i8>) -> tensor<6x4x3x3xf32>
  %5 = qcc.conv %3, %4 {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x6x6x6xf32>
  return %2, %5 : tensor<5x8xf32>, tensor<1x6x6x6xf32>
}

// Where codes less their zero points are known to fit signed bytes, they are the codes.
// CHECK-LABEL: func @zeros_fit
// CHECK: %[[LESS:.*]] = qcc.generic none ins(%{{.*}} : tensor<16x8xui8>, tensor<ui8>)
// CHECK: arith.subi
// CHECK: qcc.int_matmul %arg0, %{{.*}} {qcc.executed = "int8", qcc.reason = "as in the model", qcc.requested = "int8"} : (tensor<5x16xui8>, tensor<16x8xi8>) -> tensor<5x8xi32>
// CHECK: arith.subi
// CHECK: qcc.int_conv {{.*}} : (tensor<1x4x8x8xui8>, tensor<6x4x3x3xi8>) -> tensor<1x6x6x6xi32>
// CHECK-NOT: qcc.int_
func.func @zeros_fit(%x: tensor<5x16xui8>, %image: tensor<1x4x8x8xui8>) -> (tensor<5x8xf32>, tensor<1x6x6x6xi32>) {
  %w = qcc.param "w" : tensor<8x16xui8>
  %v = qcc.param "v" : tensor<6x4x3x3xi8>
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %zw = qcc.constant dense<60> : tensor<ui8> -> tensor<ui8>
  %zv = qcc.param "z" : tensor<6xi8>
  %0 = qcc.dequantize %x, %s : (tensor<5x16xui8>, tensor<f32>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %s zero %zw {qcc.zeros_fit} : (tensor<8x16xui8>, tensor<f32>, tensor<ui8>) -> tensor<8x16xf32>
  %2 = qcc.matmul %0, %1 {trans_b} : (tensor<5x16xf32>, tensor<8x16xf32>) -> tensor<5x8xf32>
  %3 = qcc.int_conv %image, %v weight_zero %zv {qcc.zeros_fit, dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xui8>, tensor<6x4x3x3xi8>, tensor<6xi8>) -> tensor<1x6x6x6xi32>
  return %2, %3 : tensor<5x8xf32>, tensor<1x6x6x6xi32>
}

// Depthwise kernels take words.
// CHECK-LABEL: func @depthwise_words
// CHECK: arith.extui {{.*}} : i8 to i16
// CHECK: arith.extui {{.*}} : i8 to i16
// CHECK: arith.subi {{.*}} : i16
// CHECK: qcc.int_conv {{.*}} : (tensor<1x4x8x8xui8>, tensor<4x1x3x3xi16>) -> tensor<1x4x6x6xi32>
// CHECK-NOT: qcc.int_
func.func @depthwise_words(%image: tensor<1x4x8x8xui8>) -> tensor<1x4x6x6xi32> {
  %v = qcc.param "v" : tensor<4x1x3x3xui8>
  %zv = qcc.param "z" : tensor<4xui8>
  %0 = qcc.int_conv %image, %v weight_zero %zv {dilations = array<i64: 1, 1>, groups = 4 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x4x8x8xui8>, tensor<4x1x3x3xui8>, tensor<4xui8>) -> tensor<1x4x6x6xi32>
  return %0 : tensor<1x4x6x6xi32>
}

// The same where the model says the product in integers; a row's own zero points have no kernel.
// CHECK-LABEL: func @center
// CHECK: qcc.int_matmul %{{.*}}, %{{.*}} lhs_zero %{{.*}} : (tensor<5x16xui8>, tensor<16x8xi8>, tensor<ui8>)
// CHECK: %[[ROWS:.*]] = qcc.int_matmul %{{.*}} : (tensor<5x16xui8>, tensor<16x1xi8>) -> tensor<5x1xi32>
// CHECK: %[[SUMS:.*]] = qcc.int_matmul %{{.*}} : (tensor<5x16xui8>, tensor<16x8xi8>) -> tensor<5x8xi32>
// CHECK: qcc.generic none ins(%[[SUMS]], %[[ROWS]],
// CHECK: qcc.int_matmul %{{.*}} rhs_zero %{{.*}} : (tensor<5x16xui8>, tensor<16x8xui8>, tensor<5x1xui8>, tensor<ui8>)
func.func @center(%x: tensor<5x16xui8>, %zx: tensor<ui8>, %rows: tensor<5x1xui8>) -> (tensor<5x8xi32>, tensor<5x8xi32>, tensor<5x8xi32>) {
  %w = qcc.param "w" : tensor<16x8xui8>
  %z = qcc.constant dense<128> : tensor<ui8> -> tensor<ui8>
  %0 = qcc.int_matmul %x, %w lhs_zero %zx rhs_zero %z : (tensor<5x16xui8>, tensor<16x8xui8>, tensor<ui8>, tensor<ui8>) -> tensor<5x8xi32>
  %y = qcc.constant dense<127> : tensor<ui8> -> tensor<ui8>
  %1 = qcc.int_matmul %x, %w rhs_zero %y : (tensor<5x16xui8>, tensor<16x8xui8>, tensor<ui8>) -> tensor<5x8xi32>
  %2 = qcc.int_matmul %x, %w lhs_zero %rows rhs_zero %y : (tensor<5x16xui8>, tensor<16x8xui8>, tensor<5x1xui8>, tensor<ui8>) -> tensor<5x8xi32>
  return %0, %1, %2 : tensor<5x8xi32>, tensor<5x8xi32>, tensor<5x8xi32>
}

// Codes without a sign whose zero point is 0 have nothing below zero: the activation before them is not needed.
// CHECK-LABEL: func @drop_activation
// CHECK: %[[Y:.*]] = qcc.dequantize
// CHECK-NOT: arith.maximumf
// CHECK: qcc.generic none ins(%[[Y]], %{{.*}})
// CHECK: arith.mulf
// CHECK: qcc.quantize {{.*}} -> tensor<5x8xui8>
// CHECK: arith.maximumf
// CHECK: qcc.quantize {{.*}} -> tensor<5x8xui8>
func.func @drop_activation(%x: tensor<5x16xi8>, %v: tensor<5x8xf32>) -> (tensor<5x8xui8>, tensor<5x8xui8>) {
  %w = qcc.param "w" : tensor<16x8xi8>
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %z = qcc.constant dense<1> : tensor<ui8> -> tensor<ui8>
  %0 = qcc.dequantize %x, %s : (tensor<5x16xi8>, tensor<f32>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %s : (tensor<16x8xi8>, tensor<f32>) -> tensor<16x8xf32>
  %2 = qcc.matmul %0, %1 : (tensor<5x16xf32>, tensor<16x8xf32>) -> tensor<5x8xf32>
  %3 = qcc.generic none ins(%2 : tensor<5x8xf32>) maps [affine_map<(d0, d1) -> (d0, d1)>] {
  ^bb0(%a: f32):
    %zero = arith.constant 0.0 : f32
    %m = arith.maximumf %a, %zero : f32
    qcc.yield %m : f32
  } -> tensor<5x8xf32>
  %4 = qcc.quantize %3, %s : (tensor<5x8xf32>, tensor<f32>) -> tensor<5x8xui8>
  %5 = qcc.generic none ins(%v : tensor<5x8xf32>) maps [affine_map<(d0, d1) -> (d0, d1)>] {
  ^bb0(%a: f32):
    %zero = arith.constant 0.0 : f32
    %m = arith.maximumf %a, %zero : f32
    qcc.yield %m : f32
  } -> tensor<5x8xf32>
  %6 = qcc.quantize %5, %s zero %z : (tensor<5x8xf32>, tensor<f32>, tensor<ui8>) -> tensor<5x8xui8>
  return %4, %6 : tensor<5x8xui8>, tensor<5x8xui8>
}

// A maximum of codes, and the codes themselves where they are found again with the same scale.
// CHECK-LABEL: func @pool
// CHECK: %[[MAX:.*]] = qcc.pool max %arg0 {{.*}} : (tensor<1x3x8x8xui8>) -> tensor<1x3x4x4xui8>
// CHECK-NOT: qcc.quantize
// CHECK: return %[[MAX]]
func.func @pool(%x: tensor<1x3x8x8xui8>) -> tensor<1x3x4x4xui8> {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %z = qcc.constant dense<1> : tensor<ui8> -> tensor<ui8>
  %0 = qcc.dequantize %x, %s zero %z : (tensor<1x3x8x8xui8>, tensor<f32>, tensor<ui8>) -> tensor<1x3x8x8xf32>
  %1 = qcc.pool max %0 {dilations = array<i64: 1, 1>, kernel = array<i64: 2, 2>, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 2, 2>} : (tensor<1x3x8x8xf32>) -> tensor<1x3x4x4xf32>
  %2 = qcc.quantize %1, %s zero %z : (tensor<1x3x4x4xf32>, tensor<f32>, tensor<ui8>) -> tensor<1x3x4x4xui8>
  return %2 : tensor<1x3x4x4xui8>
}

// A window that lies in the padding has no code.
// CHECK-LABEL: func @pool_of_padding
// CHECK: qcc.pool max %{{.*}} -> tensor<1x3x10x10xf32>
func.func @pool_of_padding(%x: tensor<1x3x8x8xui8>) -> tensor<1x3x10x10xf32> {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.dequantize %x, %s : (tensor<1x3x8x8xui8>, tensor<f32>) -> tensor<1x3x8x8xf32>
  %1 = qcc.pool max %0 {dilations = array<i64: 1, 1>, kernel = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x3x8x8xf32>) -> tensor<1x3x10x10xf32>
  return %1 : tensor<1x3x10x10xf32>
}

#id2 = affine_map<(d0, d1) -> (d0, d1)>
#turn = affine_map<(d0, d1) -> (d1, d0)>

// A transpose and a concatenation move codes: they are found before.
// CHECK-LABEL: func @move
// CHECK: %[[A:.*]] = qcc.quantize %{{.*}} -> tensor<4x8xui8>
// CHECK: %[[B:.*]] = qcc.quantize %{{.*}} -> tensor<4x8xui8>
// CHECK: %[[BOTH:.*]] = qcc.concat 0, %[[A]], %[[B]] : {{.*}} -> tensor<8x8xui8>
// CHECK: %[[TURNED:.*]] = qcc.generic none ins(%[[BOTH]] : tensor<8x8xui8>)
// CHECK: return %[[TURNED]]
func.func @move(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>) -> tensor<8x8xui8> {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.generic none ins(%x : tensor<4x8xf32>) maps [#id2] {
  ^bb0(%a: f32):
    %r = arith.addf %a, %a : f32
    qcc.yield %r : f32
  } -> tensor<4x8xf32>
  %1 = qcc.generic none ins(%y : tensor<4x8xf32>) maps [#id2] {
  ^bb0(%a: f32):
    %r = arith.addf %a, %a : f32
    qcc.yield %r : f32
  } -> tensor<4x8xf32>
  %2 = qcc.concat 0, %0, %1 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %3 = qcc.generic none ins(%2 : tensor<8x8xf32>) maps [#turn] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<8x8xf32>
  %4 = qcc.quantize %3, %s : (tensor<8x8xf32>, tensor<f32>) -> tensor<8x8xui8>
  return %4 : tensor<8x8xui8>
}

// What others read as floats stays where it is: it would be stored twice.
// CHECK-LABEL: func @move_of_shared
// CHECK: qcc.generic none ins(%{{.*}} : tensor<4x8xf32>) maps [#{{.*}}] {
// CHECK: qcc.generic none ins(%{{.*}} : tensor<4x8xf32>) maps [#{{.*}}] {
// CHECK: qcc.quantize %{{.*}} -> tensor<8x4xui8>
func.func @move_of_shared(%x: tensor<4x8xf32>) -> (tensor<8x4xui8>, tensor<4x8xf32>) {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.generic none ins(%x : tensor<4x8xf32>) maps [#id2] {
  ^bb0(%a: f32):
    %r = arith.addf %a, %a : f32
    qcc.yield %r : f32
  } -> tensor<4x8xf32>
  %1 = qcc.generic none ins(%0 : tensor<4x8xf32>) maps [#turn] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<8x4xf32>
  %2 = qcc.quantize %1, %s : (tensor<8x4xf32>, tensor<f32>) -> tensor<8x4xui8>
  return %2, %0 : tensor<8x4xui8>, tensor<4x8xf32>
}

// An average of windows is a depthwise convolution with ones. From a scale to the same one no factor is left.
// CHECK-LABEL: func @average
// CHECK-DAG: %[[ONE:.*]] = qcc.constant dense<1.000000e+00> : tensor<f32>
// CHECK: %[[SUMS:.*]] = qcc.int_conv %arg0, %{{.*}} input_zero %{{.*}} {{.*}}groups = 3 : i64{{.*}} (tensor<1x3x8x8xui8>, tensor<3x1x2x2xi8>, tensor<ui8>) -> tensor<1x3x4x4xi32>
// CHECK: qcc.dequantize %[[SUMS]], %[[ONE]] : (tensor<1x3x4x4xi32>, tensor<f32>) -> tensor<1x3x4x4xf32>
// CHECK: arith.divf
// CHECK: qcc.quantize %{{.*}}, %[[ONE]] zero
// CHECK-NOT: qcc.pool
func.func @average(%x: tensor<1x3x8x8xui8>) -> tensor<1x3x4x4xui8> {
  %s = qcc.constant dense<0.3> : tensor<f32> -> tensor<f32>
  %z = qcc.constant dense<1> : tensor<ui8> -> tensor<ui8>
  %0 = qcc.dequantize %x, %s zero %z : (tensor<1x3x8x8xui8>, tensor<f32>, tensor<ui8>) -> tensor<1x3x8x8xf32>
  %1 = qcc.pool average %0 {dilations = array<i64: 1, 1>, kernel = array<i64: 2, 2>, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 2, 2>} : (tensor<1x3x8x8xf32>) -> tensor<1x3x4x4xf32>
  %2 = qcc.quantize %1, %s zero %z : (tensor<1x3x4x4xf32>, tensor<f32>, tensor<ui8>) -> tensor<1x3x4x4xui8>
  return %2 : tensor<1x3x4x4xui8>
}

// Windows that the padding cuts are divided by what they have.
// CHECK-LABEL: func @average_of_padding
// CHECK-DAG: qcc.constant dense<[2.000000e+00, 3.000000e+00, 3.000000e+00, 2.000000e+00]>
// CHECK-DAG: qcc.constant dense<[2.000000e+00, 3.000000e+00, 3.000000e+00, 3.000000e+00, 2.000000e+00]>
// CHECK: qcc.int_conv {{.*}}pads = array<i64: 1, 1, 1, 1>
// CHECK: arith.divf
func.func @average_of_padding(%x: tensor<1x3x4x5xui8>) -> tensor<1x3x4x5xf32> {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.dequantize %x, %s : (tensor<1x3x4x5xui8>, tensor<f32>) -> tensor<1x3x4x5xf32>
  %1 = qcc.pool average %0 {dilations = array<i64: 1, 1>, kernel = array<i64: 3, 3>, pads = array<i64: 1, 1, 1, 1>, strides = array<i64: 1, 1>} : (tensor<1x3x4x5xf32>) -> tensor<1x3x4x5xf32>
  return %1 : tensor<1x3x4x5xf32>
}

// What may overflow 32 bits is summed in 64: more than 2^23 codes, or a number that is not known.
// CHECK-LABEL: func @large_sum
// CHECK: qcc.generic sum ins(%arg0 : tensor<8388609xui8>)
// CHECK: arith.extui {{.*}} : i8 to i64
// CHECK: -> tensor<i64>
// CHECK: qcc.generic sum ins(%{{.*}} : tensor<8388608xui8>)
// CHECK: -> tensor<i32>
func.func @large_sum(%x: tensor<8388609xui8>, %y: tensor<8388608xui8>) -> (tensor<f32>, tensor<f32>) {
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.dequantize %x, %s : (tensor<8388609xui8>, tensor<f32>) -> tensor<8388609xf32>
  %1 = qcc.generic sum ins(%0 : tensor<8388609xf32>) maps [affine_map<(d0) -> (d0)>] over affine_map<() -> (8388609)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<f32>
  %2 = qcc.dequantize %y, %s : (tensor<8388608xui8>, tensor<f32>) -> tensor<8388608xf32>
  %3 = qcc.generic sum ins(%2 : tensor<8388608xf32>) maps [affine_map<(d0) -> (d0)>] over affine_map<() -> (8388608)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<f32>
  return %1, %3 : tensor<f32>, tensor<f32>
}

// A minimum is not needed either where it is the largest code or above: 6 over 0.0235 is 255.3, over 0.5 it is 12.
// CHECK-LABEL: func @drop_clip
// CHECK: %[[Y:.*]] = qcc.dequantize %{{.*}} : (tensor<5x8xi32>
// CHECK-NOT: arith.minimumf
// CHECK: qcc.quantize {{.*}} -> tensor<5x8xui8>
// CHECK: arith.maximumf
// CHECK: arith.minimumf
// CHECK: qcc.quantize {{.*}} -> tensor<5x8xui8>
func.func @drop_clip(%x: tensor<5x16xi8>) -> (tensor<5x8xui8>, tensor<5x8xui8>) {
  %w = qcc.param "w" : tensor<16x8xi8>
  %s = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %t = qcc.constant dense<0.0235> : tensor<f32> -> tensor<f32>
  %six = qcc.constant dense<6.0> : tensor<f32> -> tensor<f32>
  %0 = qcc.dequantize %x, %s : (tensor<5x16xi8>, tensor<f32>) -> tensor<5x16xf32>
  %1 = qcc.dequantize %w, %s : (tensor<16x8xi8>, tensor<f32>) -> tensor<16x8xf32>
  %2 = qcc.matmul %0, %1 : (tensor<5x16xf32>, tensor<16x8xf32>) -> tensor<5x8xf32>
  %3 = qcc.generic none ins(%2, %six : tensor<5x8xf32>, tensor<f32>) maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %zero = arith.constant 0.0 : f32
    %m = arith.maximumf %a, %zero : f32
    %n = arith.minimumf %m, %b : f32
    qcc.yield %n : f32
  } -> tensor<5x8xf32>
  %4 = qcc.quantize %3, %t : (tensor<5x8xf32>, tensor<f32>) -> tensor<5x8xui8>
  %5 = qcc.generic none ins(%2, %six : tensor<5x8xf32>, tensor<f32>) maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %zero = arith.constant 0.0 : f32
    %m = arith.maximumf %a, %zero : f32
    %n = arith.minimumf %m, %b : f32
    qcc.yield %n : f32
  } -> tensor<5x8xf32>
  %6 = qcc.quantize %5, %s : (tensor<5x8xf32>, tensor<f32>) -> tensor<5x8xui8>
  return %4, %6 : tensor<5x8xui8>, tensor<5x8xui8>
}
