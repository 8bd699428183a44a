// RUN: qcc-opt %s --split-input-file --verify-diagnostics
// Each verifier rule refuses what breaks it.

func.func @maps(%x: tensor<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{expected one map per input, 1, but got 0}}
  %0 = qcc.generic none ins(%x : tensor<2xf32>) maps [] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

func.func @map_dims(%x: tensor<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{expected map 0 over 1 dimensions, but got 2}}
  %0 = qcc.generic none ins(%x : tensor<2xf32>) maps [affine_map<(d0, d1) -> (d0)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

func.func @map_results(%x: tensor<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{expected map 0 with 1 results, but got 2}}
  %0 = qcc.generic none ins(%x : tensor<2xf32>) maps [affine_map<(d0) -> (d0, d0)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

func.func @combiner_without_dims(%x: tensor<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{expected `over` exactly with a combiner other than none}}
  %0 = qcc.generic sum ins(%x : tensor<2xf32>) maps [affine_map<(d0) -> (d0)>] {
  ^bb0(%a: f32):
    qcc.yield %a : f32
  } -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

func.func @argument_type(%x: tensor<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{expected body argument 0 of type 'f32', but got 'f64'}}
  %0 = qcc.generic none ins(%x : tensor<2xf32>) maps [affine_map<(d0) -> (d0)>] {
  ^bb0(%a: f64):
    %b = arith.truncf %a : f64 to f32
    qcc.yield %b : f32
  } -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

func.func @yield_type(%x: tensor<2xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{expected the body to yield one 'f32'}}
  %0 = qcc.generic none ins(%x : tensor<2xf32>) maps [affine_map<(d0) -> (d0)>] {
  ^bb0(%a: f32):
    %b = arith.extf %a : f32 to f64
    qcc.yield %b : f64
  } -> tensor<2xf32>
  return %0 : tensor<2xf32>
}

// -----

func.func @index_range(%x: tensor<2xf32>) -> tensor<2xi64> {
  // expected-error @+1 {{expected indices below 1}}
  %0 = qcc.generic none maps [] {
    %i = qcc.index 1
    %j = arith.index_cast %i : index to i64
    qcc.yield %j : i64
  } -> tensor<2xi64>
  return %0 : tensor<2xi64>
}

// -----

func.func @matmul_inner(%a: tensor<2x3xf32>, %b: tensor<4x5xf32>) -> tensor<2x5xf32> {
  // expected-error @+1 {{expected equal inner sizes, but got 3 and 4}}
  %0 = qcc.matmul %a, %b : (tensor<2x3xf32>, tensor<4x5xf32>) -> tensor<2x5xf32>
  return %0 : tensor<2x5xf32>
}

// -----

func.func @conv_channels(%x: tensor<1x3x8x8xf32>, %w: tensor<4x2x3x3xf32>) -> tensor<1x4x6x6xf32> {
  // expected-error @+1 {{expected 2 input channels, but got 3}}
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>,
      strides = array<i64: 1, 1>} : (tensor<1x3x8x8xf32>, tensor<4x2x3x3xf32>) -> tensor<1x4x6x6xf32>
  return %0 : tensor<1x4x6x6xf32>
}

// -----

func.func @conv_stride(%x: tensor<1x2x8x8xf32>, %w: tensor<4x2x3x3xf32>) -> tensor<1x4x6x6xf32> {
  // expected-error @+1 {{expected positive strides, dilations and groups}}
  %0 = qcc.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, pads = array<i64: 0, 0, 0, 0>,
      strides = array<i64: 0, 1>} : (tensor<1x2x8x8xf32>, tensor<4x2x3x3xf32>) -> tensor<1x4x6x6xf32>
  return %0 : tensor<1x4x6x6xf32>
}

// -----

func.func @reshape_count(%x: tensor<6xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected 6 elements, but got 4}}
  %0 = qcc.reshape %x : tensor<6xf32> -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @reshape_type(%x: tensor<6xf32>) -> tensor<6xi32> {
  // expected-error @+1 {{expected equal element types}}
  %0 = qcc.reshape %x : tensor<6xf32> -> tensor<6xi32>
  return %0 : tensor<6xi32>
}

// -----

func.func @concat_axis(%x: tensor<6xf32>) -> tensor<6xf32> {
  // expected-error @+1 {{expected at least one input and an axis below 1}}
  %0 = qcc.concat 1, %x : (tensor<6xf32>) -> tensor<6xf32>
  return %0 : tensor<6xf32>
}

