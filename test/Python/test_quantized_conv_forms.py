# Transposed convolutions and those over depth between conversions, or of integers: codes all the way, one step from the
# definition.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper


@dataclasses.dataclass
class Case:
    """A layer between conversions: its form, and whether weights have a scale per output and zero points."""

    op: str
    kernel: tuple[int, ...]
    attributes: dict
    groups: int = 1
    per_output: bool = True
    weight_zeros: bool = False
    zero: int = 77
    dtype: type = np.uint8
    free: bool = False
    reason: str = "as in the model"


PAD = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
DEEP = {"pads": [1] * 6}
CASES = {
    "transposed": Case("ConvTranspose", (4, 4), PAD),
    "transposed-one-scale": Case("ConvTranspose", (4, 4), PAD, per_output=False),
    "transposed-zeros": Case("ConvTranspose", (3, 3), PAD, weight_zeros=True),
    "transposed-one-zero": Case("ConvTranspose", (3, 3), PAD, per_output=False, weight_zeros=True),
    "transposed-uneven": Case("ConvTranspose", (3, 5), {"strides": [2, 3], "output_padding": [1, 0]}, dtype=np.int8, zero=-9),
    "transposed-no-overlap": Case("ConvTranspose", (2, 2), {"strides": [2, 2]}, free=True),
    "transposed-line": Case("ConvTranspose", (8,), {"strides": [4], "pads": [2, 2]}),
    "transposed-depth": Case("ConvTranspose", (2, 2, 2), {"strides": [2, 2, 2]}),
    "transposed-groups": Case("ConvTranspose", (4, 4), PAD, groups=2),
    "transposed-groups-one-scale": Case("ConvTranspose", (3, 3), PAD, groups=4, per_output=False),
    "transposed-depthwise": Case("ConvTranspose", (4, 4), PAD, groups=16, reason="exact in f32: depthwise with several outputs per channel"),
    "depthwise": Case("Conv", (3, 3), PAD, groups=16, weight_zeros=True, reason="exact in f32: depthwise with several outputs per channel"),
    "depthwise-free": Case("Conv", (5,), {}, groups=16, free=True, per_output=False, reason="exact in f32: depthwise with several outputs per channel"),
    "depth": Case("Conv", (3, 3, 3), DEEP),
    "depth-zeros": Case("Conv", (3, 3, 3), DEEP | {"strides": [2, 1, 2]}, weight_zeros=True),
    "depth-groups": Case("Conv", (3, 3, 3), DEEP, groups=2, dtype=np.int8, zero=3),
    "depth-no-pads": Case("Conv", (2, 3, 3), {"dilations": [2, 1, 1]}, per_output=False),
    "depth-free": Case("Conv", (3, 1, 1), {"pads": [1, 0, 0, 1, 0, 0]}, free=True),
}  # fmt: skip
CHANNELS, OUTPUTS, SIZE, SCALE, OUT_SCALE, OUT_ZERO = 16, 32, 6, 0.031, 0.19, 120


def make_weight(case: Case) -> dict[str, np.ndarray]:
    """Codes, their scales and zero points, and the axis that these lie on."""
    rng = np.random.default_rng(3)
    axis = 1 if case.op == "ConvTranspose" else 0
    inputs, outputs = (CHANNELS, OUTPUTS // case.groups) if axis else (OUTPUTS, CHANNELS // case.groups)
    codes = rng.integers(-120, 120, (inputs, outputs, *case.kernel)).astype(np.int8)
    count = codes.shape[axis] if case.per_output else 1
    scales = rng.uniform(0.002, 0.01, count).astype(np.float32)
    zeros = rng.integers(-7, 8, count).astype(np.int8) if case.weight_zeros else np.zeros(count, np.int8)
    shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
    real = ((codes.astype(np.float64) - zeros.reshape(shape)) * scales.reshape(shape)).astype(np.float32)
    if count == 1:
        scales, zeros = scales.reshape(()), zeros.reshape(())
    return {"codes": codes, "scales": scales, "zeros": zeros, "real": real, "axis": axis}


def save(path, nodes, fixed, case, type_):
    sizes = [f"s{i}" if case.free else SIZE + i for i in range(len(case.kernel))]
    x = helper.make_tensor_value_info("x", type_, ["n" if case.free else 2, CHANNELS, *sizes])
    y = helper.make_tensor_value_info("y", type_, [None] * (2 + len(case.kernel)))
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, k) for k, v in fixed.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return model


def convolve(case: Case, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, folder) -> np.ndarray:
    """The layer in float, by ONNX Runtime."""
    node = helper.make_node(case.op, ["x", "w", "b"], ["y"], group=case.groups, **case.attributes)
    model = save(folder / "f.onnx", [node], {"w": weight, "b": bias}, case, TensorProto.FLOAT)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x.astype(np.float32)})[0]


