# What --emit=qdq-onnx makes of batch normalisation, of weights behind a Reshape and of constants that codes replace.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(11)


def norm_weights(name, channels):
    """Gains, shifts, means and variances."""
    values = {"g": RNG.uniform(0.3, 3, channels), "b": RNG.standard_normal(channels) / 2, "m": RNG.standard_normal(channels) / 4,
              "v": RNG.uniform(0.5, 2, channels)}  # fmt: skip
    return {f"{name}{key}": value for key, value in values.items()}


def save(path):
    """Convolutions with a normalisation behind them: with and without a bias, and one that another node reads too."""
    weights = {
        "w": RNG.standard_normal((48, 24, 3, 3)) / 15, "wb": RNG.standard_normal(48), "v": RNG.standard_normal((64, 48, 3, 3)) / 21,
        "u": RNG.standard_normal((64, 64, 1, 1)) / 8, "r": RNG.standard_normal((8, 8, 80)) / 8,
        **norm_weights("1", 48), **norm_weights("2", 64), **norm_weights("3", 64),
    }  # fmt: skip
    def norm(source, target, name):
        return helper.make_node("BatchNormalization", [source, *(name + key for key in "gbmv")], [target], f"norm{name}")

    nodes = [
        helper.make_node("Conv", ["x", "w", "wb"], ["a"], "biased", pads=[1, 1, 1, 1]), norm("a", "b", "1"), helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "v"], ["d"], "plain"), norm("d", "e", "2"), helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("Conv", ["f", "u"], ["h"], "shared"), norm("h", "i", "3"), helper.make_node("Add", ["h", "i"], ["j"]),
        helper.make_node("GlobalAveragePool", ["j"], ["k"]), helper.make_node("Flatten", ["k"], ["l"]),
        helper.make_node("Reshape", ["r", "shape"], ["rr"]), helper.make_node("MatMul", ["l", "rr"], ["y"], "reshaped"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 24, 20, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 80])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()]
        + [numpy_helper.from_array(np.int64([64, 80]), "shape")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    save(folder / "m.onnx")
    x = np.random.default_rng(5).random((24, 24, 20, 20), np.float32)
    np.savez(folder / "c.npz", x=x[:16])
    np.save(folder / "x.npy", x[16:])
    flags = {"precision": "int8", "calib": folder / "c.npz"}
    qcc.compile(folder / "m.onnx", folder / "int8", **flags)
    qcc.compile(folder / "m.onnx", folder / "written.onnx", emit="qdq-onnx", **flags)
    qcc.compile(folder / "written.onnx", folder / "again")
    return folder


def test_normalisations_become_biases(folder):
    graph = onnx.load(folder / "written.onnx").graph
    names = {node.name: node for node in graph.node}
    norms = [node.name for node in graph.node if node.op_type == "BatchNormalization"]
    assert norms == ["norm3"], "the one behind a convolution that another node reads stays"
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(folder / "m.onnx").graph.initializer}
    have = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for conv, norm, bias in (("biased", "1", weights["wb"]), ("plain", "2", 0)):
        gain = weights[f"{norm}g"] / np.sqrt(weights[f"{norm}v"] + 1e-5)
        shift = (bias - weights[f"{norm}m"]) * gain + weights[f"{norm}b"]
        # What int8 does to the means is corrected in it.
        np.testing.assert_allclose(have[names[conv].input[2]], shift, atol=0.05)
    assert names["plain"].output[0] == "e"


def test_nothing_is_left_over(folder):
    graph = onnx.load(folder / "written.onnx").graph
    reads = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= reads
    assert not any(node.op_type == "Reshape" for node in graph.node)
    assert (folder / "written.onnx").stat().st_size < 0.4 * (folder / "m.onnx").stat().st_size


