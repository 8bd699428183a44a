# Branches, loops and sizes that depend on data: compiled models against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each case is a model in ONNX's text form and several sets of inputs; outputs must have ONNX Runtime's shapes and values."""
import json
import subprocess
import sys

import numpy as np
import onnx.numpy_helper
import onnx.parser
import onnxruntime
import pytest
import qcc


def check(tmp_path, text, runs, target="native"):
    """Compiles `text` once and compares every run with ONNX Runtime."""
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + text)
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    qcc.compile(path, tmp_path / "out.qcc", target=target)
    compiled = qcc.load(tmp_path / "out.qcc", threads=1)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for inputs in runs:
        want = session.run(None, inputs)
        have = compiled(inputs)
        for output, expected in zip(session.get_outputs(), want):
            actual = have[output.name]
            # A loop without iterations: ONNX Runtime gives 0 for the symbolic sizes of what it would have stacked.
            same = actual.ndim == expected.ndim and actual.size == 0 if expected.size == 0 else actual.shape == expected.shape
            assert same, (output.name, actual.shape, expected.shape)
            assert actual.dtype == expected.dtype, output.name
            if expected.size:
                np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5, err_msg=output.name)


def f32(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


BRANCH = """
g (bool c, float[n, 3] x) => (float[m, k] y) {
  two = Constant<value_float = 2.0>()
  y = If(c) <
    then_branch = yes () => (float[a, b] t) { xx = Concat<axis = 0>(x, x) t = Mul(xx, two) },
    else_branch = no () => (float[a, b] e) { r = Relu(x) e = Transpose<perm = [1, 0]>(r) }
  >
}
"""


@pytest.mark.parametrize("target", ["native", "reference"])
def test_branches_of_different_shapes(tmp_path, target):
    runs = [{"c": np.array(c), "x": f32(n, 3)} for c in (True, False) for n in (0, 1, 5)]
    check(tmp_path, BRANCH, runs, target)


NESTED = """
g (float[n] x, bool a, bool b) => (float[n] y) {
  one = Constant<value_float = 1.0>()
  y = If(a) <
    then_branch = yes () => (float[n] t) {
      s = Add(x, one)
      t = If(b) <
        then_branch = yy () => (float[n] u) { u = Mul(s, x) },
        else_branch = yn () => (float[n] v) { v = Neg(s) }
      >
    },
    else_branch = no () => (float[n] e) { e = Identity(x) }
  >
}
"""


def test_nested_branches_read_outer_values(tmp_path):
    runs = [{"x": f32(4), "a": np.array(a), "b": np.array(b)} for a in (True, False) for b in (True, False)]
    check(tmp_path, NESTED, runs)


SQUEEZE = """
g (float[n, 4, t] x) => (float[n, 4] y) {
  one = Constant<value = int64 {1}>()
  two = Constant<value_ints = [2]>()
  last = Constant<value = int64 {2}>()
  h = MaxPool<kernel_shape = [3], strides = [3]>(x)
  sh = Shape(h)
  len = Gather(sh, last)
  c = Equal(len, one)
  r = If(c) <
    then_branch = yes () => (float[n, 4] a) { a = Squeeze(h, two) },
    else_branch = no () => (float[n, 4, u] b) { b = Identity(h) }
  >
  y = Neg(r)
}
"""


def test_branches_of_different_ranks(tmp_path):
    """What exporters write to squeeze a dimension: the rank is decided when compiling and checked when running."""
    check(tmp_path, SQUEEZE, [{"x": f32(n, 4, t)} for n in (1, 3) for t in (3, 5)])
    with pytest.raises(qcc.QccError):
        qcc.load(tmp_path / "out.qcc", threads=1)({"x": f32(1, 4, 6)})


COUNTED = """
g (int64 m, float[n] x) => (float[n] last, float[steps, n] all) {
  t = Constant<value = bool {1}>()
  last, all = Loop(m, t, x) <
    body = body (int64 i, bool c, float[n] v) => (bool d, float[n] w, float[n] s) {
      d = Identity(c)
      f = Cast<to = 1>(i)
      w = Add(v, f)
      s = Mul(v, v)
    }
  >
}
"""


def test_loop_of_a_count_read_at_run_time(tmp_path):
    check(tmp_path, COUNTED, [{"m": np.array(m, np.int64), "x": f32(n)} for m in (0, 1, 7) for n in (1, 4)])


WHILE = """
g (float x) => (float y, float[k] seen) {
  t = Constant<value = bool {1}>()
  limit = Constant<value_float = 100.0>()
  two = Constant<value_float = 2.0>()
  y, seen = Loop(, t, x) <
    body = body (int64 i, bool c, float v) => (bool d, float w, float s) {
      w = Mul(v, two)
      d = Less(w, limit)
      s = Identity(w)
    }
  >
}
"""


def test_loop_that_a_condition_ends(tmp_path):
    check(tmp_path, WHILE, [{"x": np.array(x, np.float32)} for x in (1, 3, 60, 200)])
    # What the host waits for is in the manifest.
    assert json.loads((tmp_path / "out.qcc" / "manifest.json").read_text())["sync_points"] == ["Loop_3"]


GROWING = """
g (int64 m, float[a, 2] x) => (float[b, 2] y, int64 n) {
  t = Constant<value = bool {1}>()
  zero = Constant<value = int64 {0}>()
  y, n = Loop(m, t, x, zero) <
    body = body (int64 i, bool c, float[p, 2] v, int64 k) => (bool d, float[q, 2] w, int64 l) {
      d = Identity(c)
      part = Add(x, x)
      w = Concat<axis = 0>(v, part)
      sh = Shape<start = 0, end = 1>(w)
      l0 = ReduceSum<keepdims = 0>(sh)
      l = Add(l0, k)
    }
  >
}
"""


@pytest.mark.parametrize("target", ["native", "reference"])
def test_carried_value_that_grows(tmp_path, target):
    runs = [{"m": np.array(m, np.int64), "x": f32(a, 2)} for m in (0, 1, 5) for a in (0, 1, 3)]
    check(tmp_path, GROWING, runs, target)


SWAP = """
g (int64 m, float[2] a, float[2] b, float[2] c) => (float[2] x, float[2] y, float[2] z) {
  t = Constant<value = bool {1}>()
  x, y, z = Loop(m, t, a, b, c) <
    body = body (int64 i, bool k, float[2] u, float[2] v, float[2] w) => (bool d, float[2] p, float[2] q, float[2] r) {
      d = Identity(k)
      p = Identity(v)
      q = Identity(w)
      r = Identity(u)
    }
  >
}
"""


def test_carried_values_change_places(tmp_path):
    runs = [{"m": np.array(m, np.int64), "a": f32(2, seed=1), "b": f32(2, seed=2), "c": f32(2, seed=3)} for m in (0, 1, 2, 3)]
    check(tmp_path, SWAP, runs)


NESTED_LOOPS = """
g (int64 m, float[n] x) => (float[n] y, float[s, u, n] all) {
  t = Constant<value = bool {1}>()
  y, all = Loop(m, t, x) <
    body = outer (int64 i, bool c, float[n] v) => (bool d, float[n] w, float[u, n] part) {
      d = Identity(c)
      three = Constant<value = int64 {3}>()
      w, part = Loop(three, c, v) <
        body = inner (int64 j, bool e, float[n] p) => (bool f, float[n] q, float[n] r) {
          f = Identity(e)
          k = Add(i, j)
          kf = Cast<to = 1>(k)
          q = Add(p, kf)
          r = Sub(q, x)
        }
      >
    }
  >
}
"""


def test_nested_loops(tmp_path):
    check(tmp_path, NESTED_LOOPS, [{"m": np.array(m, np.int64), "x": f32(n)} for m in (0, 1, 4) for n in (1, 3)])


SCAN = """
g (float[2] h, float[n, 3, 2] x, float[3, n] z) => (float[2] last, float[3, 2, n] y, float[n, 3] r) {
  last, y, r = Scan<num_scan_inputs = 2, scan_input_axes = [0, 1], scan_input_directions = [0, 1],
                    scan_output_axes = [2, 0], scan_output_directions = [0, 1],
                    body = step (float[2] a, float[3, 2] b, float[3] c) => (float[2] d, float[3, 2] e, float[3] f) {
    s = ReduceMean<keepdims = 0>(b, axes)
    d = Add(a, s)
    e = Mul(b, a)
    f = Neg(c)
  }>(h, x, z)
  axes = Constant<value_ints = [0]>()
}
"""


def test_scan_along_other_axes_and_backwards(tmp_path):
    text = SCAN.replace("  axes = Constant<value_ints = [0]>()\n", "").replace("{\n  last", "{\n  axes = Constant<value_ints = [0]>()\n  last")
    check(tmp_path, text, [{"h": f32(2), "x": f32(n, 3, 2), "z": f32(3, n)} for n in (1, 2, 5)])


SIZES = """
g (float[a, b] x, int64[3] shape, int64[2] start, int64[2] end, int64[4] pads, int64[2] times, int64 depth)
  => (float[c, d, e] r, float[f, h] s, float[i, j] p, float[k, l] t, float[o, q] z, float[u, v] w) {
  r = Reshape(x, shape)
  s = Slice(x, start, end)
  p = Pad(x, pads)
  t = Tile(x, times)
  z = ConstantOfShape(times)
  dd = Unsqueeze(depth, ax)
  one = Constant<value_ints = [1]>()
  sh = Concat<axis = 0>(dd, one)
  col = Expand(one_f, sh)
  w = Add(col, one_f)
}
"""


def test_sizes_read_at_run_time(tmp_path):
    text = SIZES.replace(
        "  r = Reshape", "  ax = Constant<value_ints = [0]>()\n  one_f = Constant<value_float = 1.5>()\n  r = Reshape")
    runs = []
    for a, b, shape in ((4, 6, (2, -1, 3)), (4, 6, (0, 3, 2)), (1, 6, (6, 1, 1)), (2, 3, (-1, 1, 2))):
        for start, end in (((0, 1), (2, 3)), ((-3, -2), (100, -1)), ((1, 5), (0, 9))):
            runs.append({"x": f32(a, b), "shape": i64(*shape), "start": i64(*start), "end": i64(*end),
                         "pads": i64(1, 0, 2, 3), "times": i64(2, 3), "depth": np.array(4, np.int64)})
    check(tmp_path, text, runs)


def test_output_that_gets_its_shape_after_it_is_computed(tmp_path):
    text = "g (float[a, b] x, int64[2] s) => (float[c, d] y) { r = Relu(x) y = Reshape(r, s) }"
    check(tmp_path, text, [{"x": f32(3, 4), "s": i64(*s)} for s in ((12, 1), (2, 6), (-1, 3))])


def test_negative_padding_read_at_run_time(tmp_path):
    text = "g (float[a, b] x, int64[4] pads) => (float[c, d] y) { y = Pad(x, pads) }"
    check(tmp_path, text, [{"x": f32(5, 6), "pads": i64(*p)} for p in ((-1, 0, 2, -3), (0, 0, 0, 0), (-2, -2, -3, -4))])


def test_a_size_that_does_not_fit_ends_the_run(tmp_path):
    path = tmp_path / "model.onnx"
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[a] x, int64[2] s) => (float[b, c] y) { y = Reshape(x, s) }'
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    qcc.compile(path, tmp_path / "out.qcc")
    model = qcc.load(tmp_path / "out.qcc", threads=1)
    assert model({"x": f32(6), "s": i64(2, -1)})["y"].shape == (2, 3)
    for shape in ((4, 2), (-1, -1), (-2, -3), (5, -1), (1 << 40, 1 << 40), (-(1 << 62), 3)):
        with pytest.raises(qcc.QccError):
            model({"x": f32(6), "s": i64(*shape)})
    assert model({"x": f32(6), "s": i64(3, 0) + i64(0, 2)})["y"].shape == (3, 2)