def define(case: Case, weight, bias, codes: np.ndarray, folder) -> np.ndarray:
    """The layer of dequantized codes; its results in steps, not rounded."""
    real = (codes.astype(np.float64) - case.zero) * np.float32(SCALE)
    return convolve(case, real, weight["real"], bias, folder) / np.float32(OUT_SCALE) + OUT_ZERO


def check_codes(got, steps):
    want = np.clip(np.rint(steps), 0, 255)
    off = got.astype(np.int64) != want
    near_middle = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 1e-3
    assert not (off & ~near_middle).any()
    assert off.mean() < 0.01
    assert want.std() > 4


def check_reason(artifact, reason):
    ops = [op for op in json.loads((artifact / "report.json").read_text())["ops"] if op["node"] == "layer"]
    found = {(op["executed"], op["reason"]) for op in ops}
    assert ("f32" if "f32" in reason else "int8", reason) in found, found


@pytest.mark.parametrize("name", CASES)
def test_between_conversions(tmp_path, name):
    case = CASES[name]
    weight = make_weight(case)
    rng = np.random.default_rng(4)
    bias_codes = rng.integers(-9000, 9000, OUTPUTS).astype(np.int32)
    bias_scale = np.float32(1e-4)
    code = np.dtype(case.dtype)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["xd"]),
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=weight["axis"]),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"]),
        helper.make_node(case.op, ["xd", "wd", "bd"], ["r"], "layer", group=case.groups, **case.attributes),
        helper.make_node("QuantizeLinear", ["r", "ys", "yz"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    nodes[0], nodes[1] = nodes[1], nodes[0]
    fixed = {
        "xs": np.float32(SCALE), "xz": code.type(case.zero), "w": weight["codes"], "ws": weight["scales"], "wz": weight["zeros"],
        "b": bias_codes, "bs": bias_scale, "ys": np.float32(OUT_SCALE), "yz": np.uint8(OUT_ZERO),
    }  # fmt: skip
    save(tmp_path / "m.onnx", nodes, fixed, case, TensorProto.FLOAT)
    limits = np.iinfo(code)
    codes = rng.integers(limits.min, limits.max + 1, (2, CHANNELS, *(SIZE + i for i in range(len(case.kernel))))).astype(code)
    steps = define(case, weight, (bias_codes * bias_scale).astype(np.float32), codes, tmp_path)
    x = ((codes.astype(np.float64) - case.zero) * np.float32(SCALE)).astype(np.float32)
    for target in ("native", "reference"):
        artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / f"{target}.qcc", target=target)
        got = qcc.load(artifact)({"x": x})["y"] / np.float32(OUT_SCALE) + OUT_ZERO
        check_codes(np.rint(got), steps)
    check_reason(tmp_path / "native.qcc", case.reason)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.op == "Conv"])
def test_of_integers(tmp_path, name):
    """QLinearConv and ConvInteger."""
    case = CASES[name]
    weight = make_weight(case)
    code = np.dtype(case.dtype)
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 120, (2, CHANNELS, *(SIZE + i for i in range(len(case.kernel))))).astype(code)
    bias = rng.integers(-9000, 9000, OUTPUTS).astype(np.int32)
    scales = np.float32(SCALE) * np.broadcast_to(weight["scales"], OUTPUTS)
    fixed = {
        "xs": np.float32(SCALE), "xz": code.type(case.zero), "w": weight["codes"], "ws": weight["scales"], "wz": weight["zeros"],
        "ys": np.float32(OUT_SCALE), "yz": np.uint8(OUT_ZERO), "b": bias,
    }  # fmt: skip
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"], "layer", group=case.groups, **case.attributes)
    model = save(tmp_path / "m.onnx", [node], fixed, case, helper.np_dtype_to_tensor_dtype(code))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, tmp_path / "m.onnx")
    steps = define(case, weight, (bias * scales).astype(np.float32), codes, tmp_path)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc")
    check_codes(qcc.load(artifact)({"x": codes})["y"], steps)

    node = helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], "layer", group=case.groups, **case.attributes)
    model = save(tmp_path / "i.onnx", [node], {k: fixed[k] for k in ("w", "xz", "wz")}, case, helper.np_dtype_to_tensor_dtype(code))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(model, tmp_path / "i.onnx")
    # Sums of whole numbers that are exact in f32, in any order.
    zeros = weight["zeros"].reshape([-1] + [1] * (1 + len(case.kernel)) if weight["zeros"].ndim else []).astype(np.float32)
    whole = weight["codes"].astype(np.float32) - zeros
    assert np.abs(whole).sum(tuple(range(1, whole.ndim))).max() * 120 < 2**24
    sums = convolve(case, codes.astype(np.float32) - case.zero, whole, np.zeros(OUTPUTS, np.float32), tmp_path)
    got = qcc.load(qcc.compile(tmp_path / "i.onnx", tmp_path / "i.qcc"))({"x": codes})["y"]
    np.testing.assert_array_equal(got, sums.astype(np.int32))
    for folder in ("m.qcc", "i.qcc"):
        check_reason(tmp_path / folder, case.reason)
