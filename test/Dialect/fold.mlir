// RUN: qcc-opt %s --canonicalize | FileCheck %s
// Folds and canonical forms.

// CHECK-LABEL: func.func @reshape_chain
// CHECK: %[[R:.*]] = qcc.reshape %arg0 : tensor<2x6xf32> -> tensor<4x3xf32>
// CHECK-NEXT: return %[[R]]
func.func @reshape_chain(%x: tensor<2x6xf32>) -> tensor<4x3xf32> {
  %0 = qcc.reshape %x : tensor<2x6xf32> -> tensor<12xf32>
  %1 = qcc.reshape %0 : tensor<12xf32> -> tensor<4x3xf32>
  return %1 : tensor<4x3xf32>
}

// CHECK-LABEL: func.func @reshape_same
// CHECK-NEXT: return %arg0
func.func @reshape_same(%x: tensor<2x6xf32>) -> tensor<2x6xf32> {
  %0 = qcc.reshape %x : tensor<2x6xf32> -> tensor<2x6xf32>
  return %0 : tensor<2x6xf32>
}

// CHECK-LABEL: func.func @identity_copy
// CHECK-NEXT: return %arg0
func.func @identity_copy(%x: tensor<2x6xf32>) -> tensor<2x6xf32> {
  %0 = qcc.generic none ins(%x : tensor<2x6xf32>) maps [affine_map<(d0, d1) -> (d0, d1)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x6xf32>
  return %0 : tensor<2x6xf32>
}

// A transpose is no identity.
// CHECK-LABEL: func.func @transpose
// CHECK: qcc.generic
func.func @transpose(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
  %0 = qcc.generic none ins(%x : tensor<2x2xf32>) maps [affine_map<(d0, d1) -> (d1, d0)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x2xf32>
  return %0 : tensor<2x2xf32>
}

// An operand that the body does not use goes.
// CHECK-LABEL: func.func @unused
// CHECK: qcc.generic none ins(%arg0 : tensor<4xf32>)
func.func @unused(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %0 = qcc.generic none ins(%x, %y : tensor<4xf32>, tensor<4xf32>)
      maps [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %a : f32
    qcc.yield %c : f32
  } -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// CHECK-LABEL: func.func @single_concat
// CHECK-NEXT: return %arg0
func.func @single_concat(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = qcc.concat 0, %x : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// A size that is a constant becomes one.
// CHECK-LABEL: func.func @extent
// CHECK: arith.constant 7
// CHECK-NOT: qcc.extent
func.func @extent() -> tensor<4xi64> {
  %0 = qcc.generic none maps [] {
    %n = qcc.extent affine_map<() -> (7)>
    %i = arith.index_cast %n : index to i64
    qcc.yield %i : i64
  } -> tensor<4xi64>
  return %0 : tensor<4xi64>
}