// -----

func.func @constant_type() -> tensor<3xf32> {
  // expected-error @+1 {{expected a value of type}}
  %0 = qcc.constant dense<1.0> : tensor<2xf32> -> tensor<3xf32>
  return %0 : tensor<3xf32>
}

// -----

func.func @attention_rank(%q: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{expected query, key and value of rank 4}}
  %0 = qcc.attention %q, %q, %q {scale = 1.0 : f32} : (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// -----

func.func @attention_cap(%q: tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32> {
  // expected-error @+1 {{expected a finite softcap above 0, but got -5.000000e+01}}
  %0 = qcc.attention %q, %q, %q {scale = 1.0 : f32, softcap = -50.0 : f32} : (tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32>
  return %0 : tensor<1x1x4x8xf32>
}

// -----

func.func @attention_sink(%q: tensor<1x2x4x8xf32>, %s: tensor<3xf32>) -> tensor<1x2x4x8xf32> {
  // expected-error @+1 {{expected a sink with an element for each head, but got 'tensor<3xf32>'}}
  %0 = qcc.attention %q, %q, %q sink %s {scale = 1.0 : f32} : (tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<1x2x4x8xf32>, tensor<3xf32>) -> tensor<1x2x4x8xf32>
  return %0 : tensor<1x2x4x8xf32>
}

// -----

func.func @attention_codes(%q: tensor<1x1x4x8xf16>) -> tensor<1x1x4x8xf16> {
  // expected-error @+1 {{expected operands of f32 with int8, but got 'tensor<1x1x4x8xf16>'}}
  %0 = qcc.attention %q, %q, %q {scale = 1.0 : f32, int8} : (tensor<1x1x4x8xf16>, tensor<1x1x4x8xf16>, tensor<1x1x4x8xf16>) -> tensor<1x1x4x8xf16>
  return %0 : tensor<1x1x4x8xf16>
}

// -----

qcc_host.entry @main inputs [] outputs [] buffers [] {
  // expected-error @+1 {{expected a slot index below 0, but got 3}}
  qcc_host.dispatch @k [#qcc_host.slot<arena, 3, 0>] results [tensor<2xf32>] dims affine_map<() -> ()> tasks affine_map<() -> (1)>
}

// -----

func.func @write_to_operand(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = qcc.program (%x) : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%in: tensor<4xf32>, %out: tensor<4xf32>):
    %c0 = arith.constant 0 : index
    %v = qcc.read %out[%c0] : tensor<4xf32> -> f32
    // expected-error @+1 {{expected a result of the enclosing program}}
    qcc.write %v, %in[%c0] : f32, tensor<4xf32>
    qcc.yield
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @program_index(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected no index but that of `over`}}
  %0 = qcc.program (%x) : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%in: tensor<4xf32>, %out: tensor<4xf32>):
    %i = qcc.index 0
    %v = qcc.read %in[%i] : tensor<4xf32> -> f32
    qcc.write %v, %out[%i] : f32, tensor<4xf32>
    qcc.yield
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @bind_nothing() {
  // expected-error @+1 {{expected either a tensor or an expression}}
  qcc.bind 0
  return
}

// -----

func.func @bind_float(%x: tensor<1xf32>) {
  // expected-error @+1 {{expected a tensor of integers}}
  qcc.bind 0 from %x : tensor<1xf32>
  return
}

// -----

func.func @check_one() {
  // expected-error @+1 {{expected a map without dimensions and with two or four results}}
  qcc.check affine_map<()[s0] -> (s0)>
  return
}

// -----

func.func @if_condition(%c: tensor<2xi1>, %x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected a condition that is one boolean}}
  %0 = qcc.if %c : tensor<2xi1> -> (tensor<4xf32>) {
    qcc.yield %x : tensor<4xf32>
  } else {
    qcc.yield %x : tensor<4xf32>
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @if_ranks(%c: tensor<i1>, %x: tensor<4xf32>, %y: tensor<1x4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected branches to yield 'tensor<4xf32>', but got 'tensor<1x4xf32>'}}
  %0 = qcc.if %c : tensor<i1> -> (tensor<4xf32>) {
    qcc.yield %x : tensor<4xf32>
  } else {
    qcc.yield %y : tensor<1x4xf32>
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @loop_without_end(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected a trip count or a condition}}
  %0 = qcc.loop init(%x) attributes {iteration = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%v: tensor<4xf32>):
    qcc.yield %v : tensor<4xf32>
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @loop_type(%x: tensor<4xf32>, %y: tensor<4xi32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected carried value 0 to keep its type}}
  %0 = qcc.loop init(%x) attributes {iteration = 0 : i64, trip = affine_map<() -> (3)>} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%v: tensor<4xf32>):
    qcc.yield %y : tensor<4xi32>
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @loop_stack(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expected result 1 to be a stack of what the body yields}}
  %0:2 = qcc.loop init(%x) attributes {iteration = 0 : i64, trip = affine_map<() -> (3)>}
      : (tensor<4xf32>) -> (tensor<4xf32>, tensor<3xf32>) {
  ^bb0(%v: tensor<4xf32>):
    qcc.yield %v, %v : tensor<4xf32>, tensor<4xf32>
  }
  return %0#0 : tensor<4xf32>
}

