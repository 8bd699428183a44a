// What --precision does to products with a constant matrix, and what it leaves.
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=int8 keep=kept.*" | FileCheck %s
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=w4a8 keep=kept.*" | FileCheck %s --check-prefix=W4
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=w4a16 keep=kept.*" | FileCheck %s --check-prefix=FLOATS
// RUN: not qcc-opt %s --qcc-quantize-rtn="scheme=int7" 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not qcc-opt %s --qcc-quantize-rtn="keep=(" 2>&1 | FileCheck %s --check-prefix=REGEX

// UNKNOWN: [QCC-E401] expected a precision (f32, int8, w4a8, {{.*}}), but got 'int7'; did you mean 'int8'?
// REGEX: [QCC-E401] expected a regular expression, but got '('

module attributes {qcc.symbols = ["batch"]} {
  // CHECK-LABEL: func @product
  // CHECK: %[[W:.*]] = qcc.param "w" : tensor<64x20xf32>
  // CHECK: %[[E:.*]] = qcc.encode %[[W]] <"int8", group = 0, symmetric = true> : (tensor<64x20xf32>) -> tensor<2176xi8>
  // CHECK: %[[C:.*]], %[[S:.*]], %[[U:.*]] = qcc.quantize_rows %arg0 {group = 0 : i64
  // CHECK-SAME: -> (tensor<?x64xi8, #{{.*}}>, tensor<?x1xf32, #{{.*}}>, tensor<?x1xi32, #{{.*}}>)
  // CHECK: qcc.qmatmul(%[[C]], %[[S]], %[[U]]), %[[E]] <"int8", group = 0, symmetric = true>
  // CHECK-SAME: n = 20 : i64
  // CHECK-SAME: qcc.executed = "int8", qcc.reason = "as asked", qcc.requested = "int8"
  // W4-LABEL: func @product
  // W4: qcc.encode %{{.*}} <"w4a8", group = 32, symmetric = true> : (tensor<64x20xf32>) -> tensor<1152xi8>
  // W4: qcc.quantize_rows %arg0 {group = 32 : i64
  // W4-SAME: tensor<?x2xf32
  func.func @product(%x: tensor<?x64xf32, affine_map<()[s0] -> (s0, 64)>>) -> tensor<?x20xf32, affine_map<()[s0] -> (s0, 20)>> {
    %w = qcc.param "w" : tensor<64x20xf32>
    %r = qcc.matmul %x, %w : (tensor<?x64xf32, affine_map<()[s0] -> (s0, 64)>>, tensor<64x20xf32>) -> tensor<?x20xf32, affine_map<()[s0] -> (s0, 20)>>
    return %r : tensor<?x20xf32, affine_map<()[s0] -> (s0, 20)>>
  }

  // A weight that is stored transposed is turned by a constant expression.
  // CHECK-LABEL: func @transposed
  // CHECK: %[[T:.*]] = qcc.generic none ins(%{{.*}} : tensor<20x64xf32>) maps [#[[SWAP:.*]]]
  // CHECK: qcc.encode %[[T]]
  func.func @transposed(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
    %w = qcc.param "w" : tensor<20x64xf32>
    %r = qcc.matmul %x, %w {trans_b} : (tensor<3x64xf32>, tensor<20x64xf32>) -> tensor<3x20xf32>
    return %r : tensor<3x20xf32>
  }

  // CHECK-LABEL: func @kept
  // CHECK: qcc.matmul %arg0
  // CHECK-SAME: qcc.executed = "f32", qcc.reason = "kept: matches --keep=kept.*", qcc.requested = "int8"
  func.func @kept(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
    %w = qcc.param "w" : tensor<64x20xf32>
    %r = qcc.matmul %x, %w : (tensor<3x64xf32>, tensor<64x20xf32>) -> tensor<3x20xf32> loc("kept/MatMul")
    return %r : tensor<3x20xf32>
  }

