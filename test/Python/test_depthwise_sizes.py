# Depthwise convolutions of pictures whose size is not known: rows that are copied, and longer ones.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

# Kernel, stride, dilation, padding (top, left, bottom, right).
CASES = [(3, 1, 1, (1, 1, 1, 1)), (3, 2, 1, (1, 1, 1, 1)), (5, 1, 1, (2, 2, 2, 2)), (3, 2, 2, (3, 5, 3, 4)), (3, 2, 1, (0, 0, 1, 1)), (1, 1, 1, (0,) * 4)]
SIZES = [(9, 9), (17, 20), (8, 33), (10, 300), (4, 700), (7, 1100), (5, 2100), (16, 16)]
CHANNELS = 18


def save(path: pathlib.Path, weight: np.ndarray, case: tuple, batch, height, width) -> None:
    _, stride, dilation, pads = case
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=CHANNELS, strides=[stride] * 2, dilations=[dilation] * 2, pads=pads)
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["y"], ["z"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, CHANNELS, height, width])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def convolve(x: np.ndarray, weight: np.ndarray, case: tuple) -> np.ndarray:
    """In f64, by the definition, with the activation."""
    kernel, stride, dilation, (top, left, bottom, right) = case
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = ((size - dilation * (kernel - 1) - 1) // stride + 1 for size in x.shape[2:])
    result = np.zeros((*x.shape[:2], height, width))
    for i in range(kernel):
        for j in range(kernel):
            part = x[:, :, i * dilation :, j * dilation :][:, :, ::stride, ::stride]
            result += part[:, :, :height, :width] * weight[:, 0, i, j, None, None]
    return np.maximum(result, 0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sizes(tmp_path, case):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(CHANNELS, 1, case[0], case[0])).astype(np.float32)
    save(tmp_path / "free.onnx", weight, case, "n", "h", "w")
    model = qcc.load(qcc.compile(tmp_path / "free.onnx", tmp_path / "free", target="native"))
    for batch, (height, width) in enumerate(SIZES, 1):
        x = rng.normal(size=(1 + batch % 2, CHANNELS, height, width)).astype(np.float32)
        y = model({"x": x})["z"]
        exact = convolve(x, weight, case)
        assert y.shape == exact.shape
        assert np.abs(y - exact).max() < 2e-5, (height, width)


@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_same_bits_as_known_sizes(tmp_path, case):
    """Rows of 20 are copied without a loop where they are known, of 700 and 900 with one, of 2100 not at all."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32)
    save(tmp_path / "free.onnx", weight, case, "n", "h", "w")
    free = qcc.load(qcc.compile(tmp_path / "free.onnx", tmp_path / "free", target="native"))
    for height, width in ((17, 20), (9, 700), (7, 900), (5, 2100)):
        save(tmp_path / "known.onnx", weight, case, 2, height, width)
        known = qcc.load(qcc.compile(tmp_path / "known.onnx", tmp_path / f"known{width}", target="native"))
        x = rng.normal(size=(2, CHANNELS, height, width)).astype(np.float32)
        y = known({"x": x})["z"]
        assert np.array_equal(free({"x": x})["z"], y)
        assert np.abs(y - convolve(x, weight, case)).max() < 2e-5, width