// -----

func.func @quantize_shape(%x: tensor<2x4xf32>, %s: tensor<f32>) -> tensor<2x5xi8> {
  // expected-error @+1 {{expected a result of the input's shape}}
  %0 = qcc.quantize %x, %s : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x5xi8>
  return %0 : tensor<2x5xi8>
}

// -----

func.func @quantize_type(%x: tensor<2x4xf32>, %s: tensor<f32>) -> tensor<2x4xi32> {
  // expected-error @+1 {{expected a float and a result of 2 to 16 bits}}
  %0 = qcc.quantize %x, %s : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xi32>
  return %0 : tensor<2x4xi32>
}

// -----

func.func @quantize_scale_type(%x: tensor<2x4xf32>, %s: tensor<i8>) -> tensor<2x4xi8> {
  // expected-error @+1 {{expected a scale of floats}}
  %0 = qcc.quantize %x, %s : (tensor<2x4xf32>, tensor<i8>) -> tensor<2x4xi8>
  return %0 : tensor<2x4xi8>
}

// -----

func.func @quantize_zero_type(%x: tensor<2x4xf32>, %s: tensor<f32>, %z: tensor<ui8>) -> tensor<2x4xi8> {
  // expected-error @+1 {{expected a zero point of the result's type}}
  %0 = qcc.quantize %x, %s zero %z : (tensor<2x4xf32>, tensor<f32>, tensor<ui8>) -> tensor<2x4xi8>
  return %0 : tensor<2x4xi8>
}

// -----

func.func @quantize_precision(%x: tensor<2x4xf32>, %s: tensor<f32>) -> tensor<2x4xi8> {
  // expected-error @+1 {{expected f32, f16 or bf16 as the precision}}
  %0 = qcc.quantize %x, %s {precision = f64} : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xi8>
  return %0 : tensor<2x4xi8>
}

// -----

func.func @quantize_axis(%x: tensor<2x4xf32>, %s: tensor<f32>) -> tensor<2x4xi8> {
  // expected-error @+1 {{expected an axis of the tensor}}
  %0 = qcc.quantize %x, %s {axis = 2 : i64} : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xi8>
  return %0 : tensor<2x4xi8>
}

// -----

func.func @quantize_per_axis(%x: tensor<2x4xf32>, %s: tensor<3xf32>) -> tensor<2x4xi8> {
  // expected-error @+1 {{expected the scale to be a scalar or to have an element per index}}
  %0 = qcc.quantize %x, %s {axis = 1 : i64} : (tensor<2x4xf32>, tensor<3xf32>) -> tensor<2x4xi8>
  return %0 : tensor<2x4xi8>
}

// -----

func.func @dequantize_blocks(%x: tensor<2x5xi8>, %s: tensor<2x2xf32>) -> tensor<2x5xf32> {
  // expected-error @+1 {{expected the scale to have an element per block}}
  %0 = qcc.dequantize %x, %s {axis = 1 : i64, block = 2 : i64} : (tensor<2x5xi8>, tensor<2x2xf32>) -> tensor<2x5xf32>
  return %0 : tensor<2x5xf32>
}

// -----

func.func @dequantize_type(%x: tensor<2x5xi64>, %s: tensor<f32>) -> tensor<2x5xf32> {
  // expected-error @+1 {{expected codes of 2 to 16 bits, or 32, and a float}}
  %0 = qcc.dequantize %x, %s : (tensor<2x5xi64>, tensor<f32>) -> tensor<2x5xf32>
  return %0 : tensor<2x5xf32>
}

// -----

