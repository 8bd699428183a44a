# Corrected biases of int8 with calibration: what the report says, the model that is written, and other samples.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import filecmp
import json
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

QCC = pathlib.Path(__file__).resolve().parents[2] / "build" / "bin" / "qcc"
CALIBRATED = 16


def save(path, dims=("N", 24, 20, 20)):
    """A convolution with a bias and one without, a product without and a Gemm with one. The product is too long for its weights to be chosen."""
    rng = np.random.default_rng(4)
    weights = {
        "w": rng.standard_normal((48, 24, 3, 3)) / 15, "wb": rng.standard_normal(48), "v": rng.standard_normal((64, 48, 3, 3)) / 21,
        "m": rng.standard_normal((4096, 80)) / 64, "g": rng.standard_normal((32, 80)) / 9, "gb": rng.standard_normal(32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "wb"], ["a"], "first", pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"], "second"), helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["e"], kernel_shape=[4, 4], strides=[2, 2]), helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["h"], "third"), helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("Gemm", ["i", "g", "gb"], ["y"], "fourth", transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [dims[0], 32])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bias")
    save(folder / "m.onnx")
    # Positive pixels: the rounding of a weight moves the mean.
    x = np.random.default_rng(5).random((48, 24, 20, 20), np.float32)
    np.savez(folder / "c.npz", x=x[:CALIBRATED])
    np.save(folder / "x.npy", x)
    flags = {"precision": "int8", "calib": folder / "c.npz", "target": "avx2"}
    qcc.compile(folder / "m.onnx", folder / "int8", **flags)
    qcc.compile(folder / "m.onnx", folder / "f32")
    return folder


def ops(artifact):
    return [op for op in json.loads((artifact / "report.json").read_text())["ops"] if op.get("layer_error")]


def lines(artifact):
    """What is told of corrections, by node."""
    notes = {op["node"]: note for op in ops(artifact) for note in op.get("transform", "").split("; ")}
    return {node: note for node, note in notes.items() if note.startswith("bias corrected")}


def test_report(folder):
    found = lines(folder / "int8")
    # Weights that are chosen keep the means of outputs: little is left to correct.
    assert "third" in found
    for op in ops(folder / "int8"):
        assert op["executed"] == "int8" and 0 < op["layer_error"] < 0.02
        if op["node"] in found:
            words = found[op["node"]].split()
            assert words[:3] == ["bias", "corrected:", "error"] and words[4] == "to"
            assert 0 < float(words[5]) <= float(words[3]) and float(words[5]) == pytest.approx(op["layer_error"], abs=1e-4)
            assert float(words[5]) < float(words[3]) or op["node"] != "third"


def test_weights_are_chosen(folder):
    """By what they change in the outputs on the samples."""
    chosen = {op["node"]: op["transform"].split("; ")[0] for op in ops(folder / "int8") if op["transform"].startswith("weights by")}
    assert set(chosen) == {"first", "second", "fourth"} and all(note.startswith("weights by gptq") for note in chosen.values())


def test_written(folder):
    """The model that is written has the corrections: ONNX Runtime's outputs are the artifact's, and nearer to f32 than without."""
    command = [QCC, folder / "m.onnx", "--precision=int8", f"--calib={folder / 'c.npz'}", "--target=avx2", "-q"]
    subprocess.run([*command, "--emit=qdq-onnx", "-o", folder / "q.onnx"], check=True)
    written = onnx.load(folder / "q.onnx")
    onnx.checker.check_model(written)
    weights = {w.name: numpy_helper.to_array(w) for w in written.graph.initializer}
    biases = {node.name: weights[node.input[2]] for node in written.graph.node if node.op_type == "Conv"}
    assert {name: len(bias) for name, bias in biases.items()} == {"first": 48, "second": 64}
    (before,) = (tensor for tensor in onnx.load(folder / "m.onnx").graph.initializer if tensor.name == "wb")
    assert np.abs(biases["first"] - numpy_helper.to_array(before)).max() > 0
    sums = [node for node in written.graph.node if node.op_type == "Add"]
    assert len(sums) == len(set(lines(folder / "int8")) & {"third", "fourth"})
    x = np.load(folder / "x.npy")[CALIBRATED:]
    qcc.compile(folder / "q.onnx", folder / "again", target="avx2")
    exact, low, again = (qcc.load(folder / name)({"x": x})["y"] for name in ("f32", "int8", "again"))
    assert np.mean(np.abs(low - again) <= 1e-5 * np.abs(low).max()) >= 0.99
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (peer,) = onnxruntime.InferenceSession(written.SerializeToString(), options).run(None, {"x": x})
    assert np.abs(low - peer).max() <= 0.02 * np.abs(low).max()
    # Without corrections: the biases of the model, and nothing added.
    plain = onnx.ModelProto()
    plain.CopyFrom(written)
    plain.graph.initializer.append(before)
    for node in plain.graph.node:
        if node.op_type == "Conv":
            node.input[2] = "wb" if node.name == "first" else ""
    for tensor in plain.graph.initializer:
        if tensor.name.endswith("/correction"):
            tensor.raw_data = bytes(len(tensor.raw_data))
    (other,) = onnxruntime.InferenceSession(plain.SerializeToString(), options).run(None, {"x": x})
    assert np.linalg.norm(low - exact) < 0.9 * np.linalg.norm(other - exact)


