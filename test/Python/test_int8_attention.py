# int8 with calibration gives attentions products of codes where the outputs bear it and they are faster.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper
from test_poor_data import driver

HEADS, DEPTH, TOKENS, SAMPLES = 2, 32, 40, 6
WIDTH = HEADS * DEPTH


def weights(sharp: bool) -> dict[str, np.ndarray]:
    """`sharp`: scores so large that a query sees one or two keys, which codes mix up."""
    rng = np.random.default_rng(3)
    found = {name: rng.standard_normal((WIDTH, WIDTH)) / 8 for name in "qkvo"}
    if sharp:
        found["q"], found["k"] = found["q"] * 12, found["k"] * 12
    return {name: w.astype(np.float32) for name, w in found.items()}


def save(path: pathlib.Path, sharp: bool, length: int | str = TOKENS, isConvolved: bool = False) -> None:
    """`isConvolved`: a convolution along the tokens comes first."""
    nodes, constants = [], dict(weights(sharp), scale=np.float32(DEPTH**-0.5), shape=np.array([0, 0, HEADS, DEPTH]), flat=np.array([0, 0, WIDTH]))
    if isConvolved:
        constants["taps"] = (np.random.default_rng(6).standard_normal((WIDTH, WIDTH, 3)) / 14).astype(np.float32)
        nodes += [helper.make_node("Transpose", ["x"], ["channels"], perm=[0, 2, 1]),
                  helper.make_node("Conv", ["channels", "taps"], ["convolved"], "convolution", pads=[1, 1]),
                  helper.make_node("Transpose", ["convolved"], ["x0"], perm=[0, 2, 1])]  # fmt: skip
    for name in "qkv":
        nodes.append(helper.make_node("MatMul", ["x0" if isConvolved else "x", name], [f"{name}1"], f"{name}/product"))
        nodes.append(helper.make_node("Reshape", [f"{name}1", "shape"], [f"{name}2"], f"{name}/reshape"))
        order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes.append(helper.make_node("Transpose", [f"{name}2"], [f"{name}3"], f"{name}/heads", perm=order))
    nodes += [
        helper.make_node("MatMul", ["q3", "k3"], ["s"], "scores"), helper.make_node("Mul", ["s", "scale"], ["t"], "scaled"),
        helper.make_node("Softmax", ["t"], ["p"], "softmax"), helper.make_node("MatMul", ["p", "v3"], ["c"], "context"),
        helper.make_node("Transpose", ["c"], ["d"], "tokens", perm=[0, 2, 1, 3]), helper.make_node("Reshape", ["d", "flat"], ["e"], "joined"),
        helper.make_node("MatMul", ["e", "o"], ["y"], "output"),
    ]  # fmt: skip
    given, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, length, WIDTH]) for name in "xy")
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", [given], [result], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    data = np.random.default_rng(4).standard_normal((2 * SAMPLES, TOKENS, WIDTH)).astype(np.float32)
    np.savez(folder / "calib.npz", x=data[:SAMPLES])
    np.save(folder / "others.npy", data[SAMPLES:])
    save(folder / "plain.onnx", sharp=False)
    save(folder / "sharp.onnx", sharp=True)
    save(folder / "any.onnx", sharp=False, length="tokens")
    save(folder / "convolved.onnx", sharp=False, isConvolved=True)
    return folder


def compile_model(folder, model: str, name: str, target: str, precision: str = "int8", **flags) -> None:
    qcc.compile(folder / f"{model}.onnx", folder / name, precision=precision, calib=folder / "calib.npz", target=target, **flags)


def build(folder, model: str, name: str, target: str, **flags) -> dict:
    """What the report says of the attention."""
    compile_model(folder, model, name, target, **flags)
    (found,) = [op for op in json.loads((folder / name / "report.json").read_text())["ops"] if op["op"] == "qcc.attention"]
    return found


def expected(x: np.ndarray) -> np.ndarray:
    w = {name: a.astype(np.float64) for name, a in weights(sharp=False).items()}
    q, k, v = ((x @ w[name]).reshape(len(x), HEADS, DEPTH).swapaxes(0, 1) for name in "qkv")
    s = q @ k.swapaxes(1, 2) * DEPTH**-0.5
    p = np.exp(s - s.max(-1, keepdims=True))
    return ((p / p.sum(-1, keepdims=True)) @ v).swapaxes(0, 1).reshape(len(x), WIDTH) @ w["o"]


