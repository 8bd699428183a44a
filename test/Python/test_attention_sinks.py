# Attention whose softmax has one more score for each head, as gpt-oss is exported.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from mixtures import NODE, save
from onnx import TensorProto


def make_model(folder, depth=16, shift=True, mask=True, heads=3):
    """Scores, those of sinks, a softmax of both, and values weighted by the former."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / depth**0.5),
        "sink": rng.standard_normal((1, heads, 1, 1)).astype(np.float32),
        "first": np.array([0], np.int64),
        "last": np.array([-1], np.int64),
        "axis": np.array([3], np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        NODE("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        NODE("MatMul", ["q", "kt"], ["raw"]),
        NODE("Mul", ["raw", "scale"], ["scaled"]),
        NODE("Add", ["scaled", "mask"], ["scores"]) if mask else NODE("Identity", ["scaled"], ["scores"]),
        NODE("Shape", ["q"], ["sizes"], start=0, end=3),
        NODE("Concat", ["sizes", "one"], ["to"], axis=0),
        NODE("Expand", ["sink", "to"], ["column"]),
        NODE("Concat", ["scores", "column"], ["all"], axis=3),
    ]
    if shift:
        nodes += [NODE("ReduceMax", ["all", "last"], ["top"]), NODE("Sub", ["all", "top"], ["read"])]
    nodes += [
        NODE("Softmax", ["read" if shift else "all"], ["both"], axis=-1),
        NODE("Slice", ["both", "first", "last", "axis"], ["weights"]),
        NODE("MatMul", ["weights", "v"], ["y"], name="attend"),
    ]
    shapes = {"q": ["b", heads, "s", depth], "k": ["b", heads, "t", depth], "v": ["b", heads, "t", depth]}
    if mask:
        shapes["mask"] = ["b", 1, "s", "t"]
    used = {name for node in nodes for name in node.input}
    inputs = [(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    constants = {name: value for name, value in constants.items() if name in used}
    return save(folder, nodes, constants, inputs, [("y", TensorProto.FLOAT, ["b", heads, "s", depth])])


def make_inputs(queries, keys, depth=16, mask=True, seed=1, heads=3):
    rng = np.random.default_rng(seed)
    arrays = {name: rng.standard_normal((2, heads, n, depth)).astype(np.float32) for name, n in (("q", queries), ("k", keys), ("v", keys))}
    if mask:
        seen = rng.random((2, 1, queries, keys)) < 0.7
        arrays["mask"] = np.where(seen, 0, np.finfo(np.float32).min).astype(np.float32)
    return arrays


def check(path, artifact, arrays, bound):
    want = onnxruntime.InferenceSession(path).run(None, arrays)[0]
    got = qcc.load(artifact)(arrays)["y"]
    assert np.abs(got - want).max() <= bound * np.abs(want).max()


def count_attentions(artifact):
    return sum(op["op"] == "qcc.attention" for op in json.loads((artifact / "report.json").read_text())["ops"])


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_sinks(tmp_path, shift, mask):
    path = make_model(tmp_path, shift=shift, mask=mask)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert count_attentions(artifact) == 1
    for queries, keys in ((1, 1), (1, 40), (5, 5), (70, 200)):
        check(path, artifact, make_inputs(queries, keys, mask=mask), 2e-6)


def test_heads_that_no_kernel_takes(tmp_path):
    """More than 256 elements: the operation's definition is compiled."""
    path = make_model(tmp_path, depth=260)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    check(path, artifact, make_inputs(7, 30, depth=260), 5e-6)


def test_codes(tmp_path):
    path = make_model(tmp_path, depth=64, mask=False)
    np.savez(tmp_path / "samples.npz", **make_inputs(128, 256, depth=64, mask=False, seed=4))
    artifact = qcc.compile(path, tmp_path / "m.qcc", precision="int8", calib=[tmp_path / "samples.npz"])
    (op,) = [op for op in json.loads((artifact / "report.json").read_text())["ops"] if op["op"] == "qcc.attention"]
    assert op["executed"] in ("int8", "f32") and op["reason"]
    check(path, artifact, make_inputs(100, 256, depth=64, mask=False), 0.02)


def test_sinks_of_other_forms(tmp_path):
    """What is kept is not all that scores are: no attention, and right all the same."""
    path = make_model(tmp_path)
    model = onnx.load(path)
    cut = next(node for node in model.graph.node if node.op_type == "Slice")
    cut.input[1], cut.input[2] = "one", "far"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**40], np.int64), "far"))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, path)
    artifact = qcc.compile(path, tmp_path / "m.qcc")
    assert count_attentions(artifact) == 0
    check(path, artifact, make_inputs(6, 9), 2e-6)
