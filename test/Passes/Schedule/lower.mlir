// RUN: qcc-opt %s --qcc-lower=target=reference | FileCheck %s --check-prefix=REF
// RUN: qcc-opt %s --qcc-lower=target=avx512 | FileCheck %s --check-prefix=X86
// The reference target has kernels for generics only; x86 keeps what it has one
// for.
// REF-LABEL: func.func @main
// REF-NOT: qcc.{{softmax|matmul|norm}}
// X86-LABEL: func.func @main
// X86: qcc.matmul
// X86: qcc.softmax
// X86: qcc.norm
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x8xf32> {
  %w = qcc.param "w" : tensor<4x8xf32>
  %0 = qcc.matmul %x, %w : (tensor<2x4xf32>, tensor<4x8xf32>) -> tensor<2x8xf32>
  %1 = qcc.softmax %0 : tensor<2x8xf32> -> tensor<2x8xf32>
  %2 = qcc.norm rms %1 {epsilon = 1.0e-6 : f32} : tensor<2x8xf32> -> tensor<2x8xf32>
  return %2 : tensor<2x8xf32>
}

// Exact kernels want the channels last.
// REF-LABEL: func.func @int_conv
// REF-NOT: qcc.int_conv
// X86-LABEL: func.func @int_conv
// X86: %[[IN:.*]] = qcc.generic none ins(%arg0 : tensor<1x3x8x8xui8>)
// X86: -> tensor<1x8x8x3xui8>
// X86: %[[SUMS:.*]] = qcc.int_conv %[[IN]], %{{.*}} {channels_last, {{.*}} -> tensor<1x6x6x4xi32>
// X86: qcc.generic none ins(%[[SUMS]]
// X86: -> tensor<1x4x6x6xi32>
func.func @int_conv(%x: tensor<1x3x8x8xui8>) -> tensor<1x4x6x6xi32> {
  %w = qcc.param "w" : tensor<4x3x3x3xi8>
  %0 = qcc.int_conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x3x8x8xui8>, tensor<4x3x3x3xi8>) -> tensor<1x4x6x6xi32>
  return %0 : tensor<1x4x6x6xi32>
}