def test_slice_of_any_axes_and_steps(tmp_path):
    text = "g (float[a, b, c] x, int64[2] s, int64[2] e, int64[2] k) => (float[d, f, h] y) {" \
           " axes = Constant<value_ints = [2, -3]>() y = Slice(x, s, e, axes, k) }"
    runs = [{"x": f32(5, 2, 7), "s": i64(*s), "e": i64(*e), "k": i64(*k)}
            for s, e, k in (((0, 0), (7, 5), (2, 3)), ((-1, 4), (-100, -100), (-1, -2)), ((6, 0), (0, 5), (-3, 1)),
                            ((3, 3), (3, 1), (1, 1)))]
    check(tmp_path, text, runs)


BOUNDS = (0, 1, 2, 5, -1, -2, -5, 2**31, -(2**63))


def cut(tmp_path, slices, sizes):
    """Slices of `x[n, 2]` by texts of start, end and step, at each size of n."""
    lines = [f"y{i} = Slice(x, {start}, {end}, zero, {step})" for i, (start, end, step) in enumerate(slices)]
    named = {f"c{value}".replace("-", "m"): value for value in (*BOUNDS, 2**63 - 1, -3, 3, 4)}
    constants = ", ".join(f"int64[1] {name} = {{{value}}}" for name, value in named.items())
    outputs = ", ".join(f"float[d{i}, 2] y{i}" for i in range(len(slices)))
    sub = "\n".join(f"n{k} = Sub(n, c{k})" for k in (0, 1, 2, 3, 4, 5))
    check(tmp_path, f"""g (float[n, 2] x) => ({outputs}) <int64[1] zero = {{0}}, {constants}>
    {{ shape = Shape(x) n = Gather(shape, zero) {sub}
    {chr(10).join(lines)} }}""", [{"x": f32(n, 2)} for n in sizes])


