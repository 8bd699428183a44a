// RUN: qcc-opt %s --qcc-recognize --canonicalize | FileCheck %s
#id = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>
#mask = affine_map<(d0, d1, d2, d3) -> (d0, 0, 0, d3)>

// CHECK-LABEL: func.func @scaled_and_masked
// CHECK: %[[K:.*]] = qcc.generic none ins(%arg1
// CHECK: qcc.attention %arg0, %[[K]], %arg2 mask %arg3 {scale = 1.250000e-01 : f32}
// CHECK-NOT: qcc.softmax
func.func @scaled_and_masked(%q: tensor<2x3x5x8xf32>, %kt: tensor<2x3x8x5xf32>, %v: tensor<2x3x5x8xf32>,
                             %m: tensor<2x1x1x5xf32>) -> tensor<2x3x5x8xf32> {
  %eight = qcc.constant dense<8.0> : tensor<f32> -> tensor<f32>
  %0 = qcc.matmul %q, %kt : (tensor<2x3x5x8xf32>, tensor<2x3x8x5xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.generic none ins(%0, %eight : tensor<2x3x5x5xf32>, tensor<f32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %2 = qcc.generic none ins(%1, %m : tensor<2x3x5x5xf32>, tensor<2x1x1x5xf32>) maps [#id, #mask] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %3 = qcc.softmax %2 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %4 = qcc.matmul %3, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %4 : tensor<2x3x5x8xf32>
}

// Scores that tanh keeps below a cap, as in Gemma 2: the product with the cap comes first in this walk.
// CHECK-LABEL: func.func @capped
// CHECK: qcc.attention %arg0, %arg1, %arg2 mask %arg3 {scale = 2.500000e-01 : f32, softcap = 5.000000e+01 : f32}
// CHECK-NOT: qcc.softmax
func.func @capped(%q: tensor<2x3x5x8xf32>, %k: tensor<2x3x5x8xf32>, %v: tensor<2x3x5x8xf32>,
                  %m: tensor<2x1x1x5xf32>) -> tensor<2x3x5x8xf32> {
  %fifty = qcc.constant dense<50.0> : tensor<f32> -> tensor<f32>
  %quarter = qcc.constant dense<0.25> : tensor<f32> -> tensor<f32>
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.generic none ins(%0, %quarter : tensor<2x3x5x5xf32>, tensor<f32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %2 = qcc.generic none ins(%1, %fifty : tensor<2x3x5x5xf32>, tensor<f32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.divf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %3 = qcc.generic none ins(%2 : tensor<2x3x5x5xf32>) maps [#id] {
  ^bb0(%a: f32):
    %c = math.tanh %a : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %4 = qcc.generic none ins(%3, %fifty : tensor<2x3x5x5xf32>, tensor<f32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %5 = qcc.generic none ins(%4, %m : tensor<2x3x5x5xf32>, tensor<2x1x1x5xf32>) maps [#id, #mask] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %6 = qcc.softmax %5 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %7 = qcc.matmul %6, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %7 : tensor<2x3x5x8xf32>
}

// The weights of attention are an output of the model: left as it is.
// CHECK-LABEL: func.func @weights_used
// CHECK: qcc.softmax
// CHECK-NOT: qcc.attention
func.func @weights_used(%q: tensor<2x3x5x8xf32>, %kt: tensor<2x3x8x5xf32>, %v: tensor<2x3x5x8xf32>)
    -> (tensor<2x3x5x8xf32>, tensor<2x3x5x5xf32>) {
  %0 = qcc.matmul %q, %kt : (tensor<2x3x5x8xf32>, tensor<2x3x8x5xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.softmax %0 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %2 = qcc.matmul %1, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %2, %1 : tensor<2x3x5x8xf32>, tensor<2x3x5x5xf32>
}

// scale * (scores + mask) is scale * scores + scale * mask.
// CHECK-LABEL: func.func @mask_before_scale
// CHECK-NOT: qcc.softmax
// CHECK: %[[M:.*]] = qcc.generic none ins(%arg3 : tensor<2x1x1x5xf32>)
// CHECK: arith.mulf
// CHECK: qcc.attention %arg0, %{{.*}}, %arg2 mask %[[M]] {scale = 2.000000e+00 : f32}
func.func @mask_before_scale(%q: tensor<2x3x5x8xf32>, %kt: tensor<2x3x8x5xf32>, %v: tensor<2x3x5x8xf32>,
                             %m: tensor<2x1x1x5xf32>) -> tensor<2x3x5x8xf32> {
  %two = qcc.constant dense<2.0> : tensor<f32> -> tensor<f32>
  %0 = qcc.matmul %q, %kt : (tensor<2x3x5x8xf32>, tensor<2x3x8x5xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.generic none ins(%0, %m : tensor<2x3x5x5xf32>, tensor<2x1x1x5xf32>) maps [#id, #mask] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %2 = qcc.generic none ins(%1, %two : tensor<2x3x5x5xf32>, tensor<f32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x5xf32>
  %3 = qcc.softmax %2 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %4 = qcc.matmul %3, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %4 : tensor<2x3x5x8xf32>
}

// Rows with nothing to see are zeros, as exporters write it: with the test on its own or in one body.
// CHECK-LABEL: func.func @guarded
// CHECK-NOT: qcc.softmax
// CHECK: qcc.attention %arg0, %arg1, %arg2 {scale = 1.000000e+00 : f32}
// CHECK-NOT: arith.select
func.func @guarded(%q: tensor<2x3x5x8xf32>, %k: tensor<2x3x5x8xf32>, %v: tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32> {
  %zero = qcc.constant dense<0.0> : tensor<f32> -> tensor<f32>
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.softmax %0 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %2 = qcc.generic none ins(%1 : tensor<2x3x5x5xf32>) maps [#id] {
  ^bb0(%a: f32):
    %c = arith.cmpf une, %a, %a : f32
    qcc.yield %c : i1
  } -> tensor<2x3x5x5xi1>
  %3 = qcc.generic none ins(%2, %zero, %1 : tensor<2x3x5x5xi1>, tensor<f32>, tensor<2x3x5x5xf32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> ()>, #id] {
  ^bb0(%a: i1, %b: f32, %c: f32):
    %d = arith.select %a, %b, %c : f32
    qcc.yield %d : f32
  } -> tensor<2x3x5x5xf32>
  %4 = qcc.matmul %3, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %4 : tensor<2x3x5x8xf32>
}

// CHECK-LABEL: func.func @guarded_in_one_body
// CHECK-NOT: qcc.softmax
// CHECK: qcc.attention
func.func @guarded_in_one_body(%q: tensor<2x3x5x8xf32>, %k: tensor<2x3x5x8xf32>, %v: tensor<2x3x5x8xf32>)
    -> tensor<2x3x5x8xf32> {
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.softmax %0 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %2 = qcc.generic none ins(%1 : tensor<2x3x5x5xf32>) maps [#id] {
  ^bb0(%a: f32):
    %zero = arith.constant 0.0 : f32
    %c = arith.cmpf uno, %a, %a : f32
    %d = arith.select %c, %zero, %a : f32
    qcc.yield %d : f32
  } -> tensor<2x3x5x5xf32>
  %3 = qcc.matmul %2, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %3 : tensor<2x3x5x8xf32>
}

// Ones in place of NaN are something else, and so is a test of other numbers.
// CHECK-LABEL: func.func @guarded_by_one
// CHECK: qcc.softmax
// CHECK-NOT: qcc.attention
func.func @guarded_by_one(%q: tensor<2x3x5x8xf32>, %k: tensor<2x3x5x8xf32>, %v: tensor<2x3x5x8xf32>)
    -> tensor<2x3x5x8xf32> {
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.softmax %0 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %2 = qcc.generic none ins(%1 : tensor<2x3x5x5xf32>) maps [#id] {
  ^bb0(%a: f32):
    %one = arith.constant 1.0 : f32
    %c = arith.cmpf uno, %a, %a : f32
    %d = arith.select %c, %one, %a : f32
    qcc.yield %d : f32
  } -> tensor<2x3x5x5xf32>
  %3 = qcc.matmul %2, %v : (tensor<2x3x5x5xf32>, tensor<2x3x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %3 : tensor<2x3x5x8xf32>
}

// One head of keys and values for all queries (multi-query attention).
// CHECK-LABEL: func.func @one_key_head
// CHECK: qcc.attention %arg0, %arg1, %arg2 {scale = 1.000000e+00 : f32} : (tensor<2x3x5x8xf32>, tensor<2x1x5x8xf32>, tensor<2x1x5x8xf32>) -> tensor<2x3x5x8xf32>
func.func @one_key_head(%q: tensor<2x3x5x8xf32>, %k: tensor<2x1x5x8xf32>, %v: tensor<2x1x5x8xf32>) -> tensor<2x3x5x8xf32> {
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x1x5x8xf32>) -> tensor<2x3x5x5xf32>
  %1 = qcc.softmax %0 : tensor<2x3x5x5xf32> -> tensor<2x3x5x5xf32>
  %2 = qcc.matmul %1, %v : (tensor<2x3x5x5xf32>, tensor<2x1x5x8xf32>) -> tensor<2x3x5x8xf32>
  return %2 : tensor<2x3x5x8xf32>
}

// One more score for each head, as in gpt-oss.
// CHECK-LABEL: func.func @sink
// CHECK: %[[S:.*]] = qcc.generic none ins(%arg3 : tensor<1x3x1x1xf32>)
// CHECK: } -> tensor<3xf32>
// CHECK: qcc.attention %arg0, %arg1, %arg2 sink %[[S]] {scale = 1.000000e+00 : f32}
// CHECK-NOT: qcc.softmax
func.func @sink(%q: tensor<2x3x5x8xf32>, %k: tensor<2x3x7x8xf32>, %v: tensor<2x3x7x8xf32>,
                %s: tensor<1x3x1x1xf32>) -> tensor<2x3x5x8xf32> {
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x3x7x8xf32>) -> tensor<2x3x5x7xf32>
  %1 = qcc.generic none ins(%s : tensor<1x3x1x1xf32>) maps [affine_map<(d0, d1, d2, d3) -> (0, d1, 0, d3)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x5x1xf32>
  %2 = qcc.concat 3, %0, %1 : (tensor<2x3x5x7xf32>, tensor<2x3x5x1xf32>) -> tensor<2x3x5x8xf32>
  %3 = qcc.generic max ins(%2 : tensor<2x3x5x8xf32>) maps [#id] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x5xf32>
  %4 = qcc.reshape %3 : tensor<2x3x5xf32> -> tensor<2x3x5x1xf32>
  %5 = qcc.generic none ins(%2, %4 : tensor<2x3x5x8xf32>, tensor<2x3x5x1xf32>)
      maps [#id, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, 0)>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.subf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x3x5x8xf32>
  %6 = qcc.softmax %5 : tensor<2x3x5x8xf32> -> tensor<2x3x5x8xf32>
  %7 = qcc.generic none ins(%6 : tensor<2x3x5x8xf32>) maps [#id] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x5x7xf32>
  %8 = qcc.matmul %7, %v : (tensor<2x3x5x7xf32>, tensor<2x3x7x8xf32>) -> tensor<2x3x5x8xf32>
  return %8 : tensor<2x3x5x8xf32>
}

// Scores that differ from query to query are none of a head.
// CHECK-LABEL: func.func @sink_of_queries
// CHECK: qcc.softmax
// CHECK-NOT: qcc.attention
func.func @sink_of_queries(%q: tensor<2x3x5x8xf32>, %k: tensor<2x3x7x8xf32>, %v: tensor<2x3x7x8xf32>,
                           %s: tensor<1x3x5x1xf32>) -> tensor<2x3x5x8xf32> {
  %0 = qcc.matmul %q, %k {trans_b} : (tensor<2x3x5x8xf32>, tensor<2x3x7x8xf32>) -> tensor<2x3x5x7xf32>
  %1 = qcc.generic none ins(%s : tensor<1x3x5x1xf32>) maps [affine_map<(d0, d1, d2, d3) -> (0, d1, d2, d3)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x5x1xf32>
  %2 = qcc.concat 3, %0, %1 : (tensor<2x3x5x7xf32>, tensor<2x3x5x1xf32>) -> tensor<2x3x5x8xf32>
  %6 = qcc.softmax %2 : tensor<2x3x5x8xf32> -> tensor<2x3x5x8xf32>
  %7 = qcc.generic none ins(%6 : tensor<2x3x5x8xf32>) maps [#id] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x5x7xf32>
  %8 = qcc.matmul %7, %v : (tensor<2x3x5x7xf32>, tensor<2x3x7x8xf32>) -> tensor<2x3x5x8xf32>
  return %8 : tensor<2x3x5x8xf32>
}

// Queries and keys times the root of the scale, keys and values repeated for the queries' heads, the transpose of keys with
// all heads in one dimension: torch's scaled_dot_product_attention.
// CHECK-LABEL: func.func @shared_heads
// CHECK: qcc.attention %arg0, %arg1, %arg2 {scale = 2.500000e-01 : f32} : (tensor<2x6x5x8xf32>, tensor<2x3x7x8xf32>, tensor<2x3x7x8xf32>)
func.func @shared_heads(%q: tensor<2x6x5x8xf32>, %k: tensor<2x3x7x8xf32>, %v: tensor<2x3x7x8xf32>) -> tensor<2x6x5x8xf32> {
  %half = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.generic none ins(%q, %half : tensor<2x6x5x8xf32>, tensor<f32>) maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x6x5x8xf32>
  %1 = qcc.reshape %k : tensor<2x3x7x8xf32> -> tensor<2x3x1x7x8xf32>
  %2 = qcc.generic none ins(%1 : tensor<2x3x1x7x8xf32>) maps [affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, 0, d3, d4)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x2x7x8xf32>
  %3 = qcc.reshape %2 : tensor<2x3x2x7x8xf32> -> tensor<12x7x8xf32>
  %4 = qcc.generic none ins(%3 : tensor<12x7x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2, d1)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<12x8x7xf32>
  %5 = qcc.reshape %4 : tensor<12x8x7xf32> -> tensor<2x6x8x7xf32>
  %6 = qcc.generic none ins(%5, %half : tensor<2x6x8x7xf32>, tensor<f32>) maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x6x8x7xf32>
  %7 = qcc.reshape %v : tensor<2x3x7x8xf32> -> tensor<2x3x1x7x8xf32>
  %8 = qcc.generic none ins(%7 : tensor<2x3x1x7x8xf32>) maps [affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, 0, d3, d4)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x3x2x7x8xf32>
  %9 = qcc.reshape %8 : tensor<2x3x2x7x8xf32> -> tensor<2x6x7x8xf32>
  %10 = qcc.matmul %0, %6 : (tensor<2x6x5x8xf32>, tensor<2x6x8x7xf32>) -> tensor<2x6x5x7xf32>
  %11 = qcc.softmax %10 : tensor<2x6x5x7xf32> -> tensor<2x6x5x7xf32>
  %12 = qcc.matmul %11, %9 : (tensor<2x6x5x7xf32>, tensor<2x6x7x8xf32>) -> tensor<2x6x5x8xf32>
  return %12 : tensor<2x6x5x8xf32>
}

// Heads that are repeated as a whole (0, 1, 2, 0, 1, 2) are other ones.
// CHECK-LABEL: func.func @heads_in_turns
// CHECK: qcc.attention %arg0, %{{.*}}, %{{.*}} {scale = 1.000000e+00 : f32} : (tensor<2x6x5x8xf32>, tensor<2x6x7x8xf32>, tensor<2x6x7x8xf32>)
func.func @heads_in_turns(%q: tensor<2x6x5x8xf32>, %k: tensor<2x3x7x8xf32>) -> tensor<2x6x5x8xf32> {
  %1 = qcc.reshape %k : tensor<2x3x7x8xf32> -> tensor<2x1x3x7x8xf32>
  %2 = qcc.generic none ins(%1 : tensor<2x1x3x7x8xf32>) maps [affine_map<(d0, d1, d2, d3, d4) -> (d0, 0, d2, d3, d4)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2x2x3x7x8xf32>
  %3 = qcc.reshape %2 : tensor<2x2x3x7x8xf32> -> tensor<2x6x7x8xf32>
  %4 = qcc.matmul %q, %3 {trans_b} : (tensor<2x6x5x8xf32>, tensor<2x6x7x8xf32>) -> tensor<2x6x5x7xf32>
  %5 = qcc.softmax %4 : tensor<2x6x5x7xf32> -> tensor<2x6x5x7xf32>
  %6 = qcc.matmul %5, %3 : (tensor<2x6x5x7xf32>, tensor<2x6x7x8xf32>) -> tensor<2x6x5x8xf32>
  return %6 : tensor<2x6x5x8xf32>
}

// Values times a number stay so: it is no part of the scale.
// CHECK-LABEL: func.func @scaled_values
// CHECK: %[[V:.*]] = qcc.generic none ins(%arg2
// CHECK: qcc.attention %arg0, %arg1, %[[V]] {scale = 1.000000e+00 : f32}
func.func @scaled_values(%q: tensor<2x6x5x8xf32>, %k: tensor<2x6x7x8xf32>, %v: tensor<2x6x7x8xf32>) -> tensor<2x6x5x8xf32> {
  %half = qcc.constant dense<0.5> : tensor<f32> -> tensor<f32>
  %0 = qcc.generic none ins(%v, %half : tensor<2x6x7x8xf32>, tensor<f32>) maps [#id, affine_map<(d0, d1, d2, d3) -> ()>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.mulf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<2x6x7x8xf32>
  %1 = qcc.matmul %q, %k {trans_b} : (tensor<2x6x5x8xf32>, tensor<2x6x7x8xf32>) -> tensor<2x6x5x7xf32>
  %2 = qcc.softmax %1 : tensor<2x6x5x7xf32> -> tensor<2x6x5x7xf32>
  %3 = qcc.matmul %2, %0 : (tensor<2x6x5x7xf32>, tensor<2x6x7x8xf32>) -> tensor<2x6x5x8xf32>
  return %3 : tensor<2x6x5x8xf32>
}

// A softmax takes the largest of a row off itself; that of other rows it does not.
// CHECK-LABEL: func.func @shifted
// CHECK-NOT: arith.subf
// CHECK: %[[S:.*]] = qcc.softmax %arg0
// CHECK: arith.subf
// CHECK: qcc.softmax %{{[0-9]+}}
func.func @shifted(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %0 = qcc.generic max ins(%x : tensor<4x8xf32>) maps [affine_map<(d0, d1) -> (d0, d1)>] over affine_map<() -> (8)> {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<4xf32>
  %1 = qcc.reshape %0 : tensor<4xf32> -> tensor<4x1xf32>
  %2 = qcc.generic none ins(%x, %1 : tensor<4x8xf32>, tensor<4x1xf32>)
      maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.subf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x8xf32>
  %3 = qcc.softmax %2 : tensor<4x8xf32> -> tensor<4x8xf32>
  %4 = qcc.generic none ins(%y, %1 : tensor<4x8xf32>, tensor<4x1xf32>)
      maps [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>] {
  ^bb0(%a: f32, %b: f32):
    %c = arith.subf %a, %b : f32
    qcc.yield %c : f32
  } -> tensor<4x8xf32>
  %5 = qcc.softmax %4 : tensor<4x8xf32> -> tensor<4x8xf32>
  return %3, %5 : tensor<4x8xf32>, tensor<4x8xf32>
}
