# Indices into dimensions without elements: nothing is read from them, the run ends with the node's name, or compiling does.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import re

import numpy as np
import onnx
import onnx.parser
import pytest
import qcc
from operator_checks import check, normal

F, I = np.float32, np.int64


def zeros(*shape):
    return np.zeros(shape, F)


def ints(*values):
    return np.array(values, I)


# Graph, opset, inputs that read from an empty dimension, inputs that compute nothing from it.
CASES = {
    "Gather": ("float[a,b] x, int64[k] i", "Gather(x, i)", 17, {"x": zeros(0, 4), "i": ints(0)}, {"x": zeros(0, 4), "i": ints()}),
    "Gather from the end": ("float[a,b] x, int64[k] i", "Gather(x, i)", 17, {"x": zeros(0, 4), "i": ints(-1)}, {"x": zeros(0, 0), "i": ints(-1)}),
    "Gather a plane": ("float[a,b] x", "Gather(x, one)", 17, {"x": zeros(0, 4)}, {"x": zeros(0, 0)}),
    "GatherElements": ("float[a,b] x, int64[c,d] i", "GatherElements<axis=1>(x, i)", 17,
                       {"x": zeros(3, 0), "i": np.zeros((2, 2), I)}, {"x": zeros(3, 0), "i": np.zeros((2, 0), I)}),
    "GatherND": ("float[a,b] x, int64[k,1] i", "GatherND(x, i)", 17, {"x": zeros(0, 4), "i": np.zeros((2, 1), I)}, {"x": zeros(0, 4), "i": np.zeros((0, 1), I)}),
    "Resize": ("float[a,b] x, int64[2] s", "Resize<mode=\"nearest\">(x, , , s)", 17, {"x": zeros(0, 4), "s": ints(6, 8)}, {"x": zeros(0, 4), "s": ints(0, 8)}),
    "Resize between": ("float[a,b] x, int64[2] s", "Resize<mode=\"linear\">(x, , , s)", 17, {"x": zeros(0, 4), "s": ints(6, 4)}, {"x": zeros(0, 4), "s": ints(0, 4)}),
    "Pad edge": ("float[a,b] x, int64[4] p", "Pad<mode=\"edge\">(x, p)", 19, {"x": zeros(0, 4), "p": ints(1, 0, 1, 0)}, {"x": zeros(0, 4), "p": ints(0, 1, 0, 0)}),
    "Pad reflect": ("float[a,b] x, int64[4] p", "Pad<mode=\"reflect\">(x, p)", 19, {"x": zeros(0, 4), "p": ints(1, 0, 1, 0)}, {"x": zeros(0, 4), "p": ints(0, 1, 0, 0)}),
    "Pad wrap": ("float[a,b] x, int64[4] p", "Pad<mode=\"wrap\">(x, p)", 19, {"x": zeros(0, 4), "p": ints(1, 0, 1, 0)}, {"x": zeros(0, 4), "p": ints(0, 1, 0, 0)}),
    "GridSample": ("float[n,2,h,w] x, float[n,r,c,2] g", "GridSample<padding_mode=\"border\">(x, g)", 20,
                   {"x": zeros(1, 2, 0, 3), "g": zeros(1, 4, 4, 2)}, {"x": zeros(1, 2, 0, 3), "g": zeros(1, 0, 4, 2)}),
    "RoiAlign": ("float[n,2,h,w] x, float[k,4] r, int64[k] i", "RoiAlign<output_height=2, output_width=2>(x, r, i)", 17,
                 {"x": zeros(1, 2, 0, 3), "r": zeros(1, 4), "i": ints(0)}, {"x": zeros(1, 2, 0, 3), "r": zeros(0, 4), "i": ints()}),
    "RoiAlign without images": ("float[n,2,h,w] x, float[k,4] r, int64[k] i", "RoiAlign(x, r, i)", 17,
                                {"x": zeros(0, 2, 3, 3), "r": zeros(1, 4), "i": ints(0)}, {"x": zeros(0, 2, 3, 3), "r": zeros(0, 4), "i": ints()}),
    "MaxRoiPool": ("float[n,1,h,w] x, float[k,5] r", "MaxRoiPool<pooled_shape=[2,2]>(x, r)", 17,
                   {"x": zeros(0, 1, 3, 3), "r": zeros(1, 5)}, {"x": zeros(0, 1, 3, 3), "r": zeros(0, 5)}),
    "RotaryEmbedding": ("float[b,2,t,8] x, float[m,4] c, float[m,4] s, int64[b,t] p", "RotaryEmbedding(x, c, s, p)", 23,
                        {"x": zeros(1, 2, 3, 8), "c": zeros(0, 4), "s": zeros(0, 4), "p": np.zeros((1, 3), I)},
                        {"x": zeros(1, 2, 0, 8), "c": zeros(0, 4), "s": zeros(0, 4), "p": np.zeros((1, 0), I)}),
    "NegativeLogLikelihoodLoss": ("float[n,c] x, int64[n] t", "NegativeLogLikelihoodLoss<reduction=\"none\">(x, t)", 17,
                                  {"x": zeros(3, 0), "t": ints(0, 0, 0)}, {"x": zeros(0, 0), "t": ints()}),
    "DeformConv": ("float[n,1,h,w] x, float[1,1,1,1] f, float[n,2,r,c] o", "DeformConv<pads=[1,0,1,0]>(x, f, o)", 19,
                   {"x": zeros(1, 1, 0, 3), "f": zeros(1, 1, 1, 1), "o": zeros(1, 2, 2, 3)},
                   {"x": zeros(0, 1, 0, 3), "f": zeros(1, 1, 1, 1), "o": zeros(0, 2, 2, 3)}),
}  # fmt: skip
NAMES = pytest.mark.parametrize("name", CASES)


