// Floats between sums of integers and 8-bit codes: products in place of quotients, one constant, fma, a cheaper erf.
// RUN: qcc-opt %s --qcc-fuse | FileCheck %s

#rows = affine_map<(d0, d1) -> (d0, d1)>
#columns = affine_map<(d0, d1) -> (d1)>

// CHECK-LABEL: @rounded
// CHECK:      %[[SUM:.*]] = arith.addf
// CHECK:      %[[ROOT:.*]] = arith.constant 0.707106769 : f32
// CHECK-NEXT: %[[T:.*]] = arith.mulf %[[SUM]], %[[ROOT]] : f32
// CHECK-NEXT: %[[E:.*]] = math.erf %[[T]] fastmath<afn> : f32
// CHECK-NEXT: %[[STEPS:.*]] = arith.constant 2.500000e+01 : f32
// CHECK-NEXT: %[[X:.*]] = arith.mulf %[[SUM]], %[[STEPS]] : f32
// CHECK-NEXT: %[[G:.*]] = math.fma %[[X]], %[[E]], %[[X]] : f32
// CHECK-NEXT: arith.maximumf %[[G]]
// CHECK-NOT:  arith.divf
// CHECK-LABEL: @own
// CHECK:      arith.divf
// CHECK-LABEL: @floats
// CHECK:      arith.divf
// CHECK:      math.erf %{{[0-9a-z_]+}} : f32
module {
  func.func @rounded(%x: tensor<8x16xui8>, %w: tensor<16x32xi8>, %bias: tensor<32xf32>) -> tensor<8x32xi8> {
    %p = qcc.int_matmul %x, %w : (tensor<8x16xui8>, tensor<16x32xi8>) -> tensor<8x32xi32>
    %r = qcc.generic none ins(%p, %bias : tensor<8x32xi32>, tensor<32xf32>) maps [#rows, #columns] {
    ^bb0(%a: i32, %b: f32):
      %root = arith.constant 1.41421354 : f32
      %one = arith.constant 1.0 : f32
      %half = arith.constant 0.5 : f32
      %steps = arith.constant 50.0 : f32
      %low = arith.constant -128.0 : f32
      %high = arith.constant 127.0 : f32
      %f = arith.sitofp %a : i32 to f32
      %s = arith.addf %f, %b : f32
      %d = arith.divf %s, %root : f32
      %e = math.erf %d : f32
      %g = arith.addf %e, %one : f32
      %h = arith.mulf %s, %g : f32
      %i = arith.mulf %h, %half : f32
      %j = arith.mulf %i, %steps : f32
      %k = arith.maximumf %j, %low : f32
      %l = arith.minimumf %k, %high : f32
      %m = math.roundeven %l : f32
      %n = arith.fptosi %m : f32 to i8
      qcc.yield %n : i8
    } -> tensor<8x32xi8>
    return %r : tensor<8x32xi8>
  }

  // Integers of a model: 5 / 10 is to be rounded as it says.
  func.func @own(%x: tensor<8x32xi32>) -> tensor<8x32xi8> {
    %r = qcc.generic none ins(%x : tensor<8x32xi32>) maps [#rows] {
    ^bb0(%a: i32):
      %ten = arith.constant 10.0 : f32
      %f = arith.sitofp %a : i32 to f32
      %d = arith.divf %f, %ten : f32
      %m = math.roundeven %d : f32
      %n = arith.fptosi %m : f32 to i8
      qcc.yield %n : i8
    } -> tensor<8x32xi8>
    return %r : tensor<8x32xi8>
  }

  func.func @floats(%x: tensor<8x16xui8>, %w: tensor<16x32xi8>) -> tensor<8x32xf32> {
    %p = qcc.int_matmul %x, %w : (tensor<8x16xui8>, tensor<16x32xi8>) -> tensor<8x32xi32>
    %r = qcc.generic none ins(%p : tensor<8x32xi32>) maps [#rows] {
    ^bb0(%a: i32):
      %root = arith.constant 1.41421354 : f32
      %f = arith.sitofp %a : i32 to f32
      %d = arith.divf %f, %root : f32
      %e = math.erf %d : f32
      qcc.yield %e : f32
    } -> tensor<8x32xf32>
    return %r : tensor<8x32xf32>
  }
}