@pytest.mark.parametrize("step", ["1", "3", "m1", "m3"])
def test_slices_by_constants_beyond_a_symbolic_size(tmp_path, step):
    def name(value):
        return f"c{value}".replace("-", "m")

    pairs = [(start, end) for start in BOUNDS for end in (*BOUNDS, *([2**63 - 1] if step[0] != "m" else []))]
    # What is cut by one element is taken as not empty.
    many = [(name(a), name(b), "c" + step) for a, b in pairs if abs(a) != 1 and abs(b) != 1]
    cut(tmp_path / "empty", many, [0])
    cut(tmp_path, [(name(a), name(b), "c" + step) for a, b in pairs], [1, 2, 3, 4, 6, 17])


def test_slices_by_a_size_less_a_constant(tmp_path):
    slices = [pair for k in (0, 2, 3, 4, 5) for pair in
              (("zero", f"n{k}"), (f"n{k}", "n"), ("c2", f"n{k}"), ("cm2", f"n{k}"), (f"n{k}", "c4"), (f"n{k}", "cm3"))]
    cut(tmp_path, [(*pair, "c1") for pair in slices], range(8))
    cut(tmp_path / "one", [("zero", "n1", "c2"), ("n1", "n", "c1")], range(1, 5))


def test_two_negative_sizes_end_the_run(tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[a, b] x) => (float s) <int64[1] five = {5}, int64 zero = {0}>
    { shape = Shape(x) less = Sub(shape, five) y = ConstantOfShape(less) s = ReduceSum<keepdims = 0>(y) }"""
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    qcc.compile(path, tmp_path / "out.qcc")
    model = qcc.load(tmp_path / "out.qcc", threads=1)
    assert model({"x": f32(6, 7)})["s"] == 0
    for shape in ((4, 4), (1, 3), (4, 7)):
        with pytest.raises(qcc.QccError):
            model({"x": f32(*shape)})


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("known", [False, True])
def test_resize_that_keeps_the_ratio_of_sizes_found_at_run_time(tmp_path, policy, known):
    attributes = f'mode = "linear", axes = [2, 3], keep_aspect_ratio_policy = "{policy}"'
    sizes = ("s = Constant<value_ints = [7, 9]>()" if known else "s = Identity(t)")
    text = f"g (float[1, 2, a, b] x, int64[2] t) => (float[1, 2, c, d] y) {{ {sizes} y = Resize<{attributes}>(x, , , s) }}"
    runs = [{"x": f32(1, 2, a, b), "t": i64(*t)} for a, b, t in ((4, 6, (7, 9)), (5, 5, (3, 8)), (6, 3, (6, 6)))]
    check(tmp_path, text, runs)


def test_reshape_to_a_size_that_is_zero_ends_the_run(tmp_path):
    # Random graph 500003: at run time the size is the 0 that stands for the input's own.
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[5, a, b] x) => (float[m, n] y) <int64[1] two = {2}, int64[1] rest = {-1}>
    { shape = Shape(x) last = Gather(shape, two) target = Concat<axis = 0>(rest, last) y = Reshape(x, target) }"""
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    model = qcc.load(qcc.compile(path, tmp_path / "out.qcc"), threads=1)
    assert model({"x": f32(5, 2, 3)})["y"].shape == (10, 3)
    with pytest.raises(qcc.QccError):
        model({"x": f32(5, 1, 0)})


