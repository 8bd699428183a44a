// RUN: qcc-opt %s --qcc-fuse --qcc-schedule=target=avx2 | FileCheck %s
// RUN: qcc-opt %s --qcc-fuse --qcc-schedule=target=avx2+avx512-vnni | FileCheck %s
#in = affine_map<()[s0] -> (s0, 4)>
#out = affine_map<()[s0] -> (s0, 4)>
#in1 = affine_map<()[s0, s1] -> (s1, 4)>
module attributes {qcc.symbols = ["batch", "rows"]} {

// Layers of equal work share a kernel, also where their sizes have other names;
// weights are packed once each.
// CHECK-LABEL: func.func @main
// CHECK: qcc.pack %{{.*}} "panel"
// CHECK: qcc.launch @[[K:[a-z0-9_]+]](%arg0, %{{.*}}) dims #[[S0:[a-z0-9]+]] tasks
// CHECK: qcc.pack %{{.*}} "panel"
// CHECK: qcc.launch @[[K]](%{{.*}}) dims #[[S0]] tasks
// CHECK: qcc.pack %{{.*}} "panel"
// CHECK: qcc.launch @[[K]](%arg1, %{{.*}}) dims #{{.*}} tasks
// CHECK-COUNT-1: qcc.kernel @[[K]] {
// CHECK-SAME: kernel = "gemm.f32"
// CHECK-NOT: qcc.kernel
func.func @main(%x: tensor<?x4xf32, #in>, %y: tensor<?x4xf32, #in1>)
    -> (tensor<?x4xf32, #out>, tensor<?x4xf32, #in1>) {
  %u = qcc.param "u" : tensor<4x4xf32>
  %v = qcc.param "v" : tensor<4x4xf32>
  %w = qcc.param "w" : tensor<4x4xf32>
  %0 = qcc.matmul %x, %u : (tensor<?x4xf32, #in>, tensor<4x4xf32>) -> tensor<?x4xf32, #out>
  %1 = qcc.matmul %0, %v : (tensor<?x4xf32, #out>, tensor<4x4xf32>) -> tensor<?x4xf32, #out>
  %2 = qcc.matmul %y, %w : (tensor<?x4xf32, #in1>, tensor<4x4xf32>) -> tensor<?x4xf32, #in1>
  return %1, %2 : tensor<?x4xf32, #out>, tensor<?x4xf32, #in1>
}
}
