# Attention as exporters write it: zeros for rows with nothing to see, one head of keys and values for all queries,
# scores that tanh keeps below a cap, masks of several kinds, all heads in one dimension.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import parser

HEADS, TOKENS, DEPTH = 4, 24, 16


def text(queries: int, heads: int, zero: str) -> str:
    return f"""<ir_version: 10, opset_import: ["": 20]>
    m (float[2,{HEADS},{queries},{DEPTH}] q, float[2,{heads},{TOKENS},{DEPTH}] k, float[2,{heads},{TOKENS},{DEPTH}] v,
       float[2,1,{queries},{TOKENS}] hidden) => (float[2,{HEADS},{queries},{DEPTH}] y)
    <float scale = {{0.25}}, {zero} zero = {{0.0}}> {{
      t = Transpose<perm = [0, 1, 3, 2]>(k)
      product = MatMul(q, t)
      scaled = Mul(product, scale)
      scores = Add(scaled, hidden)
      p = Softmax<axis = -1>(scores)
      none = IsNaN(p)
      weights = Where(none, zero, p)
      y = MatMul(weights, v)
    }}"""


@pytest.mark.parametrize("heads", [HEADS, 1])
@pytest.mark.parametrize("queries", [TOKENS, 2])
@pytest.mark.parametrize(("target", "zero"), [("native", "float"), ("native", "float[1]"), ("reference", "float")])
def test_nothing_to_see(tmp_path, heads, queries, target, zero):
    path = tmp_path / "m.onnx"
    onnx.save(parser.parse_model(text(queries, heads, zero)), path)
    rng = np.random.default_rng(5)
    arrays = {n: rng.standard_normal((2, h, s, DEPTH)).astype(np.float32)
              for n, h, s in (("q", HEADS, queries), ("k", heads, TOKENS), ("v", heads, TOKENS))}  # fmt: skip
    # A batch padded on the left: the second sequence has nothing to see in its first row, little in others.
    hidden = np.where(rng.random((2, 1, queries, TOKENS)) < 0.3, -np.inf, 0).astype(np.float32)
    hidden[1, 0, 0] = -np.inf
    arrays["hidden"] = hidden
    model = qcc.load(qcc.compile(path, tmp_path / "m.qcc", target=target), threads=1)
    got = model(arrays)["y"]
    want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, arrays)[0]
    assert not want[1, :, 0].any() and not got[1, :, 0].any()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)
    if target == "native":  # the other one computes it in steps
        ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
        assert ["attention" in op["kernel"] for op in ops] == [True]


CAPPED = f"""<ir_version: 10, opset_import: ["": 20]>
    m (float[2,{HEADS},s,{DEPTH}] q, float[2,{HEADS},t,{DEPTH}] k, float[2,{HEADS},t,{DEPTH}] v, float[2,1,s,t] hidden)
      => (float[2,{HEADS},s,{DEPTH}] y)
    <float scale = {{0.5}}, float cap = {{CAP}}> {{
      kt = Transpose<perm = [0, 1, 3, 2]>(k)
      product = MatMul(q, kt)
      scaled = Mul(product, scale)
      shares = Div(scaled, cap)
      bounded = Tanh(shares)
      capped = Mul(bounded, cap)
      scores = Add(capped, hidden)
      p = Softmax<axis = -1>(scores)
      y = MatMul(p, v)
    }}"""


