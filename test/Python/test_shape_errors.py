# What a run says about inputs that do not fit each other: the node, and both sizes.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import subprocess

import numpy as np
import onnx
import onnx.parser
import pytest
import qcc

SHAPES = "the shapes of the inputs do not fit each other: expected "
VALUES = "its inputs do not fit each other: expected "


def load(folder, text):
    """The model of a graph whose nodes are named after their operators: Add_0."""
    path = folder / "m.onnx"
    path.write_bytes(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}').SerializeToString())
    qcc.compile(path, folder / "m.qcc", target="reference")
    return qcc.load(folder / "m.qcc", threads=1)


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    "text, shapes, node, says",
    [
        ("g (float[a, b] x, float[c, d] y) => (float[a, d] z) { z = MatMul(x, y) }", [(3, 4), (5, 2)], "MatMul_0", "equal sizes, but got 4 and 5"),
        ("g (float[a, b] x, float[c, d] y) => (float[e, b] z) { z = Concat<axis = 0>(x, y) }", [(3, 4), (2, 5)], "Concat_0", "equal sizes, but got 4 and 5"),
        ("g (float[a, b] x, float[a, c] y) => (float[a, d] z) { z = Add(x, y) }", [(3, 4), (3, 5)], "Add_0", "equal sizes, but got 4 and 5"),
        ("g (float[a] x) => (float[b, 6] z) <int64[2] s = {-1, 6}> { z = Reshape(x, s) }", [(15,)], "Reshape_0", "equal sizes, but got 15 and 12"),
        ("g (float[a] x) => (float[5] z, int64[5] i) <int64[1] k = {5}> { z, i = TopK(x, k) }", [(4,)], "TopK_0", "5 or more, but got 4"),
        ("g (float[a, b] x) => (float[b] z) <int64[1] axes = {0}> { z = Squeeze(x, axes) }", [(3, 4)], "Squeeze_0", "equal sizes, but got 3 and 1"),
        # The first node that needs it is named, whatever comes before and after.
        ("g (float[a] x, float[b] y) => (float[c] z) { u = Relu(x) v = Neg(y) w = Mul(u, v) z = Add(w, y) }", [(2,), (3,)], "Mul_2", "equal sizes, but got 2 and 3"),
    ],
)  # fmt: skip
def test_shapes(tmp_path, text, shapes, node, says):
    model = load(tmp_path, text)
    with pytest.raises(qcc.QccError) as failed:
        model([zeros(*shape) for shape in shapes])
    assert failed.value.status is qcc.Status.BAD_SHAPE
    assert str(failed.value) == f"node '{node}': {SHAPES}{says}"


@pytest.mark.parametrize(
    "text, inputs, node, says",
    [
        ("g (float[a, b] x, int64[2] s) => (float[c, d] z) { z = Reshape(x, s) }", [zeros(3, 4), np.array([2, 5])], "Reshape_0", VALUES + "equal sizes, but got 12 and 10"),
        ("g (float[a] x, int64[1] k) => (float[b] z, int64[b] i) { z, i = TopK(x, k) }", [zeros(4), np.array([5])], "TopK_0", VALUES + "5 or more, but got 4"),
        ("g (float[a] x, int64[1] k) => (float[b] z, int64[b] i) { z, i = TopK(x, k) }", [zeros(4), np.array([-1])], "TopK_0", "expected a size of 0 or more, but its inputs give -1, or none that can be computed"),
        ("g (float[a] x, int64[1] s) => (float[b] z) { z = Expand(x, s) }", [zeros(3), np.array([2])], "Expand_0", VALUES + "equal sizes, but got 3 and 2"),
        ("g (float[a] x, int64[1] s) => (float[b] z) { z = Expand(x, s) }", [zeros(1), np.array([1 << 50])], "Expand_0", f"expected a size of at most {1 << 46}, but its inputs give {1 << 50}"),
    ],
)  # fmt: skip
def test_values(tmp_path, text, inputs, node, says):
    model = load(tmp_path, text)
    with pytest.raises(qcc.QccError) as failed:
        model(inputs)
    assert failed.value.status is qcc.Status.BAD_DATA
    assert str(failed.value) == f"node '{node}': {says}"


def test_entries_of_sizes(tmp_path):
    """What --dim does not settle is still checked, and its node named."""
    path = tmp_path / "m.onnx"
    text = "g (float[a, n] x, float[b, n] y) => (float[c, n] z) { s = Softmax(x) z = Add(s, y) }"
    path.write_bytes(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}').SerializeToString())
    qcc.compile(path, tmp_path / "m.qcc", target="reference", dim="n=2,3")
    with pytest.raises(qcc.QccError, match=f"^node 'Add_1': {SHAPES}equal sizes, but got 4 and 5$"):
        qcc.load(tmp_path / "m.qcc", threads=1)([zeros(4, 3), zeros(5, 3)])


def test_runner(tmp_path, runner):
    load(tmp_path, "g (float[a, b] x, float[c, d] y) => (float[a, d] z) { z = MatMul(x, y) }")
    np.savez(tmp_path / "in.npz", x=zeros(3, 4), y=zeros(5, 2))
    done = subprocess.run([runner, tmp_path / "m.qcc", f"--inputs={tmp_path / 'in.npz'}"], capture_output=True, text=True)
    assert done.returncode == 5 and done.stderr == f"qcc-run: error: node 'MatMul_0': {SHAPES}equal sizes, but got 4 and 5 [QCC-E201]\n"
