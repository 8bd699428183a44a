// Weights that a model has in codes stay in them.
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=f32" --canonicalize | FileCheck %s
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=w4a8" --canonicalize | FileCheck %s --check-prefix=W4A8
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=w2a16" --canonicalize | FileCheck %s --check-prefix=FEWER
// RUN: qcc-opt %s --qcc-quantize-rtn="scheme=w4a8 keep=chan.*" --canonicalize | FileCheck %s --check-prefix=KEEP

// Scales and zero points of blocks along the rows, which are the second dimension.
// CHECK-LABEL: func @blocks
// CHECK: %[[W:.*]] = qcc.dequantize %{{.*}}, %[[S:.*]] zero %[[Z:.*]] {axis = 1 : i64, block = 32 : i64}{{.*}} -> tensor<20x64xf32>
// CHECK: %[[T:.*]] = qcc.generic none ins(%[[W]]
// CHECK: %[[SCALES:.*]] = qcc.generic none ins(%[[S]] : tensor<20x2xf32>)
// CHECK: -> tensor<2x20xf32>
// CHECK: %[[ZEROS:.*]] = qcc.generic none ins(%[[Z]] : tensor<20x2xui4>)
// CHECK: arith.extui
// CHECK: -> tensor<2x20xi32>
// CHECK: %[[E:.*]] = qcc.encode %[[T]] scales %[[SCALES]] zeros %[[ZEROS]] <"w4a16:g32:f32-scales", group = 32, symmetric = false>
// CHECK: qcc.qmatmul(%arg0), %[[E]]
// CHECK-SAME: qcc.executed = "w4a16:g32:f32-scales", qcc.reason = "as in the model", qcc.requested = "w4a16:g32:f32-scales"
// W4A8-LABEL: func @blocks
// W4A8: qcc.encode {{.*}} <"w4a8:asym:f32-scales", group = 32, symmetric = false>
// W4A8: qcc.quantize_rows %arg0 {group = 32 : i64
// FEWER-LABEL: func @blocks
// FEWER: qcc.encode %{{[0-9]*}} <"w2a16"
func.func @blocks(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
  %c = qcc.param "c" : tensor<20x64xui4>
  %s = qcc.param "s" : tensor<20x2xf32>
  %z = qcc.param "z" : tensor<20x2xui4>
  %w = qcc.dequantize %c, %s zero %z {axis = 1 : i64, block = 32 : i64} : (tensor<20x64xui4>, tensor<20x2xf32>, tensor<20x2xui4>) -> tensor<20x64xf32>
  %r = qcc.matmul %x, %w {trans_b} : (tensor<3x64xf32>, tensor<20x64xf32>) -> tensor<3x20xf32>
  return %r : tensor<3x20xf32>
}

// Codes with a sign have 8 for their zero point, in the middle. Rounding to f16 on the way is left out.
// CHECK-LABEL: func @channels
// CHECK: %[[W:.*]] = qcc.dequantize %{{.*}} -> tensor<64x20xf32>
// CHECK: %[[SCALES:.*]] = qcc.generic none ins(%{{.*}} : tensor<20xf16>)
// CHECK: arith.extf
// CHECK: qcc.encode %[[W]] scales %[[SCALES]] <"w4a16:channel:sym", group = 0, symmetric = true>
// KEEP-LABEL: func @channels
// KEEP: qcc.qmatmul(%arg0)
// KEEP-SAME: qcc.executed = "w4a16:channel:sym", qcc.reason = "kept: matches --keep=chan.*", qcc.requested = "w4a8"
func.func @channels(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
  %c = qcc.param "d" : tensor<64x20xi4>
  %s = qcc.param "e" : tensor<20xf16>
  %h = qcc.dequantize %c, %s {axis = 1 : i64} : (tensor<64x20xi4>, tensor<20xf16>) -> tensor<64x20xf16>
  %w = qcc.generic none ins(%h : tensor<64x20xf16>) maps [affine_map<(d0, d1) -> (d0, d1)>] {
  ^bb0(%v: f16):
    %1 = arith.extf %v : f16 to f32
    qcc.yield %1 : f32
  } -> tensor<64x20xf32>
  %r = qcc.matmul %x, %w : (tensor<3x64xf32>, tensor<64x20xf32>) -> tensor<3x20xf32> loc("channels/MatMul")
  return %r : tensor<3x20xf32>
}

// CHECK-LABEL: func @rows
// CHECK: qcc.matmul
// CHECK-SAME: qcc.executed = "f32", qcc.reason = "not supported: codes have a scale per row"
func.func @rows(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
  %c = qcc.param "d" : tensor<64x20xi4>
  %s = qcc.param "f" : tensor<64xf32>
  %w = qcc.dequantize %c, %s {axis = 0 : i64} : (tensor<64x20xi4>, tensor<64xf32>) -> tensor<64x20xf32>
  %r = qcc.matmul %x, %w : (tensor<3x64xf32>, tensor<64x20xf32>) -> tensor<3x20xf32>
  return %r : tensor<3x20xf32>
}

// CHECK-LABEL: func @floats
// CHECK: qcc.matmul %arg0, %{{.*}} : (
// FEWER-LABEL: func @floats
// FEWER: qcc.qmatmul
func.func @floats(%x: tensor<3x64xf32>) -> tensor<3x20xf32> {
  %w = qcc.param "w" : tensor<64x20xf32>
  %r = qcc.matmul %x, %w : (tensor<3x64xf32>, tensor<64x20xf32>) -> tensor<3x20xf32>
  return %r : tensor<3x20xf32>
}
