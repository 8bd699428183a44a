// Codes that are dequantized where they are made stay integers of 32 bits, if their bounds fit the type.
// RUN: qcc-opt %s --qcc-fuse | FileCheck %s

#rows = affine_map<(d0) -> (d0)>

// CHECK-LABEL: @fits
// CHECK:      %[[CODE:.*]] = arith.fptosi
// CHECK-NOT:  arith.addi
// CHECK-NOT:  arith.trunci
// CHECK-NOT:  arith.extui
// CHECK-NOT:  arith.subi
// CHECK:      arith.sitofp %[[CODE]] : i32 to f32
// CHECK-LABEL: @wraps
// CHECK:      arith.trunci
// CHECK:      arith.extui
// CHECK-LABEL: @signed
// CHECK:      %[[CODE:.*]] = arith.fptosi
// CHECK-NOT:  arith.extsi
// CHECK:      arith.sitofp %[[CODE]] : i32 to f32
// CHECK-LABEL: @other_sign
// CHECK:      arith.trunci
// CHECK:      arith.extsi
module {
  func.func @fits(%x: tensor<64xf32>) -> tensor<64xf32> {
    %r = qcc.generic none ins(%x : tensor<64xf32>) maps [#rows] {
    ^bb0(%a: f32):
      %low = arith.constant -126.0 : f32
      %high = arith.constant 129.0 : f32
      %zero = arith.constant 126 : i32
      %0 = arith.maxnumf %a, %low : f32
      %1 = arith.minnumf %0, %high : f32
      %2 = math.roundeven %1 : f32
      %3 = arith.fptosi %2 : f32 to i32
      %4 = arith.addi %3, %zero : i32
      %5 = arith.trunci %4 : i32 to i8
      %6 = arith.extui %5 : i8 to i32
      %7 = arith.subi %6, %zero : i32
      %8 = arith.sitofp %7 : i32 to f32
      qcc.yield %8 : f32
    } -> tensor<64xf32>
    return %r : tensor<64xf32>
  }
  func.func @wraps(%x: tensor<64xf32>) -> tensor<64xf32> {
    %r = qcc.generic none ins(%x : tensor<64xf32>) maps [#rows] {
    ^bb0(%a: f32):
      %low = arith.constant -126.0 : f32
      %high = arith.constant 130.0 : f32
      %zero = arith.constant 126 : i32
      %0 = arith.maxnumf %a, %low : f32
      %1 = arith.minnumf %0, %high : f32
      %2 = math.roundeven %1 : f32
      %3 = arith.fptosi %2 : f32 to i32
      %4 = arith.addi %3, %zero : i32
      %5 = arith.trunci %4 : i32 to i8
      %6 = arith.extui %5 : i8 to i32
      %7 = arith.subi %6, %zero : i32
      %8 = arith.sitofp %7 : i32 to f32
      qcc.yield %8 : f32
    } -> tensor<64xf32>
    return %r : tensor<64xf32>
  }
  func.func @signed(%x: tensor<64xf32>) -> tensor<64xf32> {
    %r = qcc.generic none ins(%x : tensor<64xf32>) maps [#rows] {
    ^bb0(%a: f32):
      %low = arith.constant -128.0 : f32
      %high = arith.constant 127.0 : f32
      %0 = arith.maxnumf %a, %low : f32
      %1 = arith.minnumf %0, %high : f32
      %2 = math.roundeven %1 : f32
      %3 = arith.fptosi %2 : f32 to i32
      %4 = arith.trunci %3 : i32 to i8
      %5 = arith.extsi %4 : i8 to i32
      %6 = arith.sitofp %5 : i32 to f32
      qcc.yield %6 : f32
    } -> tensor<64xf32>
    return %r : tensor<64xf32>
  }
  func.func @other_sign(%x: tensor<64xf32>) -> tensor<64xf32> {
    %r = qcc.generic none ins(%x : tensor<64xf32>) maps [#rows] {
    ^bb0(%a: f32):
      %low = arith.constant 0.0 : f32
      %high = arith.constant 255.0 : f32
      %0 = arith.maxnumf %a, %low : f32
      %1 = arith.minnumf %0, %high : f32
      %2 = math.roundeven %1 : f32
      %3 = arith.fptosi %2 : f32 to i32
      %4 = arith.trunci %3 : i32 to i8
      %5 = arith.extsi %4 : i8 to i32
      %6 = arith.sitofp %5 : i32 to f32
      qcc.yield %6 : f32
    } -> tensor<64xf32>
    return %r : tensor<64xf32>
  }
}
