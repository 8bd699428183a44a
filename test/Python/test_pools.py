# Pooling of pictures whose size is not known: narrower than a vector, of some vectors, and of several runs of a row.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper


@dataclasses.dataclass(frozen=True)
class Case:
    """Padding is top, left, bottom, right."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil: int = 0
    include: int = 0

    def attributes(self, op: str) -> dict:
        more = {"count_include_pad": self.include} if op == "AveragePool" else {}
        return more | {
            "kernel_shape": self.kernel, "strides": self.stride, "pads": self.pads, "dilations": self.dilation, "ceil_mode": self.ceil
        }  # fmt: skip


CASES = [
    Case((3, 3), pads=(1, 1, 1, 1)), Case((3, 3), (2, 2), (1, 1, 1, 1)), Case((3, 3), (2, 2), (1, 1, 1, 1), include=1),
    Case((2, 2), (2, 2)), Case((3, 3), (2, 2), (0, 0, 1, 1), ceil=1), Case((3, 3), (2, 2), (0, 1, 0, 0), ceil=1, include=1),
    Case((5, 13), pads=(2, 6, 2, 6)), Case((1, 16), (1, 3), (0, 15, 0, 2)), Case((2, 3), (3, 5), (1, 2, 0, 2)),
    Case((3, 4), (2, 2), (2, 3, 2, 3), (2, 3)), Case((3, 4), (1, 1), (2, 3, 2, 3), (2, 3), include=1), Case((1, 1)), Case((3, 2), (1, 2), (0, 1, 0, 0)),
]  # fmt: skip
SIZES = [(4, 9), (7, 12), (9, 16), (5, 17), (8, 23), (7, 31), (6, 33), (6, 64), (4, 107), (4, 2100)]


def reduce_windows(x: np.ndarray, op: str, case: Case) -> np.ndarray:
    """In f64, window by window."""
    (top, left, bottom, right), results = case.pads, []
    for axis, (before, after) in ((0, (top, bottom)), (1, (left, right))):
        size, reach = x.shape[2 + axis], (case.kernel[axis] - 1) * case.dilation[axis] + 1
        room = size + before + after - reach
        count = (-(-room // case.stride[axis]) if case.ceil else room // case.stride[axis]) + 1
        if case.ceil and (count - 1) * case.stride[axis] >= size + before:
            count -= 1
        starts = [i * case.stride[axis] - before for i in range(count)]
        results.append([[s + k * case.dilation[axis] for k in range(case.kernel[axis])] for s in starts])
    y = np.zeros((*x.shape[:2], len(results[0]), len(results[1])))
    limits = x.shape[2] + bottom, x.shape[3] + right
    for (i, rows), (j, columns) in itertools.product(enumerate(results[0]), enumerate(results[1])):
        inside = [[p for p in at if 0 <= p < x.shape[2 + axis]] for axis, at in enumerate((rows, columns))]
        window = x[:, :, inside[0]][..., inside[1]].astype(np.float64)
        if op == "MaxPool":
            y[:, :, i, j] = window.max((2, 3), initial=-np.inf)
            continue
        padded = [sum(p < limits[axis] for p in at) for axis, at in enumerate((rows, columns))]
        y[:, :, i, j] = window.sum((2, 3)) / (padded[0] * padded[1] if case.include else len(inside[0]) * len(inside[1]))
    return y


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"k{c.kernel}s{c.stride}p{c.pads}d{c.dilation}c{c.ceil}i{c.include}".replace(", ", "."))
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_sizes(tmp_path, op, case):
    node = helper.make_node(op, ["x"], ["y"], **case.attributes(op))
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), tmp_path / "m.onnx")
    model = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", target="native"))
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(SIZES):
        x = rng.normal(size=(1 + i % 2, 3, height, width)).astype(np.float32) - 5
        if op == "MaxPool":
            x[0, 0, 2, 3], x[0, 1, 1, 2], x[0, 1, 1, 4] = np.nan, np.inf, -np.inf
        exact = reduce_windows(x, op, case)
        got = model({"x": x})["y"]
        assert got.shape == exact.shape
        if op == "MaxPool":
            np.testing.assert_array_equal(got, exact.astype(np.float32), err_msg=f"{height}x{width}")
        else:
            np.testing.assert_allclose(got, exact, rtol=1e-5, err_msg=f"{height}x{width}")
