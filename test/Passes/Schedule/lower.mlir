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
