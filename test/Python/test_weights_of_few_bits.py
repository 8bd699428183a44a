# Weights of 2 and 4 bits behind quantized activations: sums in integers, as their definition says.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

# Type, least and largest code, zero point (of all, or of each output).
KINDS = {
    "int4": (TensorProto.INT4, -8, 7, None),
    "int4 with a zero point": (TensorProto.INT4, -8, 7, 3),
    "int4 with one per output": (TensorProto.INT4, -8, 7, "each"),
    "uint4 around 8": (TensorProto.UINT4, 0, 15, 8),
    "uint4": (TensorProto.UINT4, 0, 15, 5),
    "uint4 with one per output": (TensorProto.UINT4, 0, 15, "each"),
    "int2": (TensorProto.INT2, -2, 1, None),
    "uint2": (TensorProto.UINT2, 0, 3, 2),
}
# Shape of the weight, its axis of outputs, shape of the input, groups.
LAYERS = {
    "product": ((40, 24), 1, (5, 40), 1),
    "convolution": ((24, 10, 3, 3), 0, (2, 10, 9, 8), 1),
    "groups": ((24, 4, 3, 3), 0, (2, 12, 9, 8), 3),
    "depthwise": ((24, 1, 3, 3), 0, (2, 24, 9, 8), 24),
    "along one dimension": ((24, 6, 5), 0, (2, 6, 30), 1),
}
SCALE, ZERO = np.float32(0.02), np.uint8(97)


def save(path: pathlib.Path, kind: str, layer: str, rng: np.random.Generator) -> np.ndarray:
    """A layer of codes x; returns the weight in f64."""
    code, least, most, zero = KINDS[kind]
    shape, axis, given, groups = LAYERS[layer]
    outputs = shape[axis]
    codes = rng.integers(least, most + 1, shape)
    zeros = np.full(outputs, zero or 0) if zero != "each" else rng.integers(least, most + 1, outputs)
    scales = rng.uniform(0.01, 0.1, outputs).astype(np.float32)
    across = [-1 if i == axis else 1 for i in range(len(shape))]
    weight = (codes - zeros.reshape(across)) * scales.astype(np.float64).reshape(across)
    tensors = [
        numpy_helper.from_array(SCALE, "s"), numpy_helper.from_array(ZERO, "z"), numpy_helper.from_array(scales, "ws"),
        helper.make_tensor("w", code, shape, codes.ravel().tolist()),
    ]  # fmt: skip
    names = ["w", "ws"]
    if zero is not None:
        tensors.append(helper.make_tensor("wz", code, [outputs], zeros.tolist()))
        names.append("wz")
    op = ("MatMul", {}) if layer == "product" else ("Conv", {"group": groups, "pads": [1] * (2 * (len(shape) - 2))})
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", names, ["wf"], axis=axis),
        helper.make_node(op[0], ["xf", "wf"], ["y"], name="layer", **op[1]),
    ]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, given)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13), path)
    return weight


def define(layer: str, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The layer in f64."""
    if layer == "product":
        return x @ weight
    groups, spatial = LAYERS[layer][3], weight.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0)] + [(1, 1)] * spatial)
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=tuple(range(2, x.ndim)))
    per, outputs = weight.shape[1], weight.shape[0] // groups
    parts = []
    for g in range(groups):
        part = np.tensordot(windows[:, g * per : (g + 1) * per], weight[g * outputs : (g + 1) * outputs], axes=([1] + list(range(-spatial, 0)), [1] + list(range(2, 2 + spatial))))
        parts.append(np.moveaxis(part, -1, 1))
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("target", ["native", "avx2"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_layer(tmp_path, kind, layer, target):
    rng = np.random.default_rng(3)
    weight = save(tmp_path / "m.onnx", kind, layer, rng)
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target=target)
    x = rng.integers(0, 256, LAYERS[layer][2]).astype(np.uint8)
    exact = define(layer, (x.astype(np.float64) - ZERO) * np.float64(SCALE), weight)
    got = qcc.load(tmp_path / "artifact")({"x": x})["y"]
    ops = json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"]
    (executed,) = {op["executed"] for op in ops if "conv" in op["op"] or "matmul" in op["op"]}
    stored_as = "w4a8" if kind in ("int4", "uint4 around 8") and layer != "depthwise" else "int8"
    if layer == "product" and stored_as == "int8":
        assert executed not in ("int8", "f32")  # a format of as few bits, with products in floats
        assert np.abs(got - exact).max() <= 1e-5 * np.abs(exact).max()
        return
    assert executed == stored_as
    # Sums are exact: two roundings in f32 are left.
    assert np.abs(got - exact).max() <= 1e-6 * np.abs(exact).max()
