// Every named operation becomes generics, and every kernel is the generic one; vector levels keep the operations that
// have kernels of their own.
// RUN: qcc-opt %s --qcc-lower=target=reference --qcc-fuse --qcc-schedule=target=reference | FileCheck %s
// RUN: qcc-opt %s --qcc-lower=target=avx2 --qcc-fuse --qcc-schedule=target=avx2 | FileCheck %s --check-prefix=AVX2

// CHECK-NOT: qcc.softmax %
// CHECK-NOT: qcc.norm
// CHECK-NOT: qcc.pool
// CHECK-NOT: qcc.concat %
// CHECK-NOT: qcc.arg_reduce
// CHECK-NOT: kernel = "row"
// CHECK: kernel = "generic"

// AVX2-DAG: qcc.kernel @{{.*}}_row {kernel = "row"
// AVX2-DAG: qcc.kernel @{{.*}}_pool {kernel = "pool"
// AVX2-DAG: qcc.kernel @{{.*}}_concat {kernel = "concat"
// AVX2-DAG: qcc.kernel @{{.*}}_arg_reduce {kernel = "arg_reduce"
// AVX2-DAG: qcc.kernel @{{.*}}_tile {kernel = "tile"
func.func @main(%x: tensor<1x16x32x64xf32>)
    -> (tensor<1x16x32x64xf32>, tensor<1x16x16x32xf32>, tensor<1x32x32x64xf32>, tensor<1x16x32xi64>,
        tensor<1x32x64x16xf32>) {
  %n = qcc.norm layer %x {epsilon = 1.0e-5 : f32} : tensor<1x16x32x64xf32> -> tensor<1x16x32x64xf32>
  %s = qcc.softmax %n : tensor<1x16x32x64xf32> -> tensor<1x16x32x64xf32>
  %p = qcc.pool max %s {kernel = array<i64: 2, 2>, strides = array<i64: 2, 2>, pads = array<i64: 0, 0, 0, 0>,
      dilations = array<i64: 1, 1>} : (tensor<1x16x32x64xf32>) -> tensor<1x16x16x32xf32>
  %c = qcc.concat 1, %x, %s : (tensor<1x16x32x64xf32>, tensor<1x16x32x64xf32>) -> tensor<1x32x32x64xf32>
  %a = qcc.arg_reduce %s {axis = 3 : i64} : tensor<1x16x32x64xf32> -> tensor<1x16x32xi64>
  %t = qcc.generic none ins(%s : tensor<1x16x32x64xf32>) maps [affine_map<(d0, d1, d2, d3) -> (d0, d3, d1, d2)>] {
  ^bb0(%v: f32):
    qcc.yield %v : f32
  } -> tensor<1x32x64x16xf32>
  return %s, %p, %c, %a, %t : tensor<1x16x32x64xf32>, tensor<1x16x16x32xf32>, tensor<1x32x32x64xf32>,
      tensor<1x16x32xi64>, tensor<1x32x64x16xf32>
}