def save(path, name, feed=None):
    """The graph of a case, with the sizes of a feed where one is given."""
    inputs, node, opset, _, _ = CASES[name]
    if feed:
        inputs = re.sub(r"\[[^]]*\] (\w+)", lambda m: f"[{','.join(map(str, feed[m[1]].shape))}] {m[1]}", inputs)
    text = f'<ir_version: 8, opset_import: ["" : {opset}]>\ng ({inputs}) => (float[] y) <int64 one = {{0}}> {{ y = {node} }}'
    model = onnx.parser.parse_model(text)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.node[0].name = "the_node"
    onnx.save(model, path)
    return path


@NAMES
def test_runs_end(tmp_path, name):
    bad, good = CASES[name][3:]
    compiled = qcc.load(qcc.compile(save(tmp_path / "m.onnx", name), tmp_path / "m.qcc"))
    with pytest.raises(qcc.QccError, match="node 'the_node': a value of its inputs is out of range"):
        compiled(bad)
    assert compiled(good)["y"].size == 0


@NAMES
def test_known_sizes(tmp_path, name):
    """What the sizes tell is refused before; what data tell of the result's ends the run."""
    bad, good = CASES[name][3:]
    model = save(tmp_path / "m.onnx", name, bad)
    if {"s", "p"} & bad.keys() and name != "RotaryEmbedding":
        compiled = qcc.load(qcc.compile(model, tmp_path / "m.qcc"))
        with pytest.raises(qcc.QccError, match="node 'the_node': a value of its inputs is out of range"):
            compiled(bad)
    else:
        with pytest.raises(qcc.CompileError, match=r"the_node.*expected elements to read, but got a dimension of size 0.*QCC-E103"):
            qcc.compile(model, tmp_path / "m.qcc")
    good_model = save(tmp_path / "good.onnx", name, good)
    assert qcc.load(qcc.compile(good_model, tmp_path / "good.qcc"))(good)["y"].size == 0


@pytest.mark.parametrize("nodes", [
    "y = Gather(table, zero)",
    "y = Resize<mode=\"nearest\">(table, , , sizes)",
    "shape = Shape(x) none = Slice(shape, zero, zero) size = Gather(none, zero) y = ConstantOfShape(size)",
])  # fmt: skip
def test_constants(tmp_path, nodes):
    """The same of tables and shapes, that the compiler computes with."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,3] x) => (float[a,b] y) <int64[1] zero = {{0}}, int64[2] sizes = {{6, 8}}> {{ {nodes} }}"""
    model = onnx.parser.parse_model(text)
    if "ConstantOfShape" in nodes:
        del model.graph.output[0].type.tensor_type.shape.dim[1:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(zeros(0, 4), "table"))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(qcc.CompileError, match=r"(Gather|Resize).*expected elements to read") as error:
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
    assert "QCC-E103" in str(error.value)


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
def test_known_padding(tmp_path, mode):
    text = f"""<ir_version: 8, opset_import: ["" : 19]>
    g (float[0,4] x) => (float[a,b] y) <int64[4] p = {{1, 0, 1, 0}}> {{ y = Pad<mode="{mode}">(x, p) }}"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    with pytest.raises(qcc.CompileError, match=r"\(Pad\): expected elements to pad with, but the dimension is empty.*QCC-E103"):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")


def test_padding_with_constants(tmp_path):
    """An empty tensor may be padded with a number: a cache that is filled later is."""
    def expected(x):
        return np.pad(x, ((1, 1), (0, 2)), constant_values=3)

    text = "g (float[a,b] x) => (float[c,d] y) <int64[4] p = {1, 0, 1, 2}, float three = {3}> { y = Pad(x, p, three) }"
    check(tmp_path, text, *({"x": normal(*s)} for s in ((0, 4), (3, 0), (0, 0), (3, 40))), expected=expected)


def test_cropping_and_padding(tmp_path):
    text = "g (float[a,b] x) => (float[c,d] y) <int64[2] s = {4, 6}> { y = CenterCropPad(x, s) }"
    check(tmp_path, text, *({"x": zeros(*s)} for s in ((0, 9), (0, 0), (3, 0))), expected=lambda x: zeros(4, 6), opset=18)


@pytest.mark.parametrize("sizes", ["2,0", "k,m"])
def test_scattering_nothing(tmp_path, sizes):
    text = f"g (float[3,4] x, int64[{sizes}] i, float[{sizes}] u) => (float[3,4] y) {{ y = ScatterElements(x, i, u) }}"
    check(tmp_path, text, {"x": normal(3, 4), "i": np.zeros((2, 0), I), "u": zeros(2, 0)}, expected=lambda x, i, u: x, opset=18)
    rows = f"g (float[3,4] x, int64[2,{sizes[-1]}] i, float[2,{sizes[-1]}] u) => (float[3,4] y) {{ y = ScatterElements(x, i, u) }}"
    check(tmp_path, rows, {"x": normal(3, 4), "i": np.zeros((2, 0), I), "u": zeros(2, 0)}, expected=lambda x, i, u: x, opset=18)