@pytest.mark.parametrize("target", ["native", "reference"])
def test_moves_that_both_depend_on_sizes(tmp_path, target):
    """Found by a random graph: the size of the repeated dimension was taken from the wrong symbol."""
    text = """
g (float[n, m] x, int64[2] shape) => (float[a, b] y, float[c, d] z)
<int64[1] last = {-1}, int64[1] first = {-1000}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] back = {-1}, int64[1] two = {-2},
 int64[2] repeats = {2, 3}> {
  rows = Slice(x, last, first, zero, back)
  turned = Slice(rows, last, first, one, two)
  tiled = Tile(turned, repeats)
  z = Reshape(tiled, shape)
  doubled = Tile(rows, repeats)
  y = Relu(doubled)
}
"""
    runs = [{"x": f32(n, m, seed=n), "shape": i64(-1, 2)} for n, m in [(4, 5), (1, 7), (6, 2)]]
    check(tmp_path, text, runs, target)


@pytest.mark.parametrize("bounds", ["{0}, {-9}, {0}, {-2}", "{0}, {3}, {0}, {3}", "{2}, {3}, {0}, {1}", "{-3}, {-2}, {0}, {2}"])
def test_slices_of_one_element_or_none_are_broadcast(tmp_path, bounds):
    start, end, axis, step = bounds.split(", ")
    text = f"""
g (float[n, 2] x) => (float[a, b] y)
<int64[1] start = {start}, int64[1] end = {end}, int64[1] axis = {axis}, int64[1] step = {step}> {{
  part = Slice(x, start, end, axis, step)
  y = Add(x, part)
}}
"""
    check(tmp_path, text, [{"x": f32(n, 2, seed=n)} for n in (3, 5, 7)])