@pytest.mark.parametrize("model", ["plain", "any"])
def test_codes(folder, model):
    """Where VNNI multiplies bytes attention has codes, whatever the machine of the compiler; the report says so."""
    found = build(folder, model, f"codes-{model}", "avx512-vnni")
    assert (found["executed"], found["compute"], found["reason"]) == ("int8", "int8", "as asked")
    assert 0 < found["layer_error"] < 0.02
    # The name that --keep knows it by, not that of a transpose before it.
    assert found["node"] == "context"


def test_not_faster(folder):
    found = build(folder, "plain", "avx2", "avx2")
    assert (found["executed"], found["reason"]) == ("f32", "kept: not faster")


def test_kept(folder):
    found = build(folder, "plain", "kept", "avx512-vnni", keep=["context"])
    assert (found["executed"], found["reason"]) == ("f32", "kept: matches --keep=context")


def test_sensitive(folder):
    """One that codes would change too much stays f32, with its error told."""
    found = build(folder, "sharp", "sharp", "avx512-vnni", min_cos=0.99)
    assert (found["executed"], found["reason"]) == ("f32", "kept: outputs would change too much")
    assert found["layer_error"] > 0.05
    assert build(folder, "sharp", "forced", "avx512-vnni", min_cos=0)["executed"] == "int8"


@pytest.mark.parametrize(("precision", "flags", "reason"), [
    ("int8", {"algo": ["gptq"]}, "as asked"), ("int8", {"keep": ["product", "output"]}, "as asked"), ("w4a8", {}, "kept in int8: attention"),
    ("w4a8", {"algo": ["gptq", "clip"]}, "kept in int8: attention"), ("int8", {"algo": ["smoothquant"]}, "as asked"),
])  # fmt: skip
def test_alone(folder, precision, flags, reason):
    """Where no product has a known range attentions are measured by themselves."""
    found = build(folder, "plain", "alone", "avx512-vnni", precision=precision, **flags)
    assert (found["executed"], found["compute"], found["reason"]) == ("int8", "int8", reason)
    assert 0 < found["layer_error"] < 0.02
    found = build(folder, "sharp", "alone-sharp", "avx512-vnni", precision=precision, min_cos=0.99, **flags)
    assert (found["executed"], found["reason"]) == ("f32", "kept: outputs would change too much")
    assert found["layer_error"] > 0.05


def test_beside_convolutions(folder):
    """w4a8 measures attentions together with its convolutions."""
    found = build(folder, "convolved", "convolved", "avx512-vnni", precision="w4a8")
    assert (found["executed"], found["reason"]) == ("int8", "kept in int8: attention")
    assert 0 < found["layer_error"] < 0.02
    (convolution,) = [op for op in json.loads((folder / "convolved" / "report.json").read_text())["ops"] if "convolution" in op["nodes"]]
    assert convolution["compute"] == "int8"


@pytest.mark.parametrize("algo", ["smoothquant", "gptq", "rtn"])
def test_sizes_asked_for(folder, algo):
    """Attentions are chosen before there are copies of the model for sizes."""
    compile_model(folder, "any", f"sizes-{algo}", "avx512-vnni", algo=algo, dim={"tokens": "40,8"})
    ops = json.loads((folder / f"sizes-{algo}" / "report.json").read_text())["ops"]
    assert [op["executed"] for op in ops if op["op"] == "qcc.attention"] == ["int8", "int8"]


def test_shards(folder, tmp_path):
    """A shard that has all samples that bear codes, and one that has none: the bytes of one process."""
    data = np.load(folder / "calib.npz")["x"].copy()
    data[1::2] *= 30
    np.savez(tmp_path / "calib.npz", x=data)
    model = [folder / "plain.onnx", "--precision=int8", "--algo=gptq", "--target=avx512-vnni"]
    flags = [*model, f"--calib={tmp_path / 'calib.npz'}"]
    shared = [*flags, f"--checkpoint={tmp_path / 'checkpoints'}"]
    status = 5
    for _ in range(9):
        status, problems, _ = driver(*shared, "--shards=2", "-o", tmp_path / "joined")
        if status != 5:
            break
        for i in (1, 2):
            assert driver("calibrate", *shared, f"--shard={i}/2")[0] == 0
    assert status == 0, problems
    assert driver(*flags, "-o", tmp_path / "whole")[0] == 0
    for name in ("libmodel.so", "report.json"):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    reasons = []
    for part in (0, 1):
        np.savez(tmp_path / f"{part}.npz", x=data[part::2])
        assert driver(*model, f"--calib={tmp_path / f'{part}.npz'}", "-o", tmp_path / f"{part}")[0] == 0
        (found,) = [op for op in json.loads((tmp_path / f"{part}" / "report.json").read_text())["ops"] if op["op"] == "qcc.attention"]
        reasons.append(found["reason"])
    assert reasons == ["as asked", "kept: outputs would change too much"]


