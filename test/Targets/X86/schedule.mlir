// Kernels and layouts that the x86 target chooses.
// RUN: qcc-opt %s --qcc-lower="target=avx512-vnni" --qcc-fuse --qcc-schedule="target=avx512-vnni" | FileCheck %s
// RUN: qcc-opt %s --qcc-lower="target=avx2" --qcc-fuse --qcc-schedule="target=avx2" | FileCheck %s --check-prefix=AVX2
// RUN: qcc-opt %s --qcc-lower="target=avx2+avx512" --qcc-fuse --qcc-schedule="target=avx2+avx512" | FileCheck %s

// A panel of 64 columns feeds four vectors of AVX-512, and both levels of a list; AVX2 alone takes 16.
// CHECK-LABEL: func @gemm
// CHECK: qcc.pack %{{.*}} "panel" {nr = 64 : i64} : tensor<768x128xf32> -> tensor<2x768x64xf32>
// CHECK: qcc.launch @[[GEMM:k0_gemm]]
// AVX2-LABEL: func @gemm
// AVX2: qcc.pack %{{.*}} "panel" {nr = 16 : i64} : tensor<768x128xf32> -> tensor<8x768x16xf32>
func.func @gemm(%x: tensor<?x768xf32, affine_map<()[s0] -> (s0, 768)>>) -> tensor<?x128xf32, affine_map<()[s0] -> (s0, 128)>> {
  %w = qcc.param "w" : tensor<768x128xf32>
  %r = qcc.matmul %x, %w : (tensor<?x768xf32, affine_map<()[s0] -> (s0, 768)>>, tensor<768x128xf32>) -> tensor<?x128xf32, affine_map<()[s0] -> (s0, 128)>>
  return %r : tensor<?x128xf32, affine_map<()[s0] -> (s0, 128)>>
}

// Few output channels read copied rows.
// CHECK-LABEL: func @conv
// CHECK: qcc.pack %{{.*}} "conv_panel:2" {nr = 8 : i64} : tensor<32x8x3x3xf32> -> tensor<2x2x72x8xf32>
// CHECK: qcc.launch @k1_conv
func.func @conv(%x: tensor<1x16x56x56xf32>) -> tensor<1x32x56x56xf32> {
  %w = qcc.param "c" : tensor<32x8x3x3xf32>
  %r = qcc.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x16x56x56xf32>, tensor<32x8x3x3xf32>) -> tensor<1x32x56x56xf32>
  return %r : tensor<1x32x56x56xf32>
}

// Many output channels share a panel of pixels, which copies each for all taps.
// CHECK-LABEL: func @wide_conv
// CHECK: qcc.pack %{{.*}} "conv_panel:1" {nr = 8 : i64} : tensor<512x16x3x3xf32> -> tensor<1x64x144x8xf32>
// CHECK: qcc.launch @k2_conv
func.func @wide_conv(%x: tensor<1x16x12x12xf32>) -> tensor<1x512x12x12xf32> {
  %w = qcc.param "e" : tensor<512x16x3x3xf32>
  %r = qcc.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x16x12x12xf32>, tensor<512x16x3x3xf32>) -> tensor<1x512x12x12xf32>
  return %r : tensor<1x512x12x12xf32>
}

// The weight of a depthwise convolution is read as it is.
// CHECK-LABEL: func @depthwise
// CHECK-NOT: qcc.pack
// CHECK: qcc.launch @k3_depthwise
func.func @depthwise(%x: tensor<1x16x56x56xf32>) -> tensor<1x16x56x56xf32> {
  %w = qcc.param "d" : tensor<16x1x3x3xf32>
  %r = qcc.conv %x, %w {strides = array<i64: 1, 1>, pads = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 16 : i64} : (tensor<1x16x56x56xf32>, tensor<16x1x3x3xf32>) -> tensor<1x16x56x56xf32>
  return %r : tensor<1x16x56x56xf32>
}

// Transposes of heads vanish into the attention.
// CHECK-LABEL: func @attention
// CHECK-NEXT: %[[R:.*]] = qcc.launch @k4_attention(%arg0, %arg1, %arg2)
// CHECK-NEXT: return %[[R]]
func.func @attention(%q: tensor<1x128x12x64xf32>, %k: tensor<1x128x12x64xf32>, %v: tensor<1x128x12x64xf32>) -> tensor<1x128x12x64xf32> {
  %0 = qcc.generic none ins(%q : tensor<1x128x12x64xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] {
  ^bb0(%x: f32):
    qcc.yield %x : f32
  } -> tensor<1x12x128x64xf32>
  %1 = qcc.generic none ins(%k : tensor<1x128x12x64xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] {
  ^bb0(%x: f32):
    qcc.yield %x : f32
  } -> tensor<1x12x128x64xf32>
  %2 = qcc.generic none ins(%v : tensor<1x128x12x64xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] {
  ^bb0(%x: f32):
    qcc.yield %x : f32
  } -> tensor<1x12x128x64xf32>
  %3 = qcc.attention %0, %1, %2 {scale = 0.125 : f32} : (tensor<1x12x128x64xf32>, tensor<1x12x128x64xf32>, tensor<1x12x128x64xf32>) -> tensor<1x12x128x64xf32>
  %4 = qcc.generic none ins(%3 : tensor<1x12x128x64xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d2, d1, d3)>] {
  ^bb0(%x: f32):
    qcc.yield %x : f32
  } -> tensor<1x128x12x64xf32>
  return %4 : tensor<1x128x12x64xf32>
}

// CHECK-LABEL: func @activations
// CHECK: qcc.launch @k5_batch_gemm
func.func @activations(%x: tensor<2x5x70xf32>, %y: tensor<2x70x9xf32>) -> tensor<2x5x9xf32> {
  %r = qcc.matmul %x, %y : (tensor<2x5x70xf32>, tensor<2x70x9xf32>) -> tensor<2x5x9xf32>
  return %r : tensor<2x5x9xf32>
}

// CHECK: qcc.kernel @[[GEMM]] {kernel = "gemm.f32", nr = 64 : i64}
// CHECK: qcc.kernel @k1_conv {kernel = "conv.f32", rows = 8 : i64, scratch = 25600 : i64, window = array<i64: 3, 3>}
// CHECK: qcc.kernel @k2_conv {
// CHECK-SAME: kernel = "conv.f32", nr = 48 : i64
// CHECK-SAME: window = array<i64: 3, 3>