  // CHECK-LABEL: func @activations
  // CHECK: qcc.matmul
  // CHECK-SAME: qcc.reason = "kept: both operands are activations"
  func.func @activations(%x: tensor<3x64xf32>, %y: tensor<64x20xf32>) -> tensor<3x20xf32> {
    %r = qcc.matmul %x, %y : (tensor<3x64xf32>, tensor<64x20xf32>) -> tensor<3x20xf32>
    return %r : tensor<3x20xf32>
  }

  // A router picks an expert's weight for each token, as the left operand here.
  // CHECK-LABEL: func @picked
  // CHECK: qcc.matmul
  // CHECK-SAME: qcc.reason = "kept: its weights are picked at run time"
  func.func @picked(%x: tensor<3x64x1xf32>, %i: tensor<3xi64>) -> tensor<3x20x1xf32> {
    %w = qcc.param "experts" : tensor<4x20x64xf32>
    %p = qcc.generic none maps [] whole(%w, %i : tensor<4x20x64xf32>, tensor<3xi64>) {
    ^bb0(%all: tensor<4x20x64xf32>, %chosen: tensor<3xi64>):
      %t = qcc.index 0
      %r = qcc.index 1
      %c = qcc.index 2
      %e = qcc.read %chosen[%t] : tensor<3xi64> -> i64
      %at = arith.index_cast %e : i64 to index
      %v = qcc.read %all[%at, %r, %c] : tensor<4x20x64xf32> -> f32
      qcc.yield %v : f32
    } -> tensor<3x20x64xf32>
    %y = qcc.matmul %p, %x : (tensor<3x20x64xf32>, tensor<3x64x1xf32>) -> tensor<3x20x1xf32>
    return %y : tensor<3x20x1xf32>
  }

  // CHECK-LABEL: func @few_rows
  // CHECK: qcc.matmul
  // CHECK-SAME: qcc.reason = "kept: not faster"
  // W4-LABEL: func @few_rows
  // W4: qcc.reason = "kept: not faster"
  func.func @few_rows(%x: tensor<3x8xf32>) -> tensor<3x20xf32> {
    %w = qcc.param "w" : tensor<8x20xf32>
    %r = qcc.matmul %x, %w : (tensor<3x8xf32>, tensor<8x20xf32>) -> tensor<3x20xf32>
    return %r : tensor<3x20xf32>
  }

  // What a pass before keeps stays.
  // CHECK-LABEL: func @decided
  // CHECK: qcc.matmul
  // CHECK-SAME: qcc.executed = "f32", qcc.reason = "kept: outputs would change too much"
  func.func @decided(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
    %w = qcc.param "w" : tensor<64x20xf32>
    %r = qcc.matmul %x, %w {qcc.requested = "int8", qcc.executed = "f32", qcc.reason = "kept: outputs would change too much"} : (tensor<3x64xf32>, tensor<64x20xf32>) -> tensor<3x20xf32>
    return %r : tensor<3x20xf32>
  }

  // CHECK-LABEL: func @convolution
  // CHECK: qcc.conv
  // CHECK-SAME: qcc.executed = "f32", qcc.reason = "not supported: convolutions get codes by qcc-quantize-static alone"
  // W4-LABEL: func @convolution
  // W4: qcc.reason = "not supported: convolutions get codes by qcc-quantize-static alone"
  // FLOATS-LABEL: func @convolution
  // FLOATS: qcc.reason = "not supported: convolutions have no kernel for 'w4a16'"
  func.func @convolution(%x: tensor<1x3x8x8xf32>) -> tensor<1x4x8x8xf32> {
    %w = qcc.param "w" : tensor<4x3x1x1xf32>
    %r = qcc.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x3x8x8xf32>, tensor<4x3x1x1xf32>) -> tensor<1x4x8x8xf32>
    return %r : tensor<1x4x8x8xf32>
  }
}
