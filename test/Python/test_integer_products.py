# Integer products of two activations are exact, on kernels for bytes.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

TYPES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


def save(path: pathlib.Path, lhs: np.ndarray, rhs: np.ndarray, zeros: tuple, constant: bool) -> None:
    """MatMulInteger of two inputs; zero points are constants, inputs, or (None) left out."""
    inputs = [helper.make_tensor_value_info(name, TYPES[x.dtype.type], x.shape) for name, x in (("a", lhs), ("b", rhs))]
    names, initializers = ["a", "b"], []
    for name, zero, x in (("az", zeros[0], lhs), ("bz", zeros[1], rhs)):
        names.append("" if zero is None else name)
        if zero is None:
            continue
        if constant:
            initializers.append(numpy_helper.from_array(x.dtype.type(zero), name))
        else:
            inputs.append(helper.make_tensor_value_info(name, TYPES[x.dtype.type], []))
    node = helper.make_node("MatMulInteger", names, ["y"], name="product")
    output = helper.make_tensor_value_info("y", TensorProto.INT32, None)
    graph = helper.make_graph([node], "g", inputs, [output], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


CASES = {
    "signed": (np.int8, np.int8, 64, (None, None), True),
    "centred": (np.uint8, np.uint8, 1024, (128, 128), True),
    "in blocks": (np.uint8, np.int8, 1500, (0, None), True),
    "far zero points": (np.uint8, np.int8, 700, (255, -128), True),
    "zero points that are not known": (np.uint8, np.uint8, 259, (255, 0), False),
    "in many blocks": (np.uint8, np.uint8, 5000, (255, 0), True),
}


@pytest.mark.parametrize("name", CASES)
def test_product(tmp_path, name):
    first, second, rows, zeros, constant = CASES[name]
    rng = np.random.default_rng(1)
    lhs, rhs = (rng.integers(np.iinfo(t).min, np.iinfo(t).max + 1, shape).astype(t) for t, shape in ((first, (2, 5, rows)), (second, (2, rows, 19))))
    # The largest sums that there can be.
    lhs[0, 0], rhs[0, :, 0] = (np.iinfo(t).min if zero == np.iinfo(t).max else np.iinfo(t).max for t, zero in ((first, zeros[0]), (second, zeros[1])))
    lhs[0, 1], rhs[0, :, 1] = np.iinfo(first).min, np.iinfo(second).min
    save(tmp_path / "m.onnx", lhs, rhs, zeros, constant)
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="native")
    feed = {"a": lhs, "b": rhs} | ({} if constant else {"az": first(zeros[0]), "bz": second(zeros[1])})
    exact = (lhs.astype(np.int64) - (zeros[0] or 0)) @ (rhs.astype(np.int64) - (zeros[1] or 0))
    assert np.array_equal(qcc.load(tmp_path / "artifact")(feed)["y"], exact)
    ops = [op for op in json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"] if "matmul" in op["op"]]
    assert [(op["executed"], op["reason"], op["kernel"].split("_", 1)[1]) for op in ops] == [("int8", "as in the model", "batch_dot")]


def test_weight_of_several_matrices(tmp_path):
    """As attention with a constant of its own has."""
    rng = np.random.default_rng(2)
    weight = rng.integers(-128, 128, (3, 40, 17)).astype(np.int8)
    node = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("a", TensorProto.UINT8, [3, "n", 40])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="native")
    x = rng.integers(0, 256, (3, 6, 40)).astype(np.uint8)
    assert np.array_equal(qcc.load(tmp_path / "artifact")({"a": x})["y"], x.astype(np.int64) @ weight.astype(np.int64))
    (op,) = [op for op in json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"] if "matmul" in op["op"]]
    assert op["kernel"].endswith("_batch_dot")


def test_zero_points_of_rows_have_no_kernel(tmp_path):
    """The report says so, and the result is that of the definition."""
    rng = np.random.default_rng(3)
    lhs, rhs = rng.integers(0, 256, (5, 12)).astype(np.uint8), rng.integers(-128, 128, (12, 7)).astype(np.int8)
    zeros = rng.integers(0, 256, 5).astype(np.uint8)
    node = helper.make_node("MatMulInteger", ["a", "b", "z"], ["y"])
    inputs = [helper.make_tensor_value_info(name, TYPES[x.dtype.type], x.shape) for name, x in (("a", lhs), ("b", rhs))]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.INT32, None)], [numpy_helper.from_array(zeros, "z")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="native")
    exact = (lhs.astype(np.int64) - zeros[:, None]) @ rhs.astype(np.int64)
    assert np.array_equal(qcc.load(tmp_path / "artifact")({"a": lhs, "b": rhs})["y"], exact)
    (op,) = json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"]
    assert op["reason"] == "no kernel: a zero point per row or column"