def test_same_decisions(folder):
    x = np.load(folder / "x.npy")
    report = json.loads((folder / "int8" / "report.json").read_text())
    executed = {op["node"]: op["executed"] for op in report["ops"] if op["node"] in ("biased", "plain", "shared", "reshaped")}
    assert executed["biased"] == executed["plain"] == "int8"
    got, again = (qcc.load(folder / name)({"x": x})["y"] for name in ("int8", "again"))
    np.testing.assert_allclose(got, again, atol=1e-5 * np.abs(got).max())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    peer = onnxruntime.InferenceSession(folder / "written.onnx", options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    exact = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    for other in (peer, exact):
        assert np.abs(got - other).max() < 0.02 * np.abs(other).max()


def test_report_tells_codes(folder, tmp_path):
    """Operations without weights run in int8 where they make codes; bytes of the model's own are no codes."""
    def told(artifact):
        return [(op["op"], op["executed"], op["reason"]) for op in json.loads((artifact / "report.json").read_text())["ops"]]

    assert ("qcc.generic", "int8", "as asked: rounds to codes") in told(folder / "int8")
    nodes = [helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT), helper.make_node("MatMul", ["a", "w"], ["b"]),
             helper.make_node("Relu", ["b"], ["c"]), helper.make_node("Cast", ["c"], ["y"], to=TensorProto.UINT8)]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 128])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["N", 64])],
        [numpy_helper.from_array(RNG.random((128, 64), np.float32) / 128, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / "bytes.onnx")
    qcc.compile(tmp_path / "bytes.onnx", tmp_path / "bytes", precision="w4a16")
    others = [line for line in told(tmp_path / "bytes") if line[1] != "w4a16"]
    assert others and {line[1:] for line in others} == {("f32", "kept: not a quantized operation")}


@pytest.mark.parametrize("flags", [{}, {"calib": "c.npz"}, {"calib": "c.npz", "min_cos": 0}, {"calib": "c.npz", "algo": ["smoothquant"]}],
                         ids=["without data", "with data", "nothing kept", "with an algorithm"])  # fmt: skip
def test_int8_leaves_codes_as_they_are(folder, tmp_path, flags):
    """What is in integers already is not rounded a second time."""
    if "calib" in flags:
        flags = {**flags, "calib": folder / flags["calib"]}
    x = np.load(folder / "x.npy")
    artifact = qcc.compile(folder / "written.onnx", tmp_path / "m.qcc", precision="int8", **flags)
    ops = [op for op in json.loads((artifact / "report.json").read_text())["ops"] if op["op"] in ("qcc.int_conv", "qcc.int_matmul")]
    assert [(op["executed"], op["reason"]) for op in ops] == [("int8", "as in the model")] * 4
    np.testing.assert_array_equal(*(next(iter(qcc.load(path)({"x": x}).values())) for path in (artifact, folder / "again")))


def test_weights_of_codes_take_part_in_algorithms(tmp_path):
    """A weight that is dequantized, and read by a layer whose input is not, is a weight as others are."""
    codes, scale = RNG.integers(-127, 128, (48, 40), dtype=np.int8), (RNG.random(40, np.float32) + 0.5) / 500
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1), helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 48])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 40])],
                              [numpy_helper.from_array(codes, "q"), numpy_helper.from_array(scale, "s")])  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / "m.onnx")
    x = RNG.standard_normal((200, 48), dtype=np.float32)
    np.savez(tmp_path / "c.npz", x=x[:160])
    want = x[160:] @ (codes * scale)
    for precision, flags in (("int8", {}), ("w4a8", {}), ("w4a16:g16", {"algo": ["gptq"]})):
        artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / precision.replace(":", "-"), precision=precision, calib=tmp_path / "c.npz", **flags)
        (op,) = (op for op in json.loads((artifact / "report.json").read_text())["ops"] if op["op"] in ("qcc.int_matmul", "qcc.qmatmul"))
        assert op["executed"] == precision and op["reason"] == "as asked"
        got = qcc.load(artifact)({"x": x[160:]})["y"]
        assert np.abs(got - want).max() < (0.02 if precision == "int8" else 0.25) * np.abs(want).max()


@pytest.mark.parametrize("is_direct", [False, True])
def test_readers_behind_moves(tmp_path, is_direct):
    """A product reads an activation behind nodes that only move its elements, as unrolled recurrent layers do: its codes are made there."""
    rng = np.random.default_rng(3)
    weights = {"w": rng.standard_normal((32, 32)) / 6, "v": rng.standard_normal((32, 32)) / 6, "u": rng.standard_normal((32, 32)) / 6}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"), helper.make_node("Sigmoid", ["a"], ["b"], "gate"),
        helper.make_node("Unsqueeze", ["b", "zero"], ["c"], "wrap"), helper.make_node("Concat", ["c"], ["d"], "stack", axis=0),
        helper.make_node("Split", ["d"], ["e"], "unstack", axis=0), helper.make_node("Squeeze", ["e", "zero"], ["f"], "unwrap"),
        helper.make_node("MatMul", ["f", "v"], ["g"], "second"),
        helper.make_node("MatMul", ["b" if is_direct else "f", "u"], ["h"], "third"), helper.make_node("Add", ["g", "h"], ["y"], "sum"),
    ]  # fmt: skip
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()] + [numpy_helper.from_array(np.zeros(1, np.int64), "zero")]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 32])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 32])], constants,
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    x = rng.standard_normal((16, 4, 32)).astype(np.float32)
    (tmp_path / "c").mkdir()
    for i, sample in enumerate(x):
        np.savez(tmp_path / "c" / f"{i}.npz", x=sample)
    flags = {"precision": "int8", "calib": tmp_path / "c", "min_cos": 0}
    qcc.compile(path, tmp_path / "qdq.onnx", emit="qdq-onnx", **flags)
    qcc.compile(path, tmp_path / "int8", **flags)
    written = onnx.load(tmp_path / "qdq.onnx").graph
    makers = {output: node for node in written.node for output in node.output}
    for name in ("second", "third"):
        (node,) = [node for node in written.node if node.name == name]
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    theirs = onnxruntime.InferenceSession(tmp_path / "qdq.onnx").run(None, {"x": x[0]})[0]
    np.testing.assert_allclose(qcc.load(tmp_path / "int8")([x[0]])["y"], theirs, atol=0.02)


def test_codes_inside_of_a_node_are_told(tmp_path):
    """Vectors become matrices inside of their products: no tensor of the file has the codes."""
    weight = onnx.numpy_helper.from_array(np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"], "first"), helper.make_node("MatMul", ["a", "w"], ["y"], "second")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [64])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones(64, np.float32))
    with pytest.raises(qcc.CompileError, match="node '(first|second)': expected codes of a tensor of the model, but they are of a value inside of the node; leave it in"):
        qcc.compile(tmp_path / "m.onnx", tmp_path / "out.onnx", precision="int8", calib=tmp_path / "data.npz", emit="qdq-onnx")