@pytest.mark.parametrize(("model", "precision", "isUsed"), [("plain", "int8", True), ("plain", "w4a8", True), ("product", "int8", False)])
def test_min_cos_with_algorithms(folder, model, precision, isUsed):
    """Attentions are chosen by it, weights are not: where there is no attention to choose, a warning says so."""
    product = helper.make_graph(
        [helper.make_node("MatMul", ["x", "q"], ["y"], "product")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [numpy_helper.from_array(weights(sharp=False)["q"], "q")],
    )  # fmt: skip
    onnx.save(helper.make_model(product, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "product.onnx")
    status, problems, _ = driver(
        folder / f"{model}.onnx", "-o", folder / "warned", f"--precision={precision}", "--algo=gptq",
        f"--calib={folder / 'calib.npz'}", "--min-cos=0.999", "--target=avx512-vnni",
    )  # fmt: skip
    assert status == 0
    assert ("--min-cos changes nothing" in problems) != isUsed


@pytest.mark.parametrize(("precision", "flags"), [("int8", {"max_size": "0.9x"}), ("w4a16", {"algo": ["gptq"]}), ("w4a16", {})])
def test_not_asked(folder, precision, flags):
    """Within budgets and where activations are f32 attention is f32."""
    assert build(folder, "plain", "float-attention", "avx512-vnni", precision=precision, **flags)["executed"] == "f32"


def test_close(folder):
    """Outputs on samples that were not calibrated on are near those in float64, by this machine's kernels and the reference's."""
    for target in ("reference", "native"):
        compile_model(folder, "plain", f"close-{target}", target)
        model = qcc.load(folder / f"close-{target}")
        for x in np.load(folder / "others.npy"):
            got, exact = model([x[None]])["y"][0].astype(np.float64), expected(x.astype(np.float64))
            assert float((got * exact).sum() / np.linalg.norm(got) / np.linalg.norm(exact)) > 0.9995


def test_written(folder):
    """A QDQ graph has no products with scales that are found at run time."""
    text = folder / "written.onnx"
    qcc.compile(folder / "plain.onnx", text, precision="int8", calib=folder / "calib.npz", emit="qdq-onnx")
    model = onnx.load(text)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    (context,) = [node for node in model.graph.node if node.name == "context"]
    assert "DequantizeLinear" not in [makers[name] for name in context.input]
    # Its decisions are those of an artifact with attention in f32: outputs are as near as results between two codes allow.
    compile_model(folder, "plain", "float", "native", keep=["context"])
    artifact, peer = qcc.load(folder / "float"), onnxruntime.InferenceSession(str(text))
    for x in np.load(folder / "others.npy"):
        (exact,) = peer.run(None, {"x": x[None]})
        assert np.linalg.norm(artifact([x[None]])["y"] - exact) < 0.002 * np.linalg.norm(exact)


def test_wide_heads(folder):
    """Heads that no kernel takes stay f32."""
    wide = folder / "wide.onnx"
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], "product"), helper.make_node("Reshape", ["a", "shape"], ["b"], "heads"),
             helper.make_node("Transpose", ["b"], ["c"], "swapped", perm=[0, 1, 3, 2]), helper.make_node("MatMul", ["b", "c"], ["s"], "scores"),
             helper.make_node("Softmax", ["s"], ["p"], "softmax"), helper.make_node("MatMul", ["p", "b"], ["y"], "context")]  # fmt: skip
    constants = {"w": np.random.default_rng(5).standard_normal((WIDTH, 288)).astype(np.float32) / 40, "shape": np.array([1, 1, TOKENS, 288])}
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, TOKENS, 288])
    graph = helper.make_graph(nodes, "g", [given], [result], [numpy_helper.from_array(a, n) for n, a in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), wide)
    qcc.compile(wide, folder / "wide", precision="int8", calib=folder / "calib.npz", target="avx512-vnni")
    ops = json.loads((folder / "wide" / "report.json").read_text())["ops"]
    assert any(op["executed"] == "int8" for op in ops)
    assert "int8" not in {op["executed"] for op in ops if "context" in op["nodes"]}
