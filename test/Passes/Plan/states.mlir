// RUN: qcc-opt %s --qcc-plan --split-input-file | FileCheck %s
#none = affine_map<() -> ()>
#one = affine_map<() -> (1)>
#same = affine_map<(d0) -> (d0)>

// Each element of the next value needs that element of the current one, which
// nothing reads behind it: it is written over it, and read from there.
// CHECK: qcc.kernel @add
// CHECK: } {qcc.in_place = 0 : i64}
// CHECK-LABEL: qcc_host.entry @main
// CHECK-SAME: buffers []
// CHECK: qcc_host.dispatch @add [#qcc_host.slot<state, 0, 0>, #qcc_host.slot<input, 0, 0>, #qcc_host.slot<state, 0, 0>]
// CHECK-NEXT: qcc_host.dispatch @add [#qcc_host.slot<state, 0, 0>, #qcc_host.slot<input, 0, 0>, #qcc_host.slot<output, 0, 0>]
// CHECK-NOT: qcc_host.copy
module attributes {qcc.symbols = []} {
qcc.state @s : tensor<4xf32>
qcc.kernel @add {kernel = "generic"} {
^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
  %0 = qcc.generic none ins(%a, %b : tensor<4xf32>, tensor<4xf32>) maps [#same, #same] {
  ^bb1(%p: f32, %q: f32):
    %r = arith.addf %p, %q : f32
    qcc.yield %r : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
func.func @main(%x: tensor<4xf32> {qcc.name = "x"}) -> (tensor<4xf32> {qcc.name = "y"}) {
  %s = qcc.state_read @s : tensor<4xf32>
  %0 = qcc.launch @add(%s, %x) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = qcc.launch @add(%0, %x) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  qcc.state_write @s, %0 : tensor<4xf32>
  return %1 : tensor<4xf32>
}
}

// -----

#none = affine_map<() -> ()>
#one = affine_map<() -> (1)>
#same = affine_map<(d0) -> (d0)>

// A later step reads the current value (through a reshape).
// CHECK-LABEL: qcc_host.entry @main
// CHECK: qcc_host.dispatch @add [#qcc_host.slot<state, 0, 0>, #qcc_host.slot<input, 0, 0>, #qcc_host.slot<arena, 0, 0>]
// CHECK-NEXT: qcc_host.dispatch @add [#qcc_host.slot<arena, 0, 0>, #qcc_host.slot<state, 0, 0>, #qcc_host.slot<output, 0, 0>]
// CHECK: qcc_host.copy <state, 0, 0> from <arena, 0, 0>
module attributes {qcc.symbols = []} {
qcc.state @s : tensor<2x2xf32>
qcc.kernel @add {kernel = "generic"} {
^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
  %0 = qcc.generic none ins(%a, %b : tensor<4xf32>, tensor<4xf32>) maps [#same, #same] {
  ^bb1(%p: f32, %q: f32):
    %r = arith.addf %p, %q : f32
    qcc.yield %r : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
func.func @main(%x: tensor<4xf32> {qcc.name = "x"}) -> (tensor<4xf32> {qcc.name = "y"}) {
  %s = qcc.state_read @s : tensor<2x2xf32>
  %v = qcc.reshape %s : tensor<2x2xf32> -> tensor<4xf32>
  %0 = qcc.launch @add(%v, %x) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = qcc.launch @add(%0, %v) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %n = qcc.reshape %0 : tensor<4xf32> -> tensor<2x2xf32>
  qcc.state_write @s, %n : tensor<2x2xf32>
  return %1 : tensor<4xf32>
}
}

// -----

#none = affine_map<() -> ()>
#one = affine_map<() -> (1)>
#same = affine_map<(d0) -> (d0)>
#turned = affine_map<(d0) -> (-d0 + 3)>

// The kernel reads other elements than it writes; so it does as the emitter of
// another name may. A state that is another's next value, or an output, is read
// when all is done.
// CHECK-LABEL: qcc_host.entry @main
// CHECK: qcc_host.dispatch @turn [#qcc_host.slot<state, 0, 0>, #qcc_host.slot<arena, 0, 0>]
// CHECK-NEXT: qcc_host.dispatch @other [#qcc_host.slot<state, 1, 0>, #qcc_host.slot<arena, 1, 0>]
// CHECK-NEXT: qcc_host.dispatch @copy [#qcc_host.slot<state, 2, 0>, #qcc_host.slot<arena, 2, 0>]
// CHECK-NEXT: qcc_host.dispatch @copy [#qcc_host.slot<state, 3, 0>, #qcc_host.slot<arena, 3, 0>]
// CHECK-NEXT: qcc_host.copy <output, 0, 0> from <state, 3, 0>
// What another copy replaces is set aside.
// CHECK-NEXT: qcc_host.copy <arena, 4, 0> from <state, 2, 0>
// CHECK-NEXT: qcc_host.copy <state, 0, 0> from <arena, 0, 0>
// CHECK-NEXT: qcc_host.copy <state, 1, 0> from <arena, 1, 0>
// CHECK-NEXT: qcc_host.copy <state, 2, 0> from <arena, 2, 0>
// CHECK-NEXT: qcc_host.copy <state, 3, 0> from <arena, 3, 0>
// CHECK-NEXT: qcc_host.copy <state, 4, 0> from <arena, 4, 0>
module attributes {qcc.symbols = []} {
qcc.state @a : tensor<4xf32>
qcc.state @b : tensor<4xf32>
qcc.state @c : tensor<4xf32>
qcc.state @d : tensor<4xf32>
qcc.state @e : tensor<4xf32>
qcc.kernel @turn {kernel = "generic"} {
^bb0(%a: tensor<4xf32>):
  %0 = qcc.generic none ins(%a : tensor<4xf32>) maps [#turned] {
  ^bb1(%p: f32):
    qcc.yield %p : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
qcc.kernel @other {kernel = "rows"} {
^bb0(%a: tensor<4xf32>):
  %0 = qcc.generic none ins(%a : tensor<4xf32>) maps [#same] {
  ^bb1(%p: f32):
    qcc.yield %p : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
qcc.kernel @copy {kernel = "generic"} {
^bb0(%a: tensor<4xf32>):
  %0 = qcc.generic none ins(%a : tensor<4xf32>) maps [#same] {
  ^bb1(%p: f32):
    qcc.yield %p : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
func.func @main() -> (tensor<4xf32> {qcc.name = "y"}) {
  %a = qcc.state_read @a : tensor<4xf32>
  %b = qcc.state_read @b : tensor<4xf32>
  %c = qcc.state_read @c : tensor<4xf32>
  %d = qcc.state_read @d : tensor<4xf32>
  %0 = qcc.launch @turn(%a) dims #none tasks #one : (tensor<4xf32>) -> tensor<4xf32>
  %1 = qcc.launch @other(%b) dims #none tasks #one : (tensor<4xf32>) -> tensor<4xf32>
  %2 = qcc.launch @copy(%c) dims #none tasks #one : (tensor<4xf32>) -> tensor<4xf32>
  %3 = qcc.launch @copy(%d) dims #none tasks #one : (tensor<4xf32>) -> tensor<4xf32>
  qcc.state_write @a, %0 : tensor<4xf32>
  qcc.state_write @b, %1 : tensor<4xf32>
  qcc.state_write @c, %2 : tensor<4xf32>
  qcc.state_write @d, %3 : tensor<4xf32>
  qcc.state_write @e, %c : tensor<4xf32>
  return %d : tensor<4xf32>
}
}

// -----

#none = affine_map<() -> ()>
#one = affine_map<() -> (1)>
#same = affine_map<(d0) -> (d0)>

// A kernel may overwrite one operand: the first state is that, the second one
// would be the other, and the third is both.
// CHECK: qcc.kernel @add
// CHECK: } {qcc.in_place = 0 : i64}
// CHECK-LABEL: qcc_host.entry @main
// CHECK: qcc_host.dispatch @add [#qcc_host.slot<state, 0, 0>, #qcc_host.slot<input, 0, 0>, #qcc_host.slot<state, 0, 0>]
// CHECK-NEXT: qcc_host.dispatch @add [#qcc_host.slot<input, 0, 0>, #qcc_host.slot<state, 1, 0>, #qcc_host.slot<arena, 0, 0>]
// CHECK-NEXT: qcc_host.dispatch @add [#qcc_host.slot<state, 2, 0>, #qcc_host.slot<state, 2, 0>, #qcc_host.slot<arena, 1, 0>]
// CHECK: qcc_host.copy <state, 1, 0> from <arena, 0, 0>
// CHECK-NEXT: qcc_host.copy <state, 2, 0> from <arena, 1, 0>
module attributes {qcc.symbols = []} {
qcc.state @a : tensor<4xf32>
qcc.state @b : tensor<4xf32>
qcc.state @c : tensor<4xf32>
qcc.kernel @add {kernel = "generic"} {
^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
  %0 = qcc.generic none ins(%a, %b : tensor<4xf32>, tensor<4xf32>) maps [#same, #same] {
  ^bb1(%p: f32, %q: f32):
    %r = arith.addf %p, %q : f32
    qcc.yield %r : f32
  } -> tensor<4xf32>
  qcc.yield %0 : tensor<4xf32>
}
func.func @main(%x: tensor<4xf32> {qcc.name = "x"}) -> (tensor<4xf32> {qcc.name = "y"}) {
  %a = qcc.state_read @a : tensor<4xf32>
  %b = qcc.state_read @b : tensor<4xf32>
  %c = qcc.state_read @c : tensor<4xf32>
  %0 = qcc.launch @add(%a, %x) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = qcc.launch @add(%x, %b) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = qcc.launch @add(%c, %c) dims #none tasks #one : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  qcc.state_write @a, %0 : tensor<4xf32>
  qcc.state_write @b, %1 : tensor<4xf32>
  qcc.state_write @c, %2 : tensor<4xf32>
  return %x : tensor<4xf32>
}
}
