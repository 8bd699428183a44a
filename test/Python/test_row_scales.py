# int8 with calibration where one scale for all rows of an activation is too coarse: products find scales of rows.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

CLASSES, WIDTH, TOKENS, SAMPLES = 200, 96, 64, 8
REASON = "scales per row: with one for all rows outputs would change too much"


def embedding() -> np.ndarray:
    """Rows of magnitude 1, and every sixteenth of 20."""
    rows = np.random.default_rng(0).standard_normal((CLASSES, WIDTH))
    rows[::16] *= 20
    return rows.astype(np.float32)


def save(path, tokens: bool) -> None:
    """Two products behind an embedding, which is the model's or that of who calls it."""
    rng = np.random.default_rng(1)
    weights = {"w": rng.standard_normal((WIDTH, WIDTH)) / 8, "v": rng.standard_normal((WIDTH, CLASSES)) / 6}
    nodes = [
        helper.make_node("MatMul", ["rows", "w"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["logits"], "second"),
    ]  # fmt: skip
    given = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, TOKENS, WIDTH])
    if tokens:
        weights["e"] = embedding()
        nodes.insert(0, helper.make_node("Gather", ["e", "ids"], ["rows"], "embed"))
        given = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, TOKENS])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, TOKENS, CLASSES])
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "g", [given], [logits], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    ids = np.random.default_rng(2).integers(0, CLASSES, (2 * SAMPLES, TOKENS))
    np.savez(folder / "ids.npz", ids=ids[:SAMPLES])
    np.savez(folder / "rows.npz", rows=embedding()[ids[:SAMPLES]])
    np.save(folder / "others.npy", ids[SAMPLES:])
    save(folder / "tokens.onnx", tokens=True)
    save(folder / "numbers.onnx", tokens=False)
    return folder


def build(folder, model: str, name: str, data=None, **flags):
    data = data or folder / ("ids.npz" if model == "tokens" else "rows.npz")
    qcc.compile(folder / f"{model}.onnx", folder / name, precision="int8", calib=data, **flags)
    ops = json.loads((folder / name / "report.json").read_text())["ops"]
    return {op["node"]: (op["executed"], op["reason"]) for op in ops if op["node"] in ("first", "second")}


def divergence(folder, name: str) -> float:
    """Mean Kullback-Leibler divergence of the tokens from those of the model in f32, on other samples."""
    e, (w, v) = embedding().astype(np.float64), [numpy_helper.to_array(t).astype(np.float64) for t in onnx.load(folder / "tokens.onnx").graph.initializer[:2]]
    ids = np.load(folder / "others.npy")
    exact = np.maximum(e[ids] @ w, 0) @ v
    model = qcc.load(folder / name)
    got = np.concatenate([model([row[None]])["logits"] for row in ids]).astype(np.float64)

    def log_softmax(x):
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    p, q = log_softmax(exact), log_softmax(got)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def test_tokens(folder):
    """One scale changes the tokens more than 0.005 nats, though the cosine holds; products that find their own do not."""
    found = build(folder, "tokens", "rows")
    assert ("int8", REASON) in found.values()
    assert all(executed == "int8" for executed, _ in found.values())
    known = build(folder, "tokens", "known", min_cos=0)
    assert all(reason.startswith("as asked") for _, reason in known.values())
    assert divergence(folder, "rows") < 0.006 < divergence(folder, "known")


def test_numbers(folder):
    """What is no language model is judged by the cosine, and that is near enough; closer ones need the scales."""
    found = build(folder, "numbers", "numbers")
    assert all(reason.startswith("as asked") for _, reason in found.values())
    found = build(folder, "numbers", "closer", min_cos=0.9999)
    assert ("int8", REASON) in found.values()


def test_outliers_in_every_row(folder):
    """Rows that all reach as far have scales of their own as coarse as one for all: a product stays in f32, the others in codes as asked."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((SAMPLES, TOKENS, WIDTH))
    np.put_along_axis(rows, rng.integers(0, WIDTH, (SAMPLES, TOKENS, 1)), 30.0, axis=-1)
    data = folder / "outliers.npz"
    np.savez(data, rows=rows.astype(np.float32))
    found = build(folder, "numbers", "outliers", data=data, min_cos=0.9998)
    reasons = {reason for _, reason in found.values()}
    assert REASON not in reasons
    assert sorted(executed for executed, _ in found.values()) == ["f32", "int8"], found


def test_written(folder):
    """Scales of a QDQ graph are known: it keeps them where the cosine holds."""
    text = folder / "written.onnx"
    qcc.compile(folder / "tokens.onnx", text, precision="int8", calib=folder / "ids.npz", emit="qdq-onnx")
    quantized = [node for node in onnx.load(text).graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) == 2


def test_same_bytes(folder):
    for jobs in (1, 2):
        build(folder, "tokens", f"jobs{jobs}", jobs=jobs)
    one, two = ((folder / f"jobs{jobs}" / "libmodel.so").read_bytes() for jobs in (1, 2))
    assert one == two
