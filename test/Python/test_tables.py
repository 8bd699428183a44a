# Long functions of one byte: looked up in a table, with the bits of the function.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

QCC = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
TYPES = {"u8": (np.uint8, TensorProto.UINT8), "s8": (np.int8, TensorProto.INT8)}
GELU = (("Div", "d", "root", "a"), ("Erf", "a", "b"), ("Add", "b", "one", "c"), ("Mul", "d", "c", "e"), ("Mul", "e", "half", "f"))
SILU = (("Sigmoid", "d", "a"), ("Mul", "d", "a", "f"))
SHORT = (("Mul", "d", "half", "f"),)


def save(path: pathlib.Path, nodes: tuple, shape: list, kind: str, scale_is_input: bool = False) -> None:
    code, tensor = TYPES[kind]
    zero = 120 if kind == "u8" else -3
    weights = {"z": code(zero), "root": np.float32(1.4142135), "one": np.float32(1), "half": np.float32(0.5), "t": np.float32(0.02)}
    inputs = [helper.make_tensor_value_info("x", tensor, shape)]
    if scale_is_input:
        inputs.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    else:
        weights["s"] = np.float32(0.03)
    body = [helper.make_node(op, names[:-1], names[-1:]) for op, *names in nodes]
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"]), *body, helper.make_node("QuantizeLinear", ["f", "t", "z"], ["y"])], "g",
        inputs, [helper.make_tensor_value_info("y", tensor, None)], [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)


def all_codes(kind: str) -> np.ndarray:
    return np.arange(256, dtype=np.uint8).view(TYPES[kind][0])


def kernel(path: pathlib.Path, target: str) -> str:
    plan = subprocess.run([QCC, path, "-q", "--emit=plan", "-o", "-", f"--target={target}"], check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in plan.splitlines() if "qcc.kernel @" in line]
    return line.split("@")[1].split()[0].split("_")[-1]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("nodes", (GELU, SILU), ids=("gelu", "silu"))
def test_same_bits(tmp_path, nodes, kind):
    """256 elements are computed, more are looked up."""
    save(tmp_path / "few.onnx", nodes, [256], kind)
    save(tmp_path / "many.onnx", nodes, [7, "n"], kind)
    assert kernel(tmp_path / "few.onnx", "avx2") == "generic"
    assert kernel(tmp_path / "many.onnx", "avx2") == "table"
    few, many = (qcc.load(qcc.compile(tmp_path / f"{name}.onnx", tmp_path / name, target="native")) for name in ("few", "many"))
    codes = all_codes(kind)
    results = few({"x": codes})["y"]
    rng = np.random.default_rng(0)
    for length in (0, 1, 5, 73, 256, 20011):
        index = rng.integers(0, 256, (7, length))
        assert np.array_equal(many({"x": codes[index]})["y"], results[index])


def test_scale_at_run_time(tmp_path):
    """One number for all elements is part of the function."""
    save(tmp_path / "m.onnx", GELU, [4096], "u8", scale_is_input=True)
    save(tmp_path / "few.onnx", GELU, [256], "u8", scale_is_input=True)
    assert kernel(tmp_path / "m.onnx", "avx2") == "table"
    many, few = (qcc.load(qcc.compile(tmp_path / f"{name}.onnx", tmp_path / name, target="native")) for name in ("m", "few"))
    codes = all_codes("u8")
    for scale in (0.01, 0.05):
        s = np.float32(scale)
        assert np.array_equal(many({"x": np.tile(codes, 16), "s": s})["y"], np.tile(few({"x": codes, "s": s})["y"], 16))


def test_short_functions_are_computed(tmp_path):
    save(tmp_path / "m.onnx", SHORT, [4096], "u8")
    assert kernel(tmp_path / "m.onnx", "avx2") == "generic"


def test_threads(tmp_path):
    save(tmp_path / "m.onnx", SILU, [300, 1000], "s8")
    path = qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="native")
    x = np.random.default_rng(1).integers(-128, 128, (300, 1000)).astype(np.int8)
    one, two = (qcc.load(path, threads=n)({"x": x})["y"] for n in (1, 2))
    assert np.array_equal(one, two)
    assert json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"]
