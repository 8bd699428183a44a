# Averages and moves of codes in QDQ graphs: integers all the way, within one step of the definition in f64.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RNG = np.random.default_rng(5)
QCC = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
TYPES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


@dataclasses.dataclass
class Case:
    """Nodes in the middle of a QDQ graph from `x` to `y`, both of f32; emitters are some of those of the kernels that it becomes."""

    nodes: list[tuple]
    shape: tuple[int, ...]
    emitters: set[str]
    fixed: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    given: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    scales: tuple[float, float] = (0.031, 0.017)
    zeros: tuple[int, int] = (13, 7)
    dtype: type = np.uint8
    dims: tuple | None = None
    # Codes may be one off only where arithmetic in f32 leads to the other side of a middle.
    off: float = 0.01


def average(shape, emitters=frozenset({"depthwise.int8"}), **given):
    attributes = {k: v for k, v in given.items() if k not in ("scales", "zeros", "dtype", "dims")}
    rest = {k: v for k, v in given.items() if k in ("scales", "zeros", "dtype", "dims")}
    return Case([("AveragePool", ["x"], "y", attributes)], shape, set(emitters), **rest)


AXES = np.array([2, 3])
MOVE = {"scales": (0.031, 0.031), "zeros": (13, 13), "off": 0.0}
CASES = {
    "average": average((2, 24, 9, 11), kernel_shape=[3, 3], strides=[2, 2]),
    "average-signed": average((2, 24, 9, 11), kernel_shape=[3, 2], dtype=np.int8, zeros=(-5, 9)),
    "average-one-scale": average((1, 7, 8, 8), kernel_shape=[2, 2], strides=[2, 2], scales=(0.05, 0.05), zeros=(0, 0)),
    "average-padded": average((1, 33, 10, 7), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "average-padded-unevenly": average((1, 33, 10, 7), kernel_shape=[3, 4], pads=[0, 2, 1, 1], strides=[2, 1]),
    "average-with-padding": average((1, 33, 10, 7), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "average-ceil": average((1, 16, 10, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "average-ceil-padded": average((1, 16, 10, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    "average-same": average((1, 16, 10, 7), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "average-one-dimension": average((2, 20, 31), kernel_shape=[5], strides=[3]),
    "average-of-batches": average((3, 24, 9, 11), kernel_shape=[3, 3], dims=("N", 24, "H", "W")),
    "average-large": average((1, 8, 12, 12), {"pool"}, kernel_shape=[8, 8]),
    "global": Case([("GlobalAveragePool", ["x"], "y", {})], (2, 24, 7, 9), {"generic"}),
    "global-signed": Case([("GlobalAveragePool", ["x"], "y", {})], (2, 21, 14, 14), {"generic"}, dtype=np.int8, zeros=(-100, 3)),
    "mean": Case([("ReduceMean", ["x", "axes"], "y", {"keepdims": 0})], (2, 24, 7, 9), {"generic"}, fixed={"axes": AXES}),
    "mean-of-rows": Case([("ReduceMean", ["x", "axes"], "y", {})], (2, 5, 64), {"generic"}, fixed={"axes": np.array([-1])}),
    "sum": Case([("ReduceSum", ["x", "axes"], "y", {})], (2, 24, 5, 5), {"generic"}, fixed={"axes": AXES}, scales=(0.031, 0.4)),
    "global-any-size": Case([("GlobalAveragePool", ["x"], "y", {})], (2, 24, 7, 9), {"generic"}, dims=("N", 24, "H", "W")),
    "mean-any-size": Case(
        [("ReduceMean", ["x", "axes"], "y", {"keepdims": 0})], (3, 40, 21), {"generic"}, fixed={"axes": np.array([2])},
        dtype=np.int8, zeros=(-7, 3), dims=("N", 40, "T"),
    ),
    "global-flat": Case(
        [("GlobalAveragePool", ["x"], "p", {}), ("Flatten", ["p"], "y", {})], (3, 24, 7, 7), {"generic"}
    ),
    "slice": Case(
        [("Slice", ["x", "starts", "ends", "axes", "steps"], "y", {})], (2, 16, 9, 8), set(),
        fixed={"starts": np.array([1, 2]), "ends": np.array([9, 15]), "axes": np.array([2, 1]), "steps": np.array([2, 1])}, **MOVE,
    ),
    "gather-plane": Case(
        [("Gather", ["x", "at"], "y", {"axis": 1})], (2, 16, 9, 8), set(), fixed={"at": np.array(3)}, **MOVE
    ),
    "gather": Case(
        [("Gather", ["x", "at"], "y", {"axis": 1})], (2, 16, 40), {"generic"}, given={"at": np.array([3, -1, 0, 15])}, **MOVE
    ),
    "gather-elements": Case(
        [("GatherElements", ["x", "at"], "y", {"axis": 1})], (4, 16), {"generic"},
        given={"at": RNG.integers(-16, 16, (4, 9))}, **MOVE,
    ),
    "shuffle": Case(
        [
            ("Reshape", ["x", "parts"], "a", {}), ("Transpose", ["a"], "b", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", ["b", "whole"], "c", {}), ("Slice", ["c", "from", "to", "axis"], "y", {}),
        ],
        (1, 16, 5, 6), set(),
        fixed={"parts": np.array([1, 2, 8, 5, 6]), "whole": np.array([1, 16, 5, 6]), "from": np.array([8]), "to": np.array([16]), "axis": np.array([1])},
        **MOVE,
    ),
    "slice-to-other-scale": Case(
        [("Slice", ["x", "from", "to", "axis"], "y", {})], (2, 16, 9, 8), set(),
        fixed={"from": np.array([4]), "to": np.array([12]), "axis": np.array([1])},
    ),
}  # fmt: skip


def linear(op, name, given, code):
    return helper.make_node(op, [given, f"{code}/scale", f"{code}/zero"], [name])


def build(case):
    """codes -> DequantizeLinear -> the nodes -> QuantizeLinear -> codes."""
    element = TYPES[case.dtype]
    nodes = [linear("DequantizeLinear", "x", "codes", "a")]
    nodes += [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in case.nodes]
    nodes.append(linear("QuantizeLinear", "result", "y", "b"))
    fixed = dict(case.fixed)
    for name, scale, zero in zip("ab", case.scales, case.zeros):
        fixed |= {f"{name}/scale": np.array(scale, np.float32), f"{name}/zero": np.array(zero, case.dtype)}
    inputs = [helper.make_tensor_value_info("codes", element, case.dims or case.shape)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT64, array.shape) for name, array in case.given.items()]
    outputs = [helper.make_tensor_value_info("result", element, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in fixed.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def expected(case, codes):
    """In f64; steps of the result's codes before they are rounded."""
    (a, b), (za, zb) = case.scales, case.zeros
    x = (codes.astype(np.float64) - za) * float(np.float32(a))
    nodes = [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in case.nodes]
    fixed = [numpy_helper.from_array(array, name) for name, array in {**case.fixed, **case.given}.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.DOUBLE, None)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)], fixed,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    return np.asarray(y) / float(np.float32(b)) + zb


def emitters(artifact):
    return {kernel["emitter"] for kernel in json.loads((artifact / "report.json").read_text())["kernels"]}


def print_stage(model, stage):
    return subprocess.run([QCC, model, f"--emit={stage}", "-o", "-", "--target=avx2"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", CASES)
def test_codes(tmp_path, name):
    case = CASES[name]
    onnx.save(build(case), tmp_path / "m.onnx")
    compiled = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", target="avx2"))
    limits = np.iinfo(case.dtype)
    codes = RNG.integers(limits.min, limits.max + 1, case.shape).astype(case.dtype)
    if name.startswith("average-of-batches"):
        assert len(compiled({"codes": codes[:1, :, :5, :4]})["result"]) == 1
    got = compiled({"codes": codes, **case.given})["result"]
    want = np.clip(expected(case, codes), limits.min, limits.max)
    assert got.shape == want.shape
    steps = np.abs(got.astype(int) - np.rint(want))
    assert steps.max() <= 1 and np.mean(steps > 0) <= case.off, (name, steps.max(), np.mean(steps > 0))
    # Where it is another code, the value lies in the middle of two.
    assert np.all(np.abs(got - want) <= 0.5 + 1e-4)
    assert case.emitters <= emitters(tmp_path / "m.qcc")
    # Nothing is stored as floats between codes and codes.
    stored = re.findall(r"= qcc.dispatch.* -> tensor<([^,>]*)", print_stage(tmp_path / "m.onnx", "fuse"))
    # Windows that no kernel takes are; of any size, sums of whole images are, one for each channel.
    floats = {"average-large": stored, "global-any-size": ["?x24xf32"]}.get(name, [])
    assert stored and all(text in floats for text in stored if text.endswith("f32")), stored


@pytest.mark.parametrize("name", ["average-padded", "global-signed", "gather", "slice", "shuffle"])
def test_reference_target(tmp_path, name):
    """Scalar loops give the same codes."""
    case = CASES[name]
    onnx.save(build(case), tmp_path / "m.onnx")
    runs = [qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / target, target=target)) for target in ("avx2", "reference")]
    limits = np.iinfo(case.dtype)
    codes = RNG.integers(limits.min, limits.max + 1, case.shape).astype(case.dtype)
    first, second = (run({"codes": codes, **case.given})["result"] for run in runs)
    assert np.abs(first.astype(int) - second).max() <= 1
    assert np.mean(first != second) <= case.off


def test_no_floats_between(tmp_path):
    """Between an average and what made its codes nothing is stored as floats."""
    case = CASES["average"]
    onnx.save(build(case), tmp_path / "m.onnx")
    qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", target="avx2")
    report = json.loads((tmp_path / "m.qcc" / "report.json").read_text())
    pooled = [op for op in report["ops"] if op["executed"] == "int8"]
    assert len(pooled) == 1 and pooled[0]["reason"] == "averages codes"


def network():
    """Two convolutions with an average behind each, a product at the end."""
    rng = np.random.default_rng(2)
    weights = {
        "w": rng.standard_normal((64, 16, 3, 3)) / 12, "v": rng.standard_normal((128, 64, 3, 3)) / 24,
        "u": rng.standard_normal((128, 32)) / 11,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "v"], ["d"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]), helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("MatMul", ["g", "u"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_calibrated(tmp_path):
    """What is averaged gets codes, also in the model that is written, which ONNX Runtime runs."""
    onnx.save(network(), tmp_path / "m.onnx")
    x = np.random.default_rng(3).standard_normal((24, 16, 28, 28)).astype(np.float32)
    np.savez(tmp_path / "c.npz", x=x[:16])
    flags = {"precision": "int8", "calib": tmp_path / "c.npz", "target": "avx2"}
    low = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "int8", **flags))
    exact = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "f32"))
    command = [QCC, tmp_path / "m.onnx", "--precision=int8", f"--calib={tmp_path / 'c.npz'}", "--target=avx2", "-q"]
    subprocess.run([*command, "--emit=qdq-onnx", "-o", tmp_path / "q.onnx"], check=True)
    written = onnx.load(tmp_path / "q.onnx")
    rounded = {node.output[0]: node.input[0] for node in written.graph.node if node.op_type == "QuantizeLinear"}
    assert set(rounded.values()) == {"x", "b", "c", "e", "g"}
    again = qcc.load(qcc.compile(tmp_path / "q.onnx", tmp_path / "again", target="avx2"))
    peer = onnxruntime.InferenceSession(written.SerializeToString())
    got, same, want = (run({"x": x[16:]})["y"] for run in (low, again, exact))
    assert np.abs(got - same).max() <= 1e-5 * np.abs(got).max()
    (other,) = peer.run(None, {"x": x[16:]})
    for reference in (want, other):
        assert np.sum(got * reference) >= 0.999 * np.linalg.norm(got) * np.linalg.norm(reference)
    stored = subprocess.run([*command, "--emit=fuse", "-o", "-"], check=True, capture_output=True, text=True).stdout
    types = re.findall(r"= qcc.dispatch.* -> (tensor<.*)", stored)
    assert sum("f32" in text for text in types) == 1, types


def test_factors_and_summands_of_products_stay_floats(tmp_path):
    """The cell of an LSTM: nothing reads codes of its gates, so calibrated int8 rounds what products read and nothing else."""
    tensors = {name: (RNG.standard_normal((32, 48)) / 6).astype(np.float32) for name in ("f", "i", "g", "o")}
    nodes = [helper.make_node("MatMul", ["x", name], [f"{name}0"], f"product_{name}") for name in tensors]
    nodes += [helper.make_node("Tanh" if name == "g" else "Sigmoid", [f"{name}0"], [f"{name}1"]) for name in tensors]
    nodes += [
        helper.make_node("Mul", ["f1", "c"], ["fc"], "fc"), helper.make_node("Mul", ["i1", "g1"], ["ig"], "ig"),
        helper.make_node("Add", ["fc", "ig"], ["cell"], "cell"), helper.make_node("Tanh", ["cell"], ["t"]),
        helper.make_node("Mul", ["o1", "t"], ["h"], "h"),
    ]  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, [1, 32]), info("c", TensorProto.FLOAT, [1, 48])],
        [info("h", TensorProto.FLOAT, None), info("cell", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "m.onnx")
    samples = {"x": RNG.standard_normal((64, 1, 32)), "c": RNG.standard_normal((64, 1, 48))}
    (tmp_path / "c").mkdir()
    for i in range(64):
        np.savez(tmp_path / "c" / f"{i}.npz", **{name: array[i].astype(np.float32) for name, array in samples.items()})
    command = [QCC, tmp_path / "m.onnx", "-q", "--target=avx2", "--precision=int8", f"--calib={tmp_path / 'c'}", "--min-cos=0"]
    subprocess.run([*command, "--emit=qdq-onnx", "-o", tmp_path / "q.onnx"], check=True)
    written = onnx.load(tmp_path / "q.onnx").graph
    rounded = {node.input[0] for node in written.node if node.op_type == "QuantizeLinear"} - set(tensors)
    assert rounded == {"x"}
