// RUN: qcc-opt %s --qcc-schedule=target=avx2 --split-input-file --verify-diagnostics | FileCheck %s
// A dispatch gets the schedule that it asks for, and does not say so any more.
// CHECK-LABEL: func.func @wide
// CHECK: qcc.pack %{{.*}} "panel" {nr = 32 : i64}
// CHECK-NOT: qcc.schedule
// CHECK: qcc.kernel
// CHECK-SAME: nr = 32 : i64
func.func @wide(%x: tensor<8x16xf32>) -> tensor<8x64xf32> {
  %w = qcc.param "w" : tensor<16x64xf32>
  %0 = qcc.dispatch(%x, %w) {qcc.schedule = "nr=32 panel/32"} : (tensor<8x16xf32>, tensor<16x64xf32>) -> tensor<8x64xf32> {
  ^bb0(%a: tensor<8x16xf32>, %b: tensor<16x64xf32>):
    %1 = qcc.matmul %a, %b : (tensor<8x16xf32>, tensor<16x64xf32>) -> tensor<8x64xf32>
    qcc.yield %1 : tensor<8x64xf32>
  }
  return %0 : tensor<8x64xf32>
}

// -----

func.func @none(%x: tensor<8x16xf32>) -> tensor<8x64xf32> {
  %w = qcc.param "w" : tensor<16x64xf32>
  // expected-error @below {{[QCC-E401] expected a schedule of kernel 'gemm.f32', such as 'nr=16 panel/16', but got 'nr=7'}}
  %0 = qcc.dispatch(%x, %w) {qcc.schedule = "nr=7"} : (tensor<8x16xf32>, tensor<16x64xf32>) -> tensor<8x64xf32> {
  ^bb0(%a: tensor<8x16xf32>, %b: tensor<16x64xf32>):
    %1 = qcc.matmul %a, %b : (tensor<8x16xf32>, tensor<16x64xf32>) -> tensor<8x64xf32>
    qcc.yield %1 : tensor<8x64xf32>
  }
  return %0 : tensor<8x64xf32>
}
