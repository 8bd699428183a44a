# Axes, steps and parts that are no such: an error with the node's name, when compiling or when running.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import numpy as np
import pytest
import qcc
from operator_checks import compile_text, normal

F, I = np.float32, np.int64


def ints(*values):
    return np.array(values, I)


SLICE = "g (float[a,b] x, int64[2] s, int64[2] e, int64[2] axes, int64[2] steps) => (float[c,d] y) { [the_node] y = Slice(x, s, e, axes, steps) }"


@pytest.mark.parametrize(("axes", "steps", "fits"), [
    ((0, 1), (1, 1), True), ((1, 0), (-1, 2), True), ((-1, -2), (2, 1), True),
    ((0, 1), (1, 0), False), ((0, 2), (1, 1), False), ((-3, 1), (1, 1), False), ((1, 1), (1, 1), False), ((1, -1), (1, 1), False),
])  # fmt: skip
def test_slice(tmp_path, axes, steps, fits):
    _, compiled = compile_text(tmp_path, SLICE)
    x, first, last = normal(4, 5), [0 if s > 0 else -1 for s in steps], [99 if s > 0 else -99 for s in steps]
    inputs = {"x": x, "s": ints(*first), "e": ints(*last), "axes": ints(*axes), "steps": ints(*steps)}
    if not fits:
        with pytest.raises(qcc.QccError, match="node 'the_node': a value of its inputs is out of range"):
            compiled(inputs)
        return
    cut = [slice(None)] * 2
    for axis, step in zip(axes, steps, strict=True):
        cut[axis] = slice(None, None, step)
    np.testing.assert_array_equal(compiled(inputs)["y"], x[tuple(cut)])


@pytest.mark.parametrize(("axes", "steps", "text"), [
    ("0, 0", "1, 1", "expected each axis once, but got 0 twice"), ("1, -1", "1, 1", "expected each axis once, but got 1 twice"),
    ("0, 2", "1, 1", "expected an axis in"), ("0, 1", "1, 0", "expected steps other than 0"),
])  # fmt: skip
@pytest.mark.parametrize("bounds", ["int64[2] s = {0, 0}, int64[2] e = {3, 3},", ""])
def test_slice_of_known_axes(tmp_path, axes, steps, text, bounds):
    inputs = "float[a,b] x" + ("" if bounds else ", int64[2] s, int64[2] e")
    graph = f"g ({inputs}) => (float[c,d] y) <{bounds} int64[2] axes = {{{axes}}}, int64[2] steps = {{{steps}}}> {{ [the_node] y = Slice(x, s, e, axes, steps) }}"
    with pytest.raises(qcc.CompileError, match=text) as error:
        compile_text(tmp_path, graph)
    assert "the_node" in str(error.value) and "QCC-E106" in str(error.value)


@pytest.mark.parametrize("axis", [2, -3, 5, 1 << 40])
@pytest.mark.parametrize(("op", "shape"), [("CumSum", (3, 4)), ("CumSum", (3,)), ("DFT", (2, 5, 1))])
def test_axis(tmp_path, op, shape, axis):
    if axis == 2 and len(shape) < 2:
        axis = 1
    sizes, same = ",".join(map(str, shape)), ",".join(map(str, shape[:-1] + (2,)))
    node = "y = CumSum(x, axis)" if op == "CumSum" else "y = DFT(x, , axis)"
    graph = f"g (float[{sizes}] x, int64 axis) => (float[{sizes if op == 'CumSum' else same}] y) {{ [the_node] {node} }}"
    _, compiled = compile_text(tmp_path, graph, opset=20)
    if op == "DFT" and axis == -3:
        axis = -4
    with pytest.raises(qcc.QccError, match="node 'the_node': a value of its inputs is out of range"):
        compiled({"x": normal(*shape), "axis": np.array(axis, I)})
    compiled({"x": normal(*shape), "axis": np.array(0, I)})


@pytest.mark.parametrize("keeps", [0, 1])
@pytest.mark.parametrize(("axes", "fits"), [((0, 1), True), ((-1, 1), True), ((0, 3), False), ((0, 0), False), ((2, -1), False), ((-4, 1), False)])
def test_reduced_axes(tmp_path, keeps, axes, fits):
    """A result with fewer elements than are combined in it would be written beyond its end."""
    graph = f"g (float[a,b,c] x, int64[2] axes) => (float[{'d,e,f' if keeps else 'd'}] y) {{ [the_node] y = ReduceSum<keepdims={keeps}>(x, axes) }}"
    _, compiled = compile_text(tmp_path, graph)
    x = normal(3, 4, 5)
    if fits:
        np.testing.assert_allclose(compiled({"x": x, "axes": ints(*axes)})["y"], x.sum(axis=axes, keepdims=bool(keeps)), rtol=1e-5, atol=1e-5)
        return
    with pytest.raises(qcc.QccError, match="node 'the_node': a value of its inputs is out of range"):
        compiled({"x": x, "axes": ints(*axes)})


@pytest.mark.parametrize("opset", [11, 17])
def test_equal_parts(tmp_path, opset):
    graph = "g (float[{n},4] x) => (float[a,b] y, float[c,d] z) {{ [the_node] y, z = Split(x) }}"
    with pytest.raises(qcc.CompileError, match="the_node.*expected a dimension that splits into 2 equal parts, but got 3"):
        compile_text(tmp_path, graph.format(n=3), opset=opset)
    _, compiled = compile_text(tmp_path, graph.format(n="n"), opset=opset)
    x = normal(4, 4)
    np.testing.assert_array_equal(np.concatenate(list(compiled({"x": x}).values())), x)
    with pytest.raises(qcc.QccError, match="node 'the_node': a value of its inputs is out of range"):
        compiled({"x": normal(3, 4)})


@pytest.mark.parametrize("nodes", ["y = Gather(x, seven)", "shape = Shape(x) y = Gather(shape, seven)", "y = GatherElements(x, seven)"])
def test_constant_index_of_nothing(tmp_path, nodes):
    """An error where the node runs in other runtimes; a branch may never be taken, so compiling goes on."""
    text = nodes.replace("y = ", "[the_node] y = ")
    kind = "int64" if "Shape" in nodes else "float"
    with pytest.warns(qcc.CompileWarning, match=r"the_node.*expected indices in \[-[13], [13]\), but got 7: the nearest element is read"):
        compile_text(tmp_path, f"g (float[3] x) => ({kind}[1] y) <int64[1] seven = {{7}}> {{ {text} }}")


def test_size_that_cannot_be_counted(tmp_path):
    graph = "g (int64[3] shape, int64 axis) => (float y) { [the_node] z = ConstantOfShape(shape) c = CumSum(z, axis) y = ReduceMax <keepdims = 0> (c) }"
    _, compiled = compile_text(tmp_path, graph)
    assert compiled({"shape": ints(2, 3, 4), "axis": np.array(0, I)})["y"] == 0
    says = "node 'the_node': expected a size that can be counted, but its inputs give one that is negative or too large"
    with pytest.raises(qcc.QccError, match=says):
        compiled({"shape": ints(*[1 << 39] * 3), "axis": np.array(0, I)})
