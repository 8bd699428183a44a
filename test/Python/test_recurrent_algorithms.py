# Algorithms that look at activations, on products inside loops: recurrent layers over a free number of steps.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

FEATURES, HIDDEN, BATCH, STEPS = 24, 32, 4, 9
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def make_model(folder, op: str, direction: str):
    """A recurrent layer over a free number of steps, of activations that depend on each other."""
    rng = np.random.default_rng(5)
    both = 2 if direction == "bidirectional" else 1
    arrays = {
        "w": rng.standard_normal((both, GATES[op] * HIDDEN, FEATURES)) / np.sqrt(FEATURES),
        "r": rng.standard_normal((both, GATES[op] * HIDDEN, HIDDEN)) / np.sqrt(HIDDEN),
    }
    node = helper.make_node(op, ["x", "w", "r"], ["y"], "layer", hidden_size=HIDDEN, direction=direction)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", BATCH, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")
    (folder / "c").mkdir()
    mix = rng.standard_normal((8, FEATURES)) * np.exp(rng.uniform(-1, 1, FEATURES))
    samples = [rng.standard_normal((STEPS, BATCH, 8)) @ mix + 0.1 * rng.standard_normal((STEPS, BATCH, FEATURES)) for _ in range(13)]
    samples = [sample.astype(np.float32) for sample in samples]
    for i, sample in enumerate(samples[1:]):
        np.savez(folder / "c" / f"{i}.npz", x=sample)
    return folder / "m.onnx", folder / "c", samples[0]


def error(artifact, model, x):
    """Of the outputs, relative to those of the float model."""
    exact = qcc.load(qcc.compile(model, artifact.parent / "f32", target="avx2"))({"x": x})["y"]
    return float(np.square(qcc.load(artifact)({"x": x})["y"] - exact).sum() / np.square(exact).sum())


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("op", list(GATES))
def test_gptq_learns_from_every_step(tmp_path, op, direction):
    model, data, x = make_model(tmp_path, op, direction)
    errors = {}
    for algorithm in ("rtn", "gptq", "clip", "awq"):
        artifact = qcc.compile(model, tmp_path / algorithm, target="avx2", precision="w3a16", algo=algorithm, calib=data)
        errors[algorithm] = error(artifact, model, x)
        rows = json.loads((artifact / "report.json").read_text())["ops"]
        products = [row for row in rows if row["executed"].startswith("w3a16")]
        assert products
        if algorithm == "gptq":
            assert all(row["error_chosen"] < row["error_nearest"] for row in products if row.get("algorithm") == "gptq")
            assert any(row.get("algorithm") == "gptq" for row in products)
    assert errors["gptq"] < 0.8 * errors["rtn"], errors
    assert max(errors["clip"], errors["awq"]) < 1.1 * errors["rtn"], errors


@pytest.mark.parametrize("options", [{"algo": "smoothquant"}, {"algo": "gptq", "calib_mode": "parallel"}], ids=["smoothquant", "parallel"])
def test_others(tmp_path, options):
    model, data, x = make_model(tmp_path, "LSTM", "forward")
    artifact = qcc.compile(model, tmp_path / "a", target="avx2", precision="int8", calib=data, **options)
    assert error(artifact, model, x) < 1e-2


def test_correction_is_refused_by_name(tmp_path):
    model, data, _ = make_model(tmp_path, "GRU", "forward")
    with pytest.raises(qcc.CompileError, match=r"loops over products .* for gptq-correct, but got node 'layer' .*; gptq takes it \[QCC-E303\]"):
        qcc.compile(model, tmp_path / "a", target="avx2", precision="w4a16", algo="gptq-correct", calib=data)
