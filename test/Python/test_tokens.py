# Which input of a language model has its tokens, for perplexity and for budgets of it.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

CLASSES, WIDTH, POSITIONS = 48, 32, 64


def save(path, inputs, second="input_ids"):
    """Logits of embedded tokens, masked and with embedded positions; `second` is embedded as tokens are."""
    random = np.random.default_rng(3)
    table = random.standard_normal((CLASSES, WIDTH))
    weights = {"e": table, "p": random.standard_normal((POSITIONS, WIDTH)) / 8, "w": random.standard_normal((WIDTH, WIDTH)) / 6, "u": table.T}
    nodes = [
        helper.make_node("Gather", ["e", "input_ids"], ["a"]), helper.make_node("Gather", ["e", second], ["a2"]),
        helper.make_node("Gather", ["p", "position_ids"], ["b"]), helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "axis"], ["mm"]), helper.make_node("Sum", ["a", "a2", "b"], ["c"]),
        helper.make_node("Mul", ["c", "mm"], ["d"]), helper.make_node("MatMul", ["d", "w"], ["h"], "hidden"),
        helper.make_node("Tanh", ["h"], ["t"]), helper.make_node("MatMul", ["t", "u"], ["logits"], "head"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", CLASSES])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()] + [numpy_helper.from_array(np.int64([2]), "axis")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    random = np.random.default_rng(4)
    arrays = {
        "input_ids": random.integers(0, CLASSES, (12, 20)), "attention_mask": np.ones((12, 20), np.int64),
        "position_ids": np.tile(np.arange(20), (12, 1)), "other_ids": random.integers(0, CLASSES, (12, 20)),
    }  # fmt: skip
    path = tmp_path_factory.mktemp("tokens") / "data.npz"
    np.savez(path, **arrays)
    return path, arrays


def chosen(artifact):
    return json.loads((artifact / "report.json").read_text())["assignment"]["chosen"]


def evaluate(model, artifact, data, *more):
    words = [qcc._driver._find_driver(), "eval", artifact, f"--reference={model}", f"--data={data}", "--metric=perplexity", "--json", "-q", *more]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("first", ["attention_mask", "position_ids", "input_ids"])
def test_tokens_are_what_an_embedding_reads(tmp_path, data, first):
    path, arrays = data
    inputs = sorted(["attention_mask", "position_ids", "input_ids"], key=lambda name: name != first)
    save(tmp_path / "m.onnx", inputs)
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", calib=path, precision="mixed", max_size="0.9x")
    assert chosen(artifact)["drop_metric"] == "perplexity"
    feeds = {name: arrays[name] for name in inputs}
    logits = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "f.qcc"))(feeds)["logits"].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    want = np.exp(-np.take_along_axis(logs[:, :-1], arrays["input_ids"][:, 1:, None], 2).mean())
    done = evaluate(tmp_path / "m.onnx", artifact, path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["reference"] == pytest.approx(want, rel=1e-4), done.stdout


def test_limits_of_a_guess_are_warned_of(tmp_path, data):
    """Of tokens that the float model predicts worse than a guess; not of its own ones, nor without a limit of the drop."""
    path, arrays = data
    inputs = ["input_ids", "attention_mask", "position_ids"]
    save(tmp_path / "m.onnx", inputs)
    model = qcc.load(qcc.compile(tmp_path / "m.onnx", tmp_path / "f.qcc"))
    own = {name: arrays[name].copy() for name in inputs}
    for i in range(19):
        own["input_ids"][:, i + 1] = model(own)["logits"][:, i].argmax(-1)
    np.savez(tmp_path / "own.npz", **own)

    def told(calib, **budget):
        artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", calib=calib, precision="w8a16", **budget)
        return [text for text in json.loads((artifact / "report.json").read_text())["warnings"] if "guess" in text]

    [text] = told(path, max_drop="20%")
    assert text.startswith("the float model: the perplexity of ") and f"above that of a guess among {CLASSES} classes; --max-drop limits" in text
    assert told(path, max_size="0.9x") == told(tmp_path / "own.npz", max_drop="20%") == []


def test_two_inputs_that_may_be_tokens_are_a_question(tmp_path, data):
    path, arrays = data
    save(tmp_path / "m.onnx", ["other_ids", "attention_mask", "position_ids", "input_ids"], second="other_ids")
    artifact = qcc.compile(tmp_path / "m.onnx", tmp_path / "m.qcc", calib=path, precision="mixed", max_size="0.9x")
    assert chosen(artifact)["drop_metric"] == "top1"
    done = evaluate(tmp_path / "m.onnx", artifact, path)
    assert done.returncode == 2 and "expected --tokens=NAME" in done.stderr and "'other_ids', 'input_ids'" in done.stderr, done.stderr
    assert evaluate(tmp_path / "m.onnx", artifact, path, "--tokens=input_ids").returncode == 0
    # Nothing but types is known of an artifact.
    done = evaluate(artifact, artifact, path)
    assert done.returncode == 2 and "'attention_mask'" in done.stderr, done.stderr
