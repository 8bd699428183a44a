# At which sizes a report counts work: such that every operation has some.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import onnx
import qcc
from onnx import TensorProto, helper, numpy_helper

WINDOW = 700


def windows(path):
    """A convolution over windows of sound, longer than a short text."""
    weight = np.random.default_rng(0).standard_normal((8, 1, WINDOW)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["sound", "w"], ["c"], "windows", strides=[256]), helper.make_node("Relu", ["c"], ["y"], "after")], "g",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["batch", 1, "samples"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def read(artifact):
    report = json.loads((artifact / "report.json").read_text())
    return report["sizes"], next(row for row in report["ops"] if row["node"] == "windows")


def test_every_operation_has_work(tmp_path):
    sizes, row = read(qcc.compile(windows(tmp_path / "m.onnx"), tmp_path / "a", target="avx2"))
    assert sizes == {"batch": 1, "samples": 1024}
    assert row["flops_at_sizes"] >= 2 * 8 * WINDOW * 2  # two windows


def test_sizes_keep_to_bounds(tmp_path):
    artifact = qcc.compile(windows(tmp_path / "m.onnx"), tmp_path / "a", target="avx2", dim="samples=700..900")
    sizes, row = read(artifact)
    assert sizes == {"batch": 1, "samples": 700} and row["flops_at_sizes"] >= 2 * 8 * WINDOW


def test_sizes_are_not_those_of_the_data(tmp_path):
    """Reports in several precisions compare."""
    sound = np.random.default_rng(1).standard_normal((3, 1, 5000)).astype(np.float32)
    np.savez(tmp_path / "x.npz", sound=sound)
    artifact = qcc.compile(windows(tmp_path / "m.onnx"), tmp_path / "a", target="avx2", precision="int8", calib=tmp_path / "x.npz")
    sizes, _ = read(artifact)
    assert sizes == {"batch": 1, "samples": 1024}
