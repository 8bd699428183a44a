# Codes of models that come quantized: the kernels of pairs where they fit, the same sums anyway.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

QCC = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
SCALE, ZERO = np.float32(0.125), 3


def dequantize(x: np.ndarray) -> np.ndarray:
    """What a QuantizeLinear and a DequantizeLinear make of it, as codes less their zero point."""
    return np.clip(np.rint(x / SCALE) + ZERO, 0, 255).astype(np.int64) - ZERO


def save(path: pathlib.Path, codes: np.ndarray, op: str, **attributes) -> None:
    """x, quantized to bytes without a sign, and a weight of codes."""
    shape = [2, 8, 6, 6] if op == "Conv" else [5, len(codes)]
    weights = {"s": SCALE, "z": np.uint8(ZERO), "w": codes, "one": np.float32(1), "wz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "one", "wz"], ["f"]),
        helper.make_node(op, ["d", "f"], ["y"], "layer", **attributes),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)


def conv(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, codes.shape[2:], axis=(2, 3))
    return np.einsum("ncyxij,ocij->noyx", windows, codes.astype(np.int64))


def random_codes(bound: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-bound, bound + 1, shape).astype(np.int8)


def with_pair(codes: np.ndarray, *places: tuple[int, ...]) -> np.ndarray:
    """With one pair of codes that exceeds 128 by one: the first two that are added."""
    codes = codes.copy()
    codes[places[0]], codes[places[1]] = 127, 2
    return codes


CONV, MATRIX = random_codes(64, 24, 8, 3, 3), random_codes(64, 33, 40)
CASES = {
    "convolution of 7 bits": (CONV, True),
    "convolution with a wide pair": (with_pair(CONV, (5, 0, 0, 0), (5, 1, 0, 0)), False),
    "convolution of 8 bits": (random_codes(127, 24, 8, 3, 3), False),
    "product of 7 bits": (MATRIX, True),
    "product with a wide pair": (with_pair(MATRIX, (4, 7), (5, 7)), False),
    "product with wide codes in two pairs": (with_pair(MATRIX * np.int8(0), (5, 7), (6, 7)), True),
}


@pytest.mark.parametrize("name", CASES)
def test_kernel(tmp_path, name):
    codes, fits = CASES[name]
    op = "Conv" if codes.ndim == 4 else "MatMul"
    save(tmp_path / "m.onnx", codes, op)
    command = [QCC, tmp_path / "m.onnx", "-q", "--emit=schedule", "-o", tmp_path / "m.mlir"]
    for target, layout in (("avx2", "quad" if fits else "pair"), ("avx512-vnni", "dot")):
        subprocess.run([*command, f"--target={target}"], check=True)
        assert f'"{layout}' in (tmp_path / "m.mlir").read_text()
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="avx2")
    rng = np.random.default_rng(2)
    x = (rng.integers(-40, 300, [2, 8, 6, 6] if op == "Conv" else [5, len(codes)]) * SCALE).astype(np.float32)
    x.flat[:40] = 1000  # the largest codes side by side
    exact = conv(dequantize(x), codes) if op == "Conv" else dequantize(x) @ codes.astype(np.int64)
    assert np.array_equal(qcc.load(tmp_path / "artifact")({"x": x})["y"], (exact * float(SCALE)).astype(np.float32))


def test_linear_layers(tmp_path):
    """Weights as frameworks keep them, [columns, rows], of large codes of one sign: in pairs, and exact."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.9, 1, [48, 64]).astype(np.float32) * rng.choice([-1, 1], [48, 1]).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "layer", transB=1)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 64])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / "m.onnx")
    x = rng.uniform(0, 1, [5, 64]).astype(np.float32)
    x[0] = 1
    np.savez(tmp_path / "data.npz", x=x)
    command = [QCC, tmp_path / "m.onnx", "-q", "--precision=int8", f"--calib={tmp_path / 'data.npz'}", "--target=avx2", "--no-correct-bias"]
    subprocess.run([*command, "--emit=schedule", "-o", tmp_path / "m.mlir"], check=True)
    assert '"quad' in (tmp_path / "m.mlir").read_text()
    subprocess.run([*command, "--emit=qdq-onnx", "-o", tmp_path / "q.onnx"], check=True)
    values = {value.name: numpy_helper.to_array(value) for value in onnx.load(tmp_path / "q.onnx").graph.initializer}
    (codes,) = [value for value in values.values() if value.dtype == np.int8 and value.ndim == 2]
    (scales,) = [value for value in values.values() if value.dtype == np.float32 and value.shape == (48,)]
    (step,) = [value for value in values.values() if value.dtype == np.float32 and value.size == 1]
    inputs = np.clip(np.rint(x / step), 0, 255).astype(np.int64)
    exact = (inputs @ codes.astype(np.int64).T) * (scales.astype(np.float64) * float(step))
    subprocess.run([*command, "-o", tmp_path / "artifact"], check=True)
    assert np.allclose(qcc.load(tmp_path / "artifact")({"x": x})["y"], exact, rtol=1e-6, atol=0)