func.func @dequantize_zero(%x: tensor<2x5xi8>, %s: tensor<f32>, %z: tensor<ui8>) -> tensor<2x5xf32> {
  // expected-error @+1 {{expected a zero point of the input's type or a float}}
  %0 = qcc.dequantize %x, %s zero %z : (tensor<2x5xi8>, tensor<f32>, tensor<ui8>) -> tensor<2x5xf32>
  return %0 : tensor<2x5xf32>
}

// -----

func.func @int_matmul_type(%x: tensor<2x5xi32>, %y: tensor<5x3xi8>) -> tensor<2x3xi32> {
  // expected-error @+1 {{expected operands of integers of 2 to 16 bits}}
  %0 = qcc.int_matmul %x, %y : (tensor<2x5xi32>, tensor<5x3xi8>) -> tensor<2x3xi32>
  return %0 : tensor<2x3xi32>
}

// -----

func.func @int_matmul_inner(%x: tensor<2x5xi8>, %y: tensor<4x3xi8>) -> tensor<2x3xi32> {
  // expected-error @+1 {{expected equal inner sizes}}
  %0 = qcc.int_matmul %x, %y : (tensor<2x5xi8>, tensor<4x3xi8>) -> tensor<2x3xi32>
  return %0 : tensor<2x3xi32>
}

// -----

