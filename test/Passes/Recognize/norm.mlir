// RMS normalisation from its parts, as a quotient and as a product with the reciprocal; what is not quite one is left.
// RUN: qcc-opt %s --qcc-recognize --canonicalize | FileCheck %s
#id = affine_map<(d0, d1) -> (d0, d1)>
#one = affine_map<(d0, d1) -> (d0, 0)>
#none = affine_map<(d0, d1) -> ()>
#id3 = affine_map<(d0, d1, d2) -> (d0, d1, d2)>
#turned = affine_map<(d0, d1, d2) -> (d1, d0, d2)>
#one3 = affine_map<(d0, d1, d2) -> (d0, d1, 0)>
#none3 = affine_map<(d0, d1, d2) -> ()>

// x / sqrt(mean(x^2) + eps).
// CHECK-LABEL: func.func @quotient
// CHECK-NEXT: %[[R:.*]] = qcc.norm rms %arg0 {epsilon = 5.000000e-01 : f32} : tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT: return %[[R]]
func.func @quotient(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %square = qcc.generic none ins(%x : tensor<4x8xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = arith.mulf %a, %a : f32
    qcc.yield %b : f32
  } -> tensor<4x8xf32>
  %sum = qcc.generic sum ins(%square : tensor<4x8xf32>) maps [#id] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<4xf32>
  %column = qcc.reshape %sum : tensor<4xf32> -> tensor<4x1xf32>
  %mean = qcc.generic none ins(%column : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %length = arith.constant 8.0 : f32
    %b = arith.divf %a, %length : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %shifted = qcc.generic none ins(%mean, %eps : tensor<4x1xf32>, tensor<f32>) maps [#id, #none] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x1xf32>
  %root = qcc.generic none ins(%shifted : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = math.sqrt %a : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %result = qcc.generic none ins(%x, %root : tensor<4x8xf32>, tensor<4x1xf32>) maps [#id, #one] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x8xf32>
  return %result : tensor<4x8xf32>
}

// x * (1 / sqrt(mean(x^2) + eps)), in any order.
// CHECK-LABEL: func.func @product
// CHECK-NEXT: %[[R:.*]] = qcc.norm rms %arg0 {epsilon = 5.000000e-01 : f32} : tensor<4x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT: return %[[R]]
func.func @product(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %unit = qcc.constant dense<1.0> : tensor<f32> -> tensor<f32>
  %square = qcc.generic none ins(%x : tensor<4x8xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = arith.mulf %a, %a : f32
    qcc.yield %b : f32
  } -> tensor<4x8xf32>
  %sum = qcc.generic sum ins(%square : tensor<4x8xf32>) maps [#id] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<4xf32>
  %column = qcc.reshape %sum : tensor<4xf32> -> tensor<4x1xf32>
  %mean = qcc.generic none ins(%column : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %length = arith.constant 8.0 : f32
    %b = arith.divf %a, %length : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %shifted = qcc.generic none ins(%mean, %eps : tensor<4x1xf32>, tensor<f32>) maps [#id, #none] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x1xf32>
  %root = qcc.generic none ins(%shifted : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = math.sqrt %a : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %reciprocal = qcc.generic none ins(%unit, %root : tensor<f32>, tensor<4x1xf32>) maps [#none, #id] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x1xf32>
  %result = qcc.generic none ins(%reciprocal, %x : tensor<4x1xf32>, tensor<4x8xf32>) maps [#one, #id] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x8xf32>
  return %result : tensor<4x8xf32>
}

// The sum over another number than that of the elements is no mean.
// CHECK-LABEL: func.func @another_length
// CHECK-NOT: qcc.norm
// CHECK: return
func.func @another_length(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %square = qcc.generic none ins(%x : tensor<4x8xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = arith.mulf %a, %a : f32
    qcc.yield %b : f32
  } -> tensor<4x8xf32>
  %sum = qcc.generic sum ins(%square : tensor<4x8xf32>) maps [#id] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<4xf32>
  %column = qcc.reshape %sum : tensor<4xf32> -> tensor<4x1xf32>
  %mean = qcc.generic none ins(%column : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %length = arith.constant 7.0 : f32
    %b = arith.divf %a, %length : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %shifted = qcc.generic none ins(%mean, %eps : tensor<4x1xf32>, tensor<f32>) maps [#id, #none] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x1xf32>
  %root = qcc.generic none ins(%shifted : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = math.sqrt %a : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %result = qcc.generic none ins(%x, %root : tensor<4x8xf32>, tensor<4x1xf32>) maps [#id, #one] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x8xf32>
  return %result : tensor<4x8xf32>
}

// Squares of another value.
// CHECK-LABEL: func.func @another_value
// CHECK-NOT: qcc.norm
// CHECK: return
func.func @another_value(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %square = qcc.generic none ins(%y : tensor<4x8xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = arith.mulf %a, %a : f32
    qcc.yield %b : f32
  } -> tensor<4x8xf32>
  %sum = qcc.generic sum ins(%square : tensor<4x8xf32>) maps [#id] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<4xf32>
  %column = qcc.reshape %sum : tensor<4xf32> -> tensor<4x1xf32>
  %mean = qcc.generic none ins(%column : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %length = arith.constant 8.0 : f32
    %b = arith.divf %a, %length : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %shifted = qcc.generic none ins(%mean, %eps : tensor<4x1xf32>, tensor<f32>) maps [#id, #none] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x1xf32>
  %root = qcc.generic none ins(%shifted : tensor<4x1xf32>) maps [#id] {
  ^bb0(%a: f32):
    %b = math.sqrt %a : f32
    qcc.yield %b : f32
  } -> tensor<4x1xf32>
  %result = qcc.generic none ins(%x, %root : tensor<4x8xf32>, tensor<4x1xf32>) maps [#id, #one] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x8xf32>
  return %result : tensor<4x8xf32>
}

// Means of another row: the squares are read transposed.
// CHECK-LABEL: func.func @another_order
// CHECK-NOT: qcc.norm
// CHECK: return
func.func @another_order(%x: tensor<4x4x8xf32>) -> tensor<4x4x8xf32> {
  %eps = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %square = qcc.generic none ins(%x : tensor<4x4x8xf32>) maps [#id3] {
  ^bb0(%a: f32):
    %b = arith.mulf %a, %a : f32
    qcc.yield %b : f32
  } -> tensor<4x4x8xf32>
  %sum = qcc.generic sum ins(%square : tensor<4x4x8xf32>) maps [#turned] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<4x4xf32>
  %column = qcc.reshape %sum : tensor<4x4xf32> -> tensor<4x4x1xf32>
  %mean = qcc.generic none ins(%column : tensor<4x4x1xf32>) maps [#id3] {
  ^bb0(%a: f32):
    %length = arith.constant 8.0 : f32
    %b = arith.divf %a, %length : f32
    qcc.yield %b : f32
  } -> tensor<4x4x1xf32>
  %shifted = qcc.generic none ins(%mean, %eps : tensor<4x4x1xf32>, tensor<f32>) maps [#id3, #none3] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x4x1xf32>
  %root = qcc.generic none ins(%shifted : tensor<4x4x1xf32>) maps [#id3] {
  ^bb0(%a: f32):
    %b = math.sqrt %a : f32
    qcc.yield %b : f32
  } -> tensor<4x4x1xf32>
  %result = qcc.generic none ins(%x, %root : tensor<4x4x8xf32>, tensor<4x4x1xf32>) maps [#id3, #one3] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x4x8xf32>
  return %result : tensor<4x4x8xf32>
}

// A quotient of single numbers has no rows: it is left as it is.
// CHECK-LABEL: func.func @single_numbers
// CHECK: qcc.generic
func.func @single_numbers(%x: tensor<f32>, %y: tensor<f32>) -> tensor<f32> {
  %r = qcc.generic none ins(%x, %y : tensor<f32>, tensor<f32>) maps [affine_map<() -> ()>, affine_map<() -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %q = arith.divf %a, %b : f32
    qcc.yield %q : f32
  } -> tensor<f32>
  return %r : tensor<f32>
}