@pytest.mark.parametrize("cuts", [("{2}, {-2}, {0}, {3}", "{0}, {99}, {0}, {1}"), ("{1}, {99}, {0}, {1}", "{0}, {99}, {0}, {1}"),
                                  ("{1}, {99}, {0}, {1}", "{0}, {-2}, {0}, {1}"), ("{0}, {99}, {0}, {4}", "{1}, {-1}, {0}, {2}")])
def test_different_cuts_of_one_size_are_broadcast(tmp_path, cuts):
    """They fit only where one is a single element: found by a random graph."""
    declared, nodes = [], ""
    for part, cut in zip("ab", cuts):
        declared += [f"int64[1] {name}{part} = {value}" for name, value in zip(("start", "end", "axis", "step"), cut.split(", "))]
        nodes += f"  {part} = Slice(x, start{part}, end{part}, axis{part}, step{part})\n"
    text = f"g (float[n, 2] x) => (float[p, q] y, float[r, 2] s) <{', '.join(declared)}> {{\n{nodes}  y = Mul(a, b)\n  s = Softmax(y) }}"
    runs = []
    for n in range(1, 12):
        sizes = [len(range(n)[slice(start, end, step)]) for start, end, _, step in
                 ([int(v.strip("{}")) for v in cut.split(", ")] for cut in cuts)]
        if sizes[0] == sizes[1] or 1 in sizes:
            runs.append({"x": f32(n, 2, seed=n)})
    assert len(runs) > 1
    check(tmp_path, text, runs)


def test_slices_of_slices_stay_short(tmp_path):
    """Each cut doubles the size's expression: found by a random graph."""
    cuts = "".join(f"  x{i + 1} = Slice(x{i}, s{i % 3}, e{i % 3}, axis, step)\n" for i in range(24))
    text = f"""
g (float[n] x0) => (float[m] y)
<int64[1] s0 = {{1}}, int64[1] e0 = {{-1}}, int64[1] s1 = {{0}}, int64[1] e1 = {{40}}, int64[1] s2 = {{-30}}, int64[1] e2 = {{1000}},
 int64[1] axis = {{0}}, int64[1] step = {{1}}> {{
{cuts}  y = Neg(x24)
}}
"""
    check(tmp_path, text, [{"x0": f32(n, seed=n)} for n in (60, 30, 20, 17)])


def test_padding_read_at_run_time_that_leaves_one_element(tmp_path):
    text = """
g (float[1, n] x, int64[4] pads, float[k, 2] y) => (float[a, b] z) {
  padded = Pad(x, pads)
  z = Add(padded, y)
}
"""
    runs = [({"x": f32(1, n, seed=n), "pads": i64(*pads), "y": f32(k, 2)}) for n, k, pads in [(2, 3, (0, 0, 0, 0)), (1, 3, (1, 0, 1, 1)), (4, 1, (1, -1, 1, -1))]]
    check(tmp_path, text, runs)


def test_slices_of_a_dimension_that_data_makes_empty(tmp_path):
    text = """
g (float[n] x, int64[1] start, int64[1] end) => (float[a] y0, float[b] y1, float[c] y2, float[d] y3)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {-1}, int64[1] more = {1000}> {
  part = Slice(x, start, end)
  y0 = Slice(part, zero, one)
  y1 = Slice(part, one, more)
  y2 = Slice(part, last, more)
  shape = Shape(part)
  before = Sub(shape, one)
  y3 = Slice(part, zero, before)
}
"""
    check(tmp_path, text, [{"x": f32(6), "start": i64(2), "end": i64(end)} for end in (2, 3, 6)])


def chain_of_sums(count):
    inputs = ", ".join(f"float[n{i}] x{i}" for i in range(count))
    sums = "".join(f"  y{i} = Add(y{i - 1}, x{i})\n" for i in range(1, count))
    return f"g ({inputs}) => (float[m] y{count - 1}) {{\n  y0 = Neg(x0)\n{sums}}}"