func.func @int_matmul_result(%x: tensor<2x5xi8>, %y: tensor<5x3xi8>) -> tensor<2x3xf32> {
  // expected-error @+1 {{expected rows by columns of i32}}
  %0 = qcc.int_matmul %x, %y : (tensor<2x5xi8>, tensor<5x3xi8>) -> tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// -----

func.func @int_matmul_zero_type(%x: tensor<2x5xi8>, %y: tensor<5x3xi8>, %z: tensor<ui8>) -> tensor<2x3xi32> {
  // expected-error @+1 {{expected a zero point of its operand's type}}
  %0 = qcc.int_matmul %x, %y rhs_zero %z : (tensor<2x5xi8>, tensor<5x3xi8>, tensor<ui8>) -> tensor<2x3xi32>
  return %0 : tensor<2x3xi32>
}

// -----

func.func @int_matmul_zero(%x: tensor<2x5xi8>, %y: tensor<5x3xi8>, %z: tensor<2x5xi8>) -> tensor<2x3xi32> {
  // expected-error @+1 {{expected a zero point that is a scalar, or one per row}}
  %0 = qcc.int_matmul %x, %y lhs_zero %z : (tensor<2x5xi8>, tensor<5x3xi8>, tensor<2x5xi8>) -> tensor<2x3xi32>
  return %0 : tensor<2x3xi32>
}

// -----

func.func @int_conv_rank(%x: tensor<1x5xi8>, %y: tensor<5x3xi8>) -> tensor<1x3xi32> {
  // expected-error @+1 {{expected input, weight and result of one rank from 3 to 5}}
  %0 = qcc.int_conv %x, %y {dilations = array<i64: 1>, groups = 1 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1>} : (tensor<1x5xi8>, tensor<5x3xi8>) -> tensor<1x3xi32>
  return %0 : tensor<1x3xi32>
}

// -----

func.func @int_conv_result(%x: tensor<1x2x5xi8>, %y: tensor<4x2x1xi8>) -> tensor<1x4x5xi8> {
  // expected-error @+1 {{expected a result of i32}}
  %0 = qcc.int_conv %x, %y {dilations = array<i64: 1>, groups = 1 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1>} : (tensor<1x2x5xi8>, tensor<4x2x1xi8>) -> tensor<1x4x5xi8>
  return %0 : tensor<1x4x5xi8>
}

// -----

func.func @int_conv_strides(%x: tensor<1x2x5xi8>, %y: tensor<4x2x1xi8>) -> tensor<1x4x5xi32> {
  // expected-error @+1 {{expected strides and dilations of 1 elements}}
  %0 = qcc.int_conv %x, %y {dilations = array<i64: 1>, groups = 1 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1, 1>} : (tensor<1x2x5xi8>, tensor<4x2x1xi8>) -> tensor<1x4x5xi32>
  return %0 : tensor<1x4x5xi32>
}

// -----

func.func @int_conv_groups(%x: tensor<1x2x5xi8>, %y: tensor<4x2x1xi8>) -> tensor<1x4x5xi32> {
  // expected-error @+1 {{expected positive strides, dilations and groups}}
  %0 = qcc.int_conv %x, %y {dilations = array<i64: 1>, groups = 0 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1>} : (tensor<1x2x5xi8>, tensor<4x2x1xi8>) -> tensor<1x4x5xi32>
  return %0 : tensor<1x4x5xi32>
}

// -----

func.func @int_conv_channels(%x: tensor<1x3x5xi8>, %y: tensor<4x2x1xi8>) -> tensor<1x4x5xi32> {
  // expected-error @+1 {{expected a multiple of the weight's channels}}
  %0 = qcc.int_conv %x, %y {dilations = array<i64: 1>, groups = 1 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1>} : (tensor<1x3x5xi8>, tensor<4x2x1xi8>) -> tensor<1x4x5xi32>
  return %0 : tensor<1x4x5xi32>
}

// -----

func.func @int_conv_input_zero(%x: tensor<1x2x5xi8>, %y: tensor<4x2x1xi8>, %z: tensor<2xi8>) -> tensor<1x4x5xi32> {
  // expected-error @+1 {{expected a scalar as the input's zero point}}
  %0 = qcc.int_conv %x, %y input_zero %z {dilations = array<i64: 1>, groups = 1 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1>} : (tensor<1x2x5xi8>, tensor<4x2x1xi8>, tensor<2xi8>) -> tensor<1x4x5xi32>
  return %0 : tensor<1x4x5xi32>
}

// -----

func.func @int_conv_weight_zero(%x: tensor<1x2x5xi8>, %y: tensor<4x2x1xi8>, %z: tensor<2xi8>) -> tensor<1x4x5xi32> {
  // expected-error @+1 {{expected the weight's zero point to be a scalar or one per channel}}
  %0 = qcc.int_conv %x, %y weight_zero %z {dilations = array<i64: 1>, groups = 1 : i64, pads = array<i64: 0, 0>, strides = array<i64: 1>} : (tensor<1x2x5xi8>, tensor<4x2x1xi8>, tensor<2xi8>) -> tensor<1x4x5xi32>
  return %0 : tensor<1x4x5xi32>
}

// -----

func.func @encode_rank(%w: tensor<64xf32>) {
  // expected-error @+1 {{expected a static f32 matrix}}
  %0 = qcc.encode %w <"int8", group = 0, symmetric = true> : (tensor<64xf32>) -> tensor<9xi8>
  return
}

// -----

func.func @encode_result(%w: tensor<64x16xf32>) {
  // expected-error @+1 {{expected bytes or the weight's type as the result}}
  %0 = qcc.encode %w <"int8", group = 0, symmetric = true> : (tensor<64x16xf32>) -> tensor<64x8xf32>
  return
}

// -----

func.func @encode_group(%w: tensor<64x16xf32>) {
  // expected-error @+1 {{expected a group of 0 or more rows, but got -1}}
  %0 = qcc.encode %w <"int8", group = -1, symmetric = true> : (tensor<64x16xf32>) -> tensor<9xi8>
  return
}

// -----

func.func @encode_importance(%w: tensor<64x16xf32>, %i: tensor<16xf32>) {
  // expected-error @+1 {{expected importance of type 'tensor<64xf32>', but got 'tensor<16xf32>'}}
  %0 = qcc.encode %w importance %i <"int8", group = 0, symmetric = true> : (tensor<64x16xf32>, tensor<16xf32>) -> tensor<9xi8>
  return
}

// -----

func.func @encode_scales(%w: tensor<64x16xf32>, %s: tensor<2x16xf32>) {
  // expected-error @+1 {{expected scales of type 'tensor<3x16xf32>', but got 'tensor<2x16xf32>'}}
  %0 = qcc.encode %w scales %s <"w4a8", group = 30, symmetric = true> : (tensor<64x16xf32>, tensor<2x16xf32>) -> tensor<9xi8>
  return
}

// -----

func.func @encode_zeros(%w: tensor<64x16xf32>, %s: tensor<1x16xf32>, %z: tensor<1x16xi32>) {
  // expected-error @+1 {{expected zeros only with scales and a format that is not symmetric}}
  %0 = qcc.encode %w scales %s zeros %z <"int8", group = 0, symmetric = true> : (tensor<64x16xf32>, tensor<1x16xf32>, tensor<1x16xi32>) -> tensor<9xi8>
  return
}

// -----

func.func @encode_no_zeros(%w: tensor<64x16xf32>, %s: tensor<1x16xf32>) {
  // expected-error @+1 {{expected zeros beside scales, as the format is not symmetric}}
  %0 = qcc.encode %w scales %s <"a", group = 0, symmetric = false> : (tensor<64x16xf32>, tensor<1x16xf32>) -> tensor<9xi8>
  return
}