@pytest.mark.parametrize("cap", [1.5, 50.0])
@pytest.mark.parametrize("target", ["native", "reference"])
def test_scores_below_a_cap(tmp_path, cap, target):
    """As Gemma 2 has them: one kernel, of prompts and of single tokens."""
    path = tmp_path / "m.onnx"
    onnx.save(parser.parse_model(CAPPED.replace("CAP", str(cap))), path)
    model = qcc.load(qcc.compile(path, tmp_path / "m.qcc", target=target), threads=1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(6)
    for queries, keys in ((TOKENS, TOKENS), (1, 90), (70, 200)):
        arrays = {n: rng.standard_normal((2, HEADS, s, DEPTH)).astype(np.float32) for n, s in (("q", queries), ("k", keys), ("v", keys))}
        arrays["hidden"] = np.where(rng.random((2, 1, queries, keys)) < 0.3, -1e9, 0).astype(np.float32)
        want = session.run(None, arrays)[0]
        np.testing.assert_allclose(model(arrays)["y"], want, rtol=1e-5, atol=1e-5)
    if target == "native":
        ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
        assert ["attention" in op["kernel"] for op in ops] == [True]


# What stands between `product` and `scores`.
MASKS = {
    "two masks": "biased = Add(product, bias) scores = Add(biased, hidden)",
    "a bias of rank 3": "biased = Add(product, bias3) scores = Add(biased, hidden)",
    "the mask first": "masked = Add(hidden, product) scores = Add(bias, masked)",
    "a mask of all sizes": "sizes = Shape(product) spread = Expand(hidden, sizes) scores = Add(spread, product)",
    "seen, else -1e9": "scores = Where(seen, product, big)",
    "unseen, then infinite": "unseen = Not(seen) scores = Where(unseen, infinite, product)",
    "seen and biased": "biased = Add(product, bias) scores = Where(seen, biased, big)",
    "biased, then scaled": "biased = Add(product, bias) masked = Add(biased, hidden) scores = Div(masked, scale)",
    "seen, then scaled": "biased = Add(product, bias) masked = Where(seen, biased, big) scores = Mul(masked, scale)",
    "not below the lowest": "masked = Add(product, hidden) biased = Add(masked, bias) scores = Max(biased, lowest)",
}
FORMS = {
    "rank 4": "kt = Transpose<perm = [0, 1, 3, 2]>(k) q4 = Mul(q, scale) product = MatMul(q4, kt) {mask} p = Softmax<axis = -1>(scores) y = MatMul(p, v)",
    "rank 3": """q3 = Reshape(q, flat) k3 = Reshape(k, flat) v3 = Reshape(v, flat) kt = Transpose<perm = [0, 2, 1]>(k3) scaled = Mul(q3, scale)
                 all = MatMul(scaled, kt) product = Reshape(all, apart) {mask} p = Softmax<axis = -1>(scores) p3 = Reshape(p, together)
                 y3 = MatMul(p3, v3) y = Reshape(y3, result)""",
    "rank 3, alibi": """q3 = Reshape(q, flat) k3 = Reshape(k, flat) v3 = Reshape(v, flat) kt = Transpose<perm = [0, 2, 1]>(k3)
                 all = MatMul(q3, kt) scaled = Mul(all, scale) twice = Concat<axis = 0>(bias3, bias3) shifted = Add(scaled, twice)
                 product = Reshape(shifted, apart) {mask} p = Softmax<axis = -1>(scores) p3 = Reshape(p, together)
                 y3 = MatMul(p3, v3) y = Reshape(y3, result)""",
    "rank 3, softmax too": """q3 = Reshape(q, flat) k3 = Reshape(k, flat) v3 = Reshape(v, flat) kt = Transpose<perm = [0, 2, 1]>(k3)
                 all = MatMul(q3, kt) scaled = Mul(all, scale) product = Reshape(scaled, apart) {mask} scores3 = Reshape(scores, together)
                 p3 = Softmax<axis = -1>(scores3) y3 = MatMul(p3, v3) y = Reshape(y3, result)""",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask", MASKS)
def test_forms(tmp_path, form, mask):
    path = tmp_path / "m.onnx"
    text = f"""<ir_version: 10, opset_import: ["": 20]>
    m (float[2,{HEADS},s,{DEPTH}] q, float[2,{HEADS},{TOKENS},{DEPTH}] k, float[2,{HEADS},{TOKENS},{DEPTH}] v, float[2,1,s,{TOKENS}] hidden,
       float[1,{HEADS},1,{TOKENS}] bias, bool[2,1,s,{TOKENS}] seen) => (float[2,{HEADS},s,{DEPTH}] y)
    <float scale = {{0.5}}, float big = {{-1e9}}, int64[3] heads = {{{HEADS}, 1, {TOKENS}}}, int64[3] flat = {{{2 * HEADS}, -1, {DEPTH}}}, int64[4] apart = {{2, {HEADS}, -1, {TOKENS}}},
     int64[3] together = {{{2 * HEADS}, -1, {TOKENS}}}, int64[4] result = {{2, {HEADS}, -1, {DEPTH}}}> {{
      bias3 = Reshape(bias, heads)
      {FORMS[form].format(mask=MASKS[mask])}
    }}"""
    model = parser.parse_model(text)
    numbers = {"infinite": np.float32(-np.inf), "lowest": np.finfo(np.float32).min}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(number), name) for name, number in numbers.items())
    onnx.save(model, path)
    compiled = qcc.load(qcc.compile(path, tmp_path / "m.qcc"), threads=1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    for queries in (1, TOKENS):
        arrays = {n: rng.standard_normal((2, HEADS, s, DEPTH)).astype(np.float32) for n, s in (("q", queries), ("k", TOKENS), ("v", TOKENS))}
        arrays["seen"] = rng.random((2, 1, queries, TOKENS)) < 0.6
        arrays["hidden"] = np.where(arrays["seen"], 0, -np.inf).astype(np.float32)
        arrays["bias"] = rng.standard_normal((1, HEADS, 1, TOKENS)).astype(np.float32)
        want = session.run(None, arrays)[0]
        np.testing.assert_allclose(compiled(arrays)["y"], want, rtol=1e-5, atol=2e-6)
    ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
    assert [op["op"] for op in ops].count("qcc.attention") == 1 and not any("softmax" in op["op"] for op in ops), ops


@pytest.mark.parametrize("order", ["masked = Add(product, hidden) bounded = Max(masked, lowest) scores = Mul(bounded, scale)", "masked = Add(product, hidden) twice = Div(masked, scale) scores = Max(twice, lowest)", "once = Add(product, low) masked = Add(once, low) scores = Max(masked, lowest)"])
def test_keys_that_all_are_lowest_count_alike(tmp_path, order):
    """As OPT has it: where a mask leaves a row nothing, its result is the mean of all values and not zeros."""
    path = tmp_path / "m.onnx"
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["": 20]>
    m (float[2,{HEADS},s,{DEPTH}] q, float[2,{HEADS},{TOKENS},{DEPTH}] k, float[2,{HEADS},{TOKENS},{DEPTH}] v, float[2,1,s,{TOKENS}] hidden)
      => (float[2,{HEADS},s,{DEPTH}] y) <float scale = {{0.5}}> {{
      low = Max(hidden, lowest) kt = Transpose<perm = [0, 1, 3, 2]>(k) product = MatMul(q, kt) {order} p = Softmax<axis = -1>(scores) y = MatMul(p, v)
    }}""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(np.finfo(np.float32).min), "lowest"))
    onnx.save(model, path)
    compiled = qcc.load(qcc.compile(path, tmp_path / "m.qcc"), threads=1)
    rng = np.random.default_rng(8)
    arrays = {n: rng.standard_normal((2, HEADS, TOKENS, DEPTH)).astype(np.float32) for n in "qkv"}
    arrays["hidden"] = np.where(rng.random((2, 1, TOKENS, TOKENS)) < 0.5, 0, -np.inf).astype(np.float32)
    arrays["hidden"][:, :, :3] = -np.inf
    want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, arrays)[0]
    np.testing.assert_allclose(want[:, :, 0], arrays["v"].mean(axis=2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(compiled(arrays)["y"], want, rtol=1e-5, atol=2e-6)
    ops = json.loads((tmp_path / "m.qcc" / "report.json").read_text())["ops"]
    assert not any("softmax" in op["op"] for op in ops)