def test_sums_of_many_sizes_that_may_be_one(tmp_path):
    runs = [{f"x{i}": f32(5 if i == at else 1, seed=i) for i in range(16)} for at in (0, 9, 15)]
    check(tmp_path, chain_of_sums(16), runs)


def test_sizes_with_too_many_terms_are_refused(tmp_path):
    with pytest.raises(qcc.CompileError, match="expected sizes of at most 200 terms") as error:
        check(tmp_path, chain_of_sums(60), [])
    assert error.value.exit_code == 7


def test_range_of_a_size_that_may_be_negative(tmp_path):
    text = """g (float[a] x) => (int64[n] r) <int64 zero = {0}, int64 one = {1}, int64 three = {3}>
    { shape = Shape(x) size = Squeeze(shape) end = Sub(size, three) r = Range(zero, end, one) }"""
    check(tmp_path, text, [{"x": f32(a)} for a in (0, 1, 3, 5)])


def test_computed_sizes_that_meet_others(tmp_path):
    # A symbol, or a size that data tells, that is 1 where a computed size is not.
    text = """g (float[a, b] x, float[c, 1] y, int64[2] s) => (float[m, n] r, float[p, q] t)
    { z = Concat<axis = 0>(x, x) r = Add(z, y) t = Expand(z, s) }"""
    runs = [{"x": f32(a, 3), "y": f32(c, 1), "s": i64(*s)}
            for a, c, s in ((2, 4, (4, 1)), (2, 1, (1, 3)), (3, 1, (6, 3)))]
    check(tmp_path, text, runs)
    text = "g (float[a] x, int64[1] s) => (float[m] t) { y = Relu(x) c = Slice(y, two, big) t = Expand(c, s) }"
    text = text.replace("{", "<int64[1] two = {2}, int64[1] big = {100}> {", 1)
    check(tmp_path / "other", text, [{"x": f32(a), "s": i64(s)} for a, s in ((3, 1), (3, 4), (6, 1), (6, 4), (2, 1), (2, 0))])


def test_constant_of_a_shape_read_at_run_time(tmp_path):
    text = "g (int64[2] s) => (float[a, b] y, float[c] z)" \
           " <float[6] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}> { y = Reshape(w, s) z = Relu(w) }"
    check(tmp_path, text, [{"s": i64(*s)} for s in ((2, 3), (6, 1), (-1, 2))])


def test_zero_points_of_a_size_known_at_run_time(tmp_path):
    text = "g (uint8[m, 4] x, int8[4, 3] w, uint8 a, int8[c] b) => (int32[m, 3] y) { y = MatMulInteger(x, w, a, b) }"
    x = np.arange(8, dtype=np.uint8).reshape(2, 4)
    w = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    runs = [{"x": x, "w": w, "a": np.array(3, np.uint8), "b": np.array(b, np.int8)} for b in ([1, -2, 3], [5])]
    check(tmp_path, text, runs)


RANGES = """
g (int64 a, int64 b, int64 c, float p, float q, float r) => (int64[n] x, float[m] y) {
  x = Range(a, b, c)
  y = Range(p, q, r)
}
"""


def test_ranges_read_at_run_time(tmp_path):
    runs = []
    for a, b, c in ((0, 5, 1), (5, 0, -2), (3, 3, 1), (0, 10, 3), (4, 2, 1)):
        runs.append({"a": np.array(a), "b": np.array(b), "c": np.array(c), "p": np.array(a, np.float32),
                     "q": np.array(b, np.float32), "r": np.array(c * 0.5, np.float32)})
    check(tmp_path, RANGES, runs)


