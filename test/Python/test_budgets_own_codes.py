# Budgets over models with weights in codes of their own: those stay as they are, and sizes count them as they are stored.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib
import re

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

K, N, BLOCK = 256, 192, 32
RNG = np.random.default_rng(11)
SAMPLES = {"x": RNG.standard_normal((24, K)).astype(np.float32)}
WEIGHTS = N * K * 4  # of a product in f32


def save(folder: pathlib.Path, nodes: list, arrays: dict) -> pathlib.Path:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


def plain(name: str, rows: int, columns: int, x: str, y: str, arrays: dict):
    arrays[name] = (RNG.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
    return helper.make_node("MatMul", [x, name], [y], name)


def nbits_model(folder: pathlib.Path) -> pathlib.Path:
    """Codes of 4 bits, a product in f32 behind them, another one for a head."""
    arrays = {
        "own_b": RNG.integers(0, 256, (N, K // BLOCK, BLOCK // 2)).astype(np.uint8),
        "own_s": RNG.uniform(0.005, 0.01, N * K // BLOCK).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMulNBits", ["x", "own_b", "own_s"], ["h"], "own", domain="com.microsoft", K=K, N=N, bits=4, block_size=BLOCK),
        plain("middle", N, K, "h", "m", arrays), plain("head", K, N, "m", "y", arrays),
    ]  # fmt: skip
    return save(folder, nodes, arrays)


def qdq_model(folder: pathlib.Path, most: int) -> pathlib.Path:
    """A product of bytes between conversions, then the two in f32. `most`: the largest code of its weight."""
    arrays = {
        "s": np.float32(0.03), "z": np.int8(0), "own_b": RNG.integers(-most, most + 1, (K, N)).astype(np.int8),
        "own_s": np.full(N, 0.001, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["own_b", "own_s"], ["wf"], axis=1),
        helper.make_node("MatMul", ["xf", "wf"], ["h"], "own"),
        plain("middle", N, K, "h", "m", arrays), plain("head", K, N, "m", "y", arrays),
    ]  # fmt: skip
    return save(folder, nodes, arrays)


def compile_(model: pathlib.Path, target: str = "avx2", **options):
    np.savez(model.parent / "x.npz", **SAMPLES)
    artifact = qcc.compile(model, model.parent / "a", target=target, calib=model.parent / "x.npz", **options)
    return artifact, json.loads((artifact / "report.json").read_text())


def rows_of(report: dict) -> dict:
    return {row["node"]: row for row in report["ops"] if row.get("node") in ("own", "middle", "head")}


def near(predicted: int, report: dict) -> bool:
    """The prediction of sizes leaves out tables of some hundred bytes."""
    stored = report["summary"]["weight_bytes"]
    return abs(predicted - stored) <= 0.02 * stored


@pytest.mark.parametrize("options", [{}, {"algo": "gptq"}, {"keep": "own"}], ids=["nearest", "gptq", "keep"])
def test_codes_of_few_bits_stay(tmp_path, options):
    model = nbits_model(tmp_path)
    artifact, report = compile_(model, max_size="0.4x", precision="w8a16,f32", **options)
    rows, chosen = rows_of(report), report["assignment"]
    assert rows["own"]["executed"].startswith("w4a16:g32"), rows["own"]
    assert rows["own"]["reason"] == ("kept: matches --keep=own" if "keep" in options else "kept: quantized in the model")
    assert rows["middle"]["executed"] == "w8a16"
    layer = next(layer for layer in chosen["layers"] if layer["node"] == "own")
    assert layer["format"] == rows["own"]["executed"] and len(layer["candidates"]) == 1
    assert 4 < layer["candidates"][0]["bits"] < 5.5 and layer["candidates"][0]["error"] == 0
    assert chosen["float"]["bytes"] == 3 * WEIGHTS
    assert near(chosen["chosen"]["bytes"], report)
    # The others are rounded to 8 bits; codes of 4 bits that are rounded again would cost fifty times as much.
    whole = qcc.load(qcc.compile(model, tmp_path / "f32", target="avx2"))(SAMPLES)["y"]
    error = qcc.load(artifact)(SAMPLES)["y"] - whole
    assert (error**2).sum() < 3e-4 * (whole**2).sum()


def test_size_that_own_codes_alone_exceed(tmp_path):
    with pytest.raises(qcc.CompileError, match=r"QCC-E802") as failed:
        compile_(nbits_model(tmp_path), max_size="0.2x", precision="w8a16,f32")
    nearest = float(re.search(r"--max-size=([\d.]+)x", str(failed.value).split("nearest")[1])[1])
    assert 0.2 < nearest < 0.25
    compile_(nbits_model(tmp_path), max_size=f"{nearest}x", precision="w8a16,f32")


@pytest.mark.parametrize("target, most, least", [("avx512", 127, 16), ("avx512", 63, 8), ("avx2", 127, 8), ("avx512-vnni", 127, 8)])
def test_products_of_bytes_stay(tmp_path, target, most, least):
    """On AVX-512 without VNNI codes of 8 bits are stored in words where pairs of them may not fit."""
    _, report = compile_(qdq_model(tmp_path, most), target, max_size="0.5x", precision="w8a16,f32")
    rows, chosen = rows_of(report), report["assignment"]
    assert [rows[name]["executed"] for name in ("own", "middle")] == ["int8", "w8a16"]
    layer = next(layer for layer in chosen["layers"] if layer["node"] == "own")
    assert layer["format"] == "int8" and layer["rule"] == "kept: quantized in the model"
    bits = layer["candidates"][0]["bits"]
    assert least < bits < least + 1
    assert 0 <= chosen["float"]["bytes"] - 3 * WEIGHTS <= 256  # scalars
    assert near(chosen["chosen"]["bytes"], report)


def test_products_of_bytes_are_not_chosen_for(tmp_path):
    """In int8 budgets choose for what is not in integers already."""
    _, report = compile_(qdq_model(tmp_path, most=63), max_size="0.7x", precision="int8")
    rows = rows_of(report)
    assert rows["own"]["executed"] == "int8"
    assert "kl" not in rows["own"]["reason"] and "error" not in rows["own"]["reason"]


def conv_model(folder: pathlib.Path) -> pathlib.Path:
    """A convolution of bytes between conversions, nothing else."""
    arrays = {
        "s": np.float32(0.03), "z": np.int8(0), "w": RNG.integers(-63, 64, (32, 16, 3, 3)).astype(np.int8), "ws": np.float32(0.01),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wf"]),
        helper.make_node("Conv", ["xf", "wf"], ["y"], "own", pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / "m.onnx")
    np.savez(folder / "x.npz", x=RNG.standard_normal((4, 16, 12, 12)).astype(np.float32))
    return folder / "m.onnx"


def test_nothing_to_choose(tmp_path):
    """A model that is whole in codes is within a budget or not: its size is that of the codes."""
    model = conv_model(tmp_path)
    arguments = {"target": "avx2", "calib": tmp_path / "x.npz", "precision": "int8"}
    artifact = qcc.compile(model, tmp_path / "a", max_size="0.35x", **arguments)
    rows = json.loads((artifact / "report.json").read_text())["ops"]
    assert ("int8", "as in the model") in [(row["executed"], row["reason"]) for row in rows if row["node"] == "own"]
    with pytest.raises(qcc.CompileError, match=r"nearest that can be met: --max-size=0\.2\d+x \[QCC-E802\]"):
        qcc.compile(model, tmp_path / "b", max_size="0.1x", **arguments)
    with pytest.raises(qcc.CompileError, match="expected layers that can run in int8 to choose from"):
        qcc.compile(model, tmp_path / "c", max_latency="0.9x", **arguments)
