# Attention as quantized models have it, codes on both sides of both products: in integers, within a step of its definition.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

HEADS, DEPTH = 3, 20
TYPES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}
# Scale and zero point of each tensor, by the type of all codes.
SCALES = {"q": 0.031, "k": 0.027, "v": 0.04, "s": 0.3137, "d": 0.0711, "p": 1 / 255, "y": 0.01}
ZEROS = {"q": 126, "k": 131, "v": 120, "s": 128, "d": 129, "p": 0, "y": 130}


# The type of all codes, scales and zero points, as calibration chooses them.
KINDS = {
    "ui8": (np.uint8, SCALES, ZEROS),
    "i8": (np.int8, SCALES | {"p": 1 / 127}, dict.fromkeys(ZEROS, 0)),
    "i8 with zero points": (np.int8, SCALES, {name: zero - 128 for name, zero in ZEROS.items()}),
}


def save(path: pathlib.Path, codes: str, length: int | str, transposed: bool) -> None:
    """y = quantized(softmax(q k^T / 4) v) of codes [1, length, HEADS, DEPTH]."""
    nodes, initializers = [], [numpy_helper.from_array(np.float32(4), "four")]
    kind, scales, zeros = KINDS[codes]
    for name in scales:
        initializers += [numpy_helper.from_array(np.float32(scales[name]), f"{name}s"), numpy_helper.from_array(kind(zeros[name]), f"{name}z")]

    def add(op: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def twice(value: str, name: str) -> str:
        steps = add("QuantizeLinear", [value, f"{name}s", f"{name}z"], f"{name}_codes")
        return add("DequantizeLinear", [steps, f"{name}s", f"{name}z"], f"{name}_floats")

    heads = {}
    for name in "qkv":
        order = [0, 2, 3, 1] if name == "k" and not transposed else [0, 2, 1, 3]
        moved = add("Transpose", [name], f"{name}_heads", perm=order)
        heads[name] = add("DequantizeLinear", [moved, f"{name}s", f"{name}z"], f"{name}_floats")
    if transposed:
        heads["k"] = add("Transpose", [heads["k"]], "k_turned", perm=[0, 1, 3, 2])
    scores = twice(add("MatMul", [heads["q"], heads["k"]], "scores"), "s")
    scores = twice(add("Div", [scores, "four"], "divided"), "d")
    weights = twice(add("Softmax", [scores], "weights", axis=-1), "p")
    add("QuantizeLinear", [add("MatMul", [weights, heads["v"]], "mixed"), "ys", "yz"], "y")
    shape = [1, length, HEADS, DEPTH]
    inputs = [helper.make_tensor_value_info(name, TYPES[kind], shape) for name in "qkv"]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TYPES[kind], None)], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def define(codes: str, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes of the result in f64, before they are rounded, and how far a step of one code before them moves them."""
    kind, scales, zeros = KINDS[codes]
    limits = np.iinfo(kind)

    def twice(x: np.ndarray, name: str) -> np.ndarray:
        steps = np.clip(np.rint(x / np.float64(np.float32(scales[name]))) + zeros[name], limits.min, limits.max)
        return (steps - zeros[name]) * np.float64(np.float32(scales[name]))

    floats = {n: (x.astype(np.float64) - zeros[n]) * np.float64(np.float32(scales[n])) for n, x in zip("qkv", (q, k, v))}
    q, k, v = (floats[n].transpose(0, 2, 1, 3) for n in "qkv")
    scores = twice(twice(q @ k.transpose(0, 1, 3, 2), "s") / 4, "d")
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = twice(weights / weights.sum(-1, keepdims=True), "p")
    return np.clip((weights @ v) / scales["y"] + zeros["y"], limits.min, limits.max), np.abs(v).max() * scales["p"] / scales["y"]


@pytest.mark.parametrize("target", ["native", "avx2", "reference"])
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed floats"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["known", "dynamic"])
@pytest.mark.parametrize("kind", KINDS)
def test_attention(tmp_path, kind, dynamic, transposed, target):
    length = 37
    save(tmp_path / "m.onnx", kind, "n" if dynamic else length, transposed)
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target=target)
    rng = np.random.default_rng(5)
    limits = np.iinfo(KINDS[kind][0])
    codes = [rng.integers(limits.min, limits.max + 1, (1, length, HEADS, DEPTH)).astype(limits.dtype) for _ in range(3)]
    got = qcc.load(tmp_path / "artifact")(dict(zip("qkv", codes)))["y"].astype(np.float64)
    exact, step = define(kind, *codes)
    errors = np.abs(got - exact)
    # Half a step where all codes before are the same; where a score or weight lies in the middle of two, as far as that moves the sum.
    assert np.mean(errors <= 0.5 + 1e-3) > 0.99
    assert errors.max() <= 0.5 + 2 * step
    ops = [op for op in json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"] if "matmul" in op["op"]]
    if target != "reference":
        assert [(op["executed"], op["reason"]) for op in ops] == [("int8", "as in the model")] * 2
        assert all(op["kernel"].endswith("_batch_dot") for op in ops)


def test_lengths_that_may_not_fit(tmp_path):
    """Weights of a softmax add up to 1; other codes over a length that is not known may not fit 32 bits."""
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "z")
    nodes = [helper.make_node("DequantizeLinear", [x, "s", "z"], [f"{x}f"]) for x in "ab"] + [helper.make_node("MatMul", ["af", "bf"], ["y"], name="product")]
    inputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in (("a", [5, "n"]), ("b", ["n", 7]))]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [scale, zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    qcc.compile(tmp_path / "m.onnx", tmp_path / "artifact", target="native")
    n = 40000
    a, b = np.full((5, n), 255, np.uint8), np.full((n, 7), 255, np.uint8)
    exact = np.float64(np.float32(0.1)) ** 2 * 252.0**2 * n
    assert np.allclose(qcc.load(tmp_path / "artifact")({"a": a, "b": b})["y"], exact, rtol=1e-3)
    (op,) = [op for op in json.loads((tmp_path / "artifact" / "report.json").read_text())["ops"] if "matmul" in op["op"]]
    assert (op["executed"], op["reason"]) == ("f32", "not supported: a sum may not fit 32 bits")