def test_a_step_of_zero_ends_the_run(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {RANGES}').SerializeToString())
    qcc.compile(path, tmp_path / "out.qcc")
    model = qcc.load(tmp_path / "out.qcc", threads=1)

    def run(c, r):
        return model({"a": np.array(0), "b": np.array(3), "c": np.array(c), "p": np.float32(0), "q": np.float32(3), "r": np.float32(r)})

    for c, r in ((0, 1), (1, 0), (0, 0), (1, -0.0)):
        with pytest.raises(qcc.QccError, match="node 'Range_[01]': expected a step other than 0, but got 0"):
            run(c, r)
    assert run(1, 1)["x"].tolist() == run(1, 1)["y"].tolist() == [0, 1, 2]
    # Distances that are no number of 64 bits with a sign.
    low, high, step = -(2**63), 2**63 - 1, 2**62
    other = {"p": np.float32(0), "q": np.float32(3), "r": np.float32(1)}
    for start, limit, delta in ((low, high, step), (high, low, -step), (low, high, low), (high, low, low), (high, low, step), (5, 5, low)):
        got = model({"a": np.array(start), "b": np.array(limit), "c": np.array(delta), **other})["x"]
        assert got.tolist() == list(range(start, limit, delta))


def test_sizes_that_are_one_only_at_run_time(tmp_path):
    text = "g (float[a, b, 4] x, float[c, d, e] y, float[h] z) => (float[m, n, o] r, float[p, q, s] u)" \
           " { r = Add(x, y) v = Mul(r, z) w = Relu(v) u = Sub(w, x) }"
    runs = []
    for a, b, c, d, e, h in ((2, 3, 2, 3, 4, 4), (2, 3, 1, 3, 1, 4), (1, 3, 2, 1, 4, 1), (1, 1, 5, 6, 1, 1), (2, 1, 2, 6, 4, 4)):
        runs.append({"x": f32(a, b, 4), "y": f32(c, d, e), "z": f32(h)})
    check(tmp_path, text, runs)
    with pytest.raises(qcc.QccError):
        qcc.load(tmp_path / "out.qcc", threads=1)({"x": f32(2, 3, 4), "y": f32(3, 3, 4), "z": f32(4)})


def test_broadcast_of_three_that_meet(tmp_path):
    text = "g (bool[a] c, float[b] x, float[d] y) => (float[n] r) { r = Where(c, x, y) }"
    runs = [{"c": np.arange(a) % 2 == 0, "x": f32(b), "y": f32(d, seed=1)}
            for a, b, d in ((3, 3, 3), (1, 3, 3), (3, 1, 1), (1, 1, 4), (1, 4, 1), (1, 1, 1), (0, 1, 1), (1, 0, 1))]
    check(tmp_path, text, runs)


def test_expand_to_a_size_read_at_run_time(tmp_path):
    text = "g (float[a, 1] x, int64[3] s) => (float[b, c, d] y) { y = Expand(x, s) }"
    check(tmp_path, text, [{"x": f32(a, 1), "s": i64(*s)} for a, s in ((3, (2, 1, 6)), (3, (2, 3, 1)), (1, (1, 5, 1)), (2, (0, 2, 2)))])


def test_length_of_a_stack_that_nothing_reads(tmp_path):
    """A loop counts its iterations, which its result alone tells."""
    text = """g (int64 n, float[3,w] a) => (int64[3] y) { yes = Constant<value = bool {1}>()
    t = Loop<body = b (int64 i, bool c) => (bool d, float[3,w] g) { d = Identity(c) f = Cast<to=1>(i) g = Add(a, f) }>(n, yes)
    y = Shape(t) }"""
    check(tmp_path, text, [{"n": np.array(n), "a": f32(3, 4)} for n in (3, 1)])


@pytest.mark.parametrize("kind, gates, extra", [("LSTM", 4, ", yc"), ("GRU", 3, ""), ("RNN", 1, "")])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_layers_of_any_length(tmp_path, kind, gates, extra, direction):
    dirs = 2 if direction == "bidirectional" else 1
    cell = f", float[{dirs}, batch, 5] yc" if extra else ""
    text = f"g (float[t, batch, 3] x, float[{dirs}, {gates * 5}, 3] w, float[{dirs}, {gates * 5}, 5] r," \
           f" float[{dirs}, {gates * 10}] b, int32[batch] len)" \
           f" => (float[t, {dirs}, batch, 5] y, float[{dirs}, batch, 5] yh{cell})" \
           f' {{ y, yh{extra} = {kind}<hidden_size = 5, direction = "{direction}">(x, w, r, b, len) }}'
    runs = []
    for t, batch in ((1, 1), (3, 2), (40, 3), (150, 1)):
        lengths = np.array([max(1, t - 2 * i) for i in range(batch)], np.int32)
        runs.append({"x": f32(t, batch, 3), "w": f32(dirs, gates * 5, 3, seed=1), "r": f32(dirs, gates * 5, 5, seed=2),
                     "b": f32(dirs, gates * 10, seed=3), "len": lengths})
    check(tmp_path, text, runs)


DIMS = """
g (float[batch, seq, 8] x, float[rows, 1, 8] y) => (float[batch, seq, 4] z)
  <float[8, 4] w> { s = Add(x, y) z = MatMul(s, w) }
"""


@pytest.fixture
def dims_model(tmp_path):
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + DIMS.replace("<float[8, 4] w>", ""))
    model.graph.initializer.append(onnx.numpy_helper.from_array(f32(8, 4, seed=5), "w"))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def expected_dims(x, y):
    return (x + y) @ f32(8, 4, seed=5)