def test_same_bytes(folder):
    """Any number of threads finds the same corrections."""
    for jobs in (1, 3):
        qcc.compile(folder / "m.onnx", folder / f"jobs{jobs}", precision="int8", calib=folder / "c.npz", target="avx2", jobs=jobs)
    for name in ("libmodel.so", "manifest.json"):
        assert filecmp.cmp(folder / "jobs1" / name, folder / "jobs3" / name, shallow=False), name


def test_not_asked_for(folder):
    """Without corrections, by flag or recipe, no bias changes; the recipe gives the same bytes, and flags have the last word."""
    flags = {"precision": "int8", "calib": folder / "c.npz", "target": "avx2"}
    qcc.compile(folder / "m.onnx", folder / "plain", no_correct_bias=True, **flags)
    assert not lines(folder / "plain")
    assert (folder / "plain" / "libmodel.so").read_bytes() != (folder / "int8" / "libmodel.so").read_bytes()
    recipe = folder / "plain" / "recipe.yaml"
    assert "correct_bias: false" in recipe.read_text()
    assert "correct_bias" not in (folder / "int8" / "recipe.yaml").read_text()
    qcc.compile(folder / "m.onnx", folder / "same", recipe=recipe, calib=folder / "c.npz")
    qcc.compile(folder / "m.onnx", folder / "corrected", recipe=recipe, calib=folder / "c.npz", correct_bias=True)
    for name in ("libmodel.so", "manifest.json", "recipe.yaml"):
        assert filecmp.cmp(folder / "plain" / name, folder / "same" / name, shallow=False), name
        assert filecmp.cmp(folder / "int8" / name, folder / "corrected" / name, shallow=False), name
    recipe.write_text("schema: qcc-recipe/1\ncalibration: {corect_bias: false}\n")
    with pytest.raises(qcc.CompileError, match="correct_bias"):
        qcc.compile(folder / "m.onnx", folder / "bad", recipe=recipe, **flags)


def test_statistics_alone(folder):
    """Without samples nothing is measured and nothing corrected."""
    subprocess.run([QCC, "calibrate", folder / "m.onnx", f"--calib={folder / 'c.npz'}", "-o", folder / "s.stats", "-q"], check=True)
    qcc.compile(folder / "m.onnx", folder / "stats", precision="int8", stats=folder / "s.stats", target="avx2")
    assert not lines(folder / "stats")


def test_sizes_that_are_not_known(folder):
    """Pixels that the model does not count: products are corrected, convolutions are not."""
    save(folder / "n.onnx", ("N", 24, "H", "W"))
    qcc.compile(folder / "n.onnx", folder / "any", precision="int8", calib=folder / "c.npz", target="avx2")
    assert set(lines(folder / "any")) <= {"third", "fourth"}


def test_either_order(tmp_path):
    """Exporters write the bias of a product in front of it or behind: the correction is part of it either way."""
    rng = np.random.default_rng(6)
    weights = {"m": rng.standard_normal((4096, 80)) / 64, "bias": rng.standard_normal(80)}
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()]
    x = rng.random((16, 4096), np.float32)
    np.savez(tmp_path / "c.npz", x=x[:8])
    results = []
    for name, inputs in (("last", ["h", "bias"]), ("first", ["bias", "h"])):
        nodes = [helper.make_node("MatMul", ["x", "m"], ["h"], "product"), helper.make_node("Add", inputs, ["y"], "sum")]
        given, result = (helper.make_tensor_value_info(value, TensorProto.FLOAT, [8, size]) for value, size in (("x", 4096), ("y", 80)))
        graph = helper.make_graph(nodes, "g", [given], [result], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), tmp_path / f"{name}.onnx")
        qcc.compile(tmp_path / f"{name}.onnx", tmp_path / name, precision="int8", calib=tmp_path / "c.npz", target="avx2")
        assert lines(tmp_path / name)
        results.append(qcc.load(tmp_path / name)([x[8:]])["y"])
    assert np.array_equal(*results)