def test_an_entry_for_each_size(dims_model, tmp_path):
    out = qcc.compile(dims_model, tmp_path / "out.qcc", dim={"batch": "1,4", "seq": "2,16", "rows": "batch"})
    model = qcc.load(out, threads=1)
    assert list(model.entries) == ["main_batch1_seq2", "main_batch1_seq16", "main_batch4_seq2", "main_batch4_seq16"]
    assert model.entries["main_batch4_seq16"].inputs[1].shape == (4, 1, 8)
    for batch, seq in ((1, 2), (1, 16), (4, 2), (4, 16)):
        x, y = f32(batch, seq, 8), f32(batch, 1, 8, seed=1)
        for entry in (None, f"main_batch{batch}_seq{seq}"):
            z = model({"x": x, "y": y}, entry=entry)["z"]
            np.testing.assert_allclose(z, expected_dims(x, y), rtol=1e-5, atol=1e-5)
    with pytest.raises(qcc.QccError, match="^input 'x': expected dim 0 to be 1 or 4, but got 2$") as error:
        model({"x": f32(2, 2, 8), "y": f32(2, 1, 8)})
    assert error.value.status is qcc.Status.BAD_SHAPE


def test_the_runner_takes_the_entry_of_a_size(dims_model, tmp_path, runner):
    out = qcc.compile(dims_model, tmp_path / "out.qcc", dim={"batch": [1, 4], "seq": [2, 16], "rows": "batch"})

    def run(*arguments):
        done = subprocess.run([runner, out, "--threads=1", *arguments], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    for dims, shape in ((["batch=4"], (4, 2, 4)), (["seq=16", "batch=4"], (4, 16, 4)), ([], (1, 2, 4))):
        assert run("--random-inputs", *(f"--dim={dim}" for dim in dims), f"--outputs={tmp_path}/z.npz")[0] == 0
        assert np.load(tmp_path / "z.npz")["z"].shape == shape
    assert run("--bench", "--runs=1", "--dim=batch=3") == (2, "qcc-run: error: --dim: expected batch to be 1 or 4, but got 3 [QCC-E401]\n")
    named = run("--random-inputs", "--entry=main_batch1_seq2", "--dim=batch=4")
    assert named == (2, "qcc-run: error: --dim: expected batch to be 1, but got 4 [QCC-E401]\n")
    np.savez(tmp_path / "in.npz", x=f32(4, 5, 8), y=f32(4, 1, 8))
    assert run(f"--inputs={tmp_path}/in.npz") == (5, "qcc-run: error: input 'x': expected dim 1 to be 2 or 16, but got 5 [QCC-E201]\n")
    inputs = [f32(4, 16, 8), f32(4, 1, 8, seed=1)]
    for kind, arrays in (("input", inputs), ("output", [expected_dims(*inputs)])):
        for i, array in enumerate(arrays):
            proto = onnx.numpy_helper.from_array(array, "any")
            (tmp_path / f"{kind}_{i}.pb").write_bytes(proto.SerializeToString())
    assert run(f"--test-data={tmp_path}", "--rtol=1e-5", "--atol=1e-5")[0] == 0


def test_entries_share_weights(dims_model, tmp_path):
    sizes = []
    for dim in ({"batch": "4", "seq": "16"}, {"batch": "2,4,8", "seq": "16,32"}):
        out = qcc.compile(dims_model, tmp_path / f"{len(sizes)}.qcc", dim={**dim, "rows": "batch"})
        sizes.append(json.loads((out / "manifest.json").read_text())["memory"]["weights"])
    assert sizes[0] == sizes[1] > 0


def test_bounds_of_a_size(dims_model, tmp_path):
    out = qcc.compile(dims_model, tmp_path / "out.qcc", dim={"seq": "2..16", "batch": "1..", "rows": "1"})
    model = qcc.load(out, threads=1)
    x, y = f32(3, 16, 8), f32(1, 1, 8)
    np.testing.assert_allclose(model({"x": x, "y": y})["z"], expected_dims(x, y), rtol=1e-5, atol=1e-5)
    for batch, seq in ((3, 1), (3, 17), (0, 4)):
        with pytest.raises(qcc.QccError, match="seq|batch"):
            model({"x": f32(batch, seq, 8), "y": y})


@pytest.mark.parametrize("rule", ["batch=0", "batch=1,1", "batch=5..2", "batch=-3", "batch=", "nobody=3", "batch=2,x", "batch=rows,2"])
def test_bad_rules_are_refused(dims_model, tmp_path, rule):
    with pytest.raises(qcc.CompileError) as error:
        qcc.compile(dims_model, tmp_path / "out.qcc", dim=[rule])
    assert error.value.code == "QCC-E401"


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
