# Budgets of models with convolutions: which layers run in int8, that it holds in the artifact, and what is refused.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import hashlib
import itertools
import json
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(7)
CLASSES, SAMPLES = 10, 48


def weight(*shape: int, outliers: float = 1) -> np.ndarray:
    """Random weights of which every fourth output has a large one: the scale of its channel suits that one alone."""
    values = RNG.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]))
    values.reshape(shape[0], -1)[::4, 0] *= outliers
    return values.astype(np.float32)


def save(path: pathlib.Path, nodes: list, tensors: dict[str, np.ndarray], shape: list) -> pathlib.Path:
    """A model from x of a shape to y."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def make_model(path: pathlib.Path) -> pathlib.Path:
    """Four convolutions with a sum of two, and a linear layer for the classes; `steep` is hard to round."""
    tensors = {
        "first": weight(16, 3, 3, 3),
        "steep": weight(32, 16, 3, 3, outliers=60),
        "gentle": weight(32, 32, 3, 3),
        "last": weight(64, 32, 3, 3),
        "head": weight(CLASSES, 64),
    }
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "first", **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "steep"], ["c"], "steep", **same),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "gentle"], ["e"], "gentle", **same),
        helper.make_node("Add", ["d", "e"], ["f"], "sum"),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Conv", ["g", "last"], ["h"], "last", strides=[2, 2], **same),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("GlobalAveragePool", ["i"], ["j"], "mean"),
        helper.make_node("Flatten", ["j"], ["k"]),
        helper.make_node("Gemm", ["k", "head"], ["y"], "head", transB=1),
    ]
    return save(path, nodes, tensors, ["n", 3, 24, 24])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budgets")
    (folder / "data").mkdir()
    for i in range(SAMPLES):
        np.savez(folder / "data" / f"{i:03}.npz", x=RNG.standard_normal((1, 3, 24, 24)).astype(np.float32))
    return make_model(folder / "m.onnx"), folder / "data"


def compile_(files, output, **options):
    model, data = files
    return qcc.compile(model, output, calib=data, **{"target": "avx2", "precision": "int8", **options})


def report(artifact):
    return json.loads((artifact / "report.json").read_text())


def layers(artifact):
    """What became of each layer of the model."""
    kinds = ("qcc.conv", "qcc.int_conv", "qcc.matmul", "qcc.int_matmul", "tile")
    return {op["node"]: op for op in report(artifact)["ops"] if op["op"] in kinds}


def outputs(artifact, data):
    model = qcc.load(artifact)
    return np.concatenate([model({"x": np.load(path)["x"]})["y"] for path in sorted(data.iterdir())]).astype(np.float64)


def digest(artifact):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(artifact.iterdir()) if p.name != "profile.json"}


@pytest.fixture(scope="module")
def exact(files, tmp_path_factory):
    return outputs(qcc.compile(files[0], tmp_path_factory.mktemp("f32") / "f32", target="avx2"), files[1])


def divergence(exact, changed):
    """Kullback-Leibler divergence of classes, mean of samples."""
    logs = [y - y.max(-1, keepdims=True) for y in (exact, changed)]
    p, q = (y - np.log(np.exp(y).sum(-1, keepdims=True)) for y in logs)
    return (np.exp(p) * (p - q)).sum(-1).mean()


@pytest.mark.parametrize("drop", ["0", "2.1%", "100%"])
def test_drop_holds_in_the_artifact(files, exact, tmp_path, drop):
    artifact = compile_(files, tmp_path / "m.qcc", max_drop=drop, min_cos=0)
    found = report(artifact)["assignment"]
    assert (found["metric"], found["chosen"]["drop_metric"], found["samples"]) == ("kl", "top1", SAMPLES)
    changed = outputs(artifact, files[1])
    assert found["chosen"]["drop"] == np.mean(changed.argmax(-1) != exact.argmax(-1))
    assert found["chosen"]["drop"] <= float(drop.rstrip("%")) / (100 if "%" in drop else 1)
    assert found["chosen"]["error"] == pytest.approx(divergence(exact, changed), rel=1e-3, abs=1e-9)
    executed = {node: op["executed"] for node, op in layers(artifact).items()}
    for layer in found["layers"]:
        if layer["columns"]:
            assert executed[layer["node"]] == layer["format"]
    if drop == "100%":
        assert {layer["format"] for layer in found["layers"]} == {"int8"}


def test_size_holds_and_what_is_hard_stays_float(files, exact, tmp_path):
    artifact = compile_(files, tmp_path / "m.qcc", max_size="0.5x")
    found = report(artifact)["assignment"]
    assert found["chosen"]["bytes"] <= 0.5 * found["float"]["bytes"]
    assert report(artifact)["summary"]["weight_bytes"] == pytest.approx(found["chosen"]["bytes"], rel=0.02)
    what = layers(artifact)
    errors = {layer["node"]: layer["candidates"][1]["error"] for layer in found["layers"] if layer["rows"] > 64}
    assert max(errors, key=errors.get) == "steep" and what["steep"]["executed"] == "f32"
    assert what["steep"]["reason"] == f"assigned: kl {errors['steep']:.2e} in int8"
    assert what["last"]["executed"] == "int8" and what["last"]["reason"] == f"assigned: kl {errors['last']:.2e}"
    assert found["chosen"]["error"] == pytest.approx(divergence(exact, outputs(artifact, files[1])), rel=1e-3)


def test_no_other_choice_of_that_size_is_better(files, tmp_path):
    found = report(compile_(files, tmp_path / "m.qcc", max_size="0.6x"))["assignment"]
    candidates = [[(c["bytes"], c["error"]) for c in layer["candidates"]] for layer in found["layers"]]
    chosen = sum(c["bytes"] for layer in found["layers"] for c in layer["candidates"] if c["format"] == layer["format"])
    limit = 0.6 * found["float"]["bytes"] - (found["chosen"]["bytes"] - chosen)
    sums = [np.sum(picks, axis=0) for picks in itertools.product(*candidates)]
    assert found["chosen"]["predicted_error"] == pytest.approx(min(error for size, error in sums if size <= limit), rel=2e-4)


def test_several_budgets_hold_at_once(files, tmp_path):
    artifact = compile_(files, tmp_path / "m.qcc", precision="int8,f32", max_size="0.7x", max_latency="0.9x", max_drop="5%")
    found = report(artifact)["assignment"]
    assert found["budgets"] == {"size": "0.7x", "drop": "5%", "latency": "0.9x"}
    assert found["chosen"]["bytes"] <= 0.7 * found["float"]["bytes"]
    assert found["chosen"]["predicted_seconds"] <= 0.9 * found["float"]["predicted_seconds"]
    assert found["chosen"]["drop"] <= 0.05


def test_bytes_depend_on_neither_threads_nor_runs(files, tmp_path):
    one, many = (compile_(files, tmp_path / f"{jobs}.qcc", max_size="0.5x", jobs=jobs) for jobs in (1, 4))
    assert digest(one) == digest(many)
    again = qcc.compile(files[0], tmp_path / "again.qcc", calib=files[1], recipe=one / "recipe.yaml")
    assert digest(one) == digest(again)


def test_what_was_measured_as_float_is_float(files, tmp_path):
    """Beside codes: a layer that is kept reads what a maximum in codes is taken of."""
    tensors = {"first": weight(16, 3, 3, 3), "kept": weight(32, 16, 3, 3), "pooled": weight(32, 16, 3, 3), "head": weight(CLASSES, 32)}
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "first", **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "pooled"], ["d"], "pooled", **same),
        helper.make_node("Conv", ["b", "kept"], ["e"], "kept", strides=[2, 2], **same),
        helper.make_node("Mul", ["d", "e"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], "mean"),
        helper.make_node("Flatten", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "head"], ["y"], "head", transB=1),
    ]
    model = save(tmp_path / "m.onnx", nodes, tensors, ["n", 3, 24, 24])
    artifact = compile_((model, files[1]), tmp_path / "m.qcc", max_size="0.7x", keep=["^kept$"])
    what, found = layers(artifact), report(artifact)["assignment"]
    assert what["pooled"]["executed"] == "int8" and what["kept"]["executed"] == "f32"
    exact = outputs(qcc.compile(model, tmp_path / "f32", target="avx2"), files[1])
    assert found["chosen"]["error"] == pytest.approx(divergence(exact, outputs(artifact, files[1])), rel=1e-3)


def test_what_is_kept_stays_float(files, tmp_path):
    artifact = compile_(files, tmp_path / "m.qcc", max_size="0.9x", keep=["^last$"])
    assert layers(artifact)["last"]["reason"] == "kept: matches --keep=^last$"
    assert "last" not in {layer["node"] for layer in report(artifact)["assignment"]["layers"]}


@pytest.mark.parametrize("options", [{"max_size": "0.1x"}, {"max_size": "5KB"}, {"max_latency": "0.05x"}])
def test_what_cannot_be_met_names_the_nearest(files, tmp_path, options):
    with pytest.raises(qcc.CompileError) as caught:
        compile_(files, tmp_path / "m.qcc", **options)
    assert (caught.value.exit_code, caught.value.code) == (6, "QCC-E802")
    flag, value = caught.value.text.split("the nearest that can be met: --")[1].split()[0].rstrip(",").split("=")
    compile_(files, tmp_path / "m.qcc", **{flag.replace("-", "_"): value})


def test_targets_without_figures(files, tmp_path):
    """Sizes are known there, times are not."""
    found = report(compile_(files, tmp_path / "m.qcc", target="reference", max_size="0.5x"))["assignment"]
    assert found["chosen"]["bytes"] <= 0.5 * found["float"]["bytes"]
    with pytest.raises(qcc.CompileError, match="expected a target with figures of how long layers take") as caught:
        compile_(files, tmp_path / "n.qcc", target="reference", max_latency="0.5x")
    assert caught.value.code == "QCC-E401"


def test_passes_alone_refuse(tmp_path):
    """Without samples, and for formats that they do not choose from."""
    text = tmp_path / "m.mlir"
    text.write_text("module { func.func @main() { return } }\n")
    opt = pathlib.Path(__file__).parents[2] / "build" / "bin" / "qcc-opt"
    for flag, words in (("max-drop=1%", "expected samples and a target"), ("max-size=1x scheme=w4a8", "expected samples and a target")):
        done = subprocess.run([opt, text, f"--qcc-quantize-static={flag}"], capture_output=True, text=True)
        assert done.returncode != 0 and "[QCC-E401]" in done.stderr and words in done.stderr


def test_what_has_nothing_to_choose(tmp_path):
    """The one layer has too few weights per output to be worth codes."""
    save(tmp_path / "m.onnx", [helper.make_node("Conv", ["x", "w"], ["y"], "only")], {"w": weight(8, 4, 1, 1)}, [1, 4, 8, 8])
    np.savez(tmp_path / "data.npz", x=RNG.standard_normal((1, 4, 8, 8)).astype(np.float32))
    files = tmp_path / "m.onnx", tmp_path / "data.npz"
    assert layers(compile_(files, tmp_path / "m.qcc", max_drop="1%"))["only"]["reason"] == "kept: not faster"
    with pytest.raises(qcc.CompileError, match="expected layers that can run in int8 to choose from") as caught:
        compile_(files, tmp_path / "n.qcc", max_size="0.5x")
    assert caught.value.code == "QCC-E303"


def test_formats_of_products_leave_convolutions(files, tmp_path):
    artifact = compile_(files, tmp_path / "m.qcc", precision="w8a16,f32", max_drop="50%")
    what = layers(artifact)
    assert what["steep"]["executed"] == "f32"
    assert what["steep"]["reason"] == "kept: budgets choose among products; convolutions take part with int8 and w4a8 alone"
    assert "head" in {layer["node"] for layer in report(artifact)["assignment"]["layers"]}


def test_outputs_that_are_not_judged_count(files, exact, tmp_path):
    """Where accuracy alone is limited, --min-cos holds for all outputs."""
    loose = report(compile_(files, tmp_path / "a.qcc", max_drop="100%", min_cos=0))["assignment"]["chosen"]
    artifact = compile_(files, tmp_path / "b.qcc", max_drop="100%", min_cos=0.9999)
    tight = report(artifact)["assignment"]["chosen"]
    assert tight["error"] < loose["error"] and tight["predicted_seconds"] > loose["predicted_seconds"]
    changed = outputs(artifact, files[1])
    cosines = (exact * changed).sum(-1) / np.linalg.norm(exact, axis=-1) / np.linalg.norm(changed, axis=-1)
    assert cosines.min() >= 0.9999


# --- weights of 4 bits --------------------------------------------------------------------------------------------------


THREE = "w4a8,int8,f32"


def get_formats(artifact):
    return {layer["node"]: layer["format"] for layer in report(artifact)["assignment"]["layers"] if layer["columns"]}


@pytest.mark.parametrize("options", [{"max_size": "0.3x"}, {"max_drop": "2.1%", "min_cos": 0}, {"max_size": "0.25x", "max_drop": "30%"}])
def test_three_formats_hold_in_the_artifact(files, exact, tmp_path, options):
    artifact = compile_(files, tmp_path / "m.qcc", precision=THREE, **options)
    found = report(artifact)["assignment"]
    changed = outputs(artifact, files[1])
    assert found["formats"] == THREE and found["metric"] == "kl"
    # Scales of the product's rows are found at run time, of sums in another order.
    assert found["chosen"]["error"] == pytest.approx(divergence(exact, changed), rel=5e-3, abs=1e-9)
    assert found["chosen"]["drop"] == np.mean(changed.argmax(-1) != exact.argmax(-1))
    kinds = ("qcc.conv", "qcc.int_conv", "qcc.matmul", "qcc.int_matmul", "qcc.qmatmul")
    ops = {op["node"]: op for op in report(artifact)["ops"] if op["op"] in kinds}
    formats = get_formats(artifact)
    assert {node: ops[node]["executed"] for node in formats} == formats
    for node, op in ops.items():
        assert op["reason"] == "kept: not faster" if node not in formats else op["requested"] == op["executed"]
        # Weights of 4 bits are chosen by the samples, and say so.
        assert op["executed"] != "w4a8" or "weights by" in op.get("transform", "") or op["algorithm"], node
    if "max_size" in options:
        assert found["chosen"]["bytes"] <= float(options["max_size"][:-1]) * found["float"]["bytes"]
    assert report(artifact)["summary"]["weight_bytes"] == pytest.approx(found["chosen"]["bytes"], rel=0.05)


def test_hard_layers_get_more_bits(files, tmp_path):
    """`last` has most weights and `steep` those that 4 bits suit least."""
    artifact = compile_(files, tmp_path / "m.qcc", precision=THREE, max_size="0.21x")
    formats, bits = get_formats(artifact), {"w4a8": 4, "int8": 8, "f32": 32}
    errors = {layer["node"]: layer["candidates"][-1]["error"] for layer in report(artifact)["assignment"]["layers"] if layer["columns"]}
    assert max(errors, key=errors.get) == "steep"
    assert bits[formats["steep"]] > bits[formats["last"]] == 4


def test_no_other_choice_of_three_is_better(files, tmp_path):
    found = report(compile_(files, tmp_path / "m.qcc", precision=THREE, max_size="0.3x"))["assignment"]
    candidates = [[(c["bytes"], c["error"]) for c in layer["candidates"]] for layer in found["layers"]]
    assert max(map(len, candidates)) == 3
    chosen = sum(c["bytes"] for layer in found["layers"] for c in layer["candidates"] if c["format"] == layer["format"])
    limit = 0.3 * found["float"]["bytes"] - (found["chosen"]["bytes"] - chosen)
    sums = [np.sum(picks, axis=0) for picks in itertools.product(*candidates)]
    assert found["chosen"]["predicted_error"] == pytest.approx(min(error for size, error in sums if size <= limit), rel=2e-4)


def test_losses_are_those_of_the_compiled_model(files, tmp_path):
    """One layer alone in each format, of convolutions and products, as measured and as it runs."""
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(files[1].iterdir())[:16]:
        (few / path.name).write_bytes(path.read_bytes())
    exact = outputs(qcc.compile(files[0], tmp_path / "f32", target="avx2"), few)
    options = {"min_cos": 0, "no_correct_bias": True}
    found = report(compile_((files[0], few), tmp_path / "m.qcc", precision=THREE, max_size="0.9x", **options))["assignment"]
    nodes = [layer for layer in found["layers"] if layer["columns"]]
    compared = []
    for layer in nodes:
        others = "|".join(other["node"] for other in nodes if other is not layer)
        for candidate in layer["candidates"]:
            key = candidate["format"]
            if key == "f32":
                continue
            kept, path = [f"^({others})$"], tmp_path / f"{layer['node']}-{key}"
            if (layer["node"], key) == ("head", "int8"):  # with scales found at run time
                alone = qcc.compile(files[0], path, precision=key, target="avx2", keep=kept)
            else:
                formats = f"w4a8,{key}" if key == "int8" else key
                alone = compile_((files[0], few), path, precision=formats, keep=kept, max_size="0.999x", **options)
                assert get_formats(alone)[layer["node"]] == key
            changed = divergence(exact, outputs(alone, few))
            assert candidate["error"] == pytest.approx(changed, rel=1e-2, abs=1e-9), (layer["node"], key)
            compared.append((layer["node"], key))
    assert len(compared) == 10 and ("head", "int8") in compared


def test_bytes_of_three_depend_on_neither_threads_nor_runs(files, tmp_path):
    one, many = (compile_(files, tmp_path / f"{jobs}.qcc", precision=THREE, max_size="0.3x", jobs=jobs) for jobs in (1, 4))
    assert digest(one) == digest(many)
    again = qcc.compile(files[0], tmp_path / "again.qcc", calib=files[1], recipe=one / "recipe.yaml")
    assert digest(one) == digest(again)


def test_without_f32_all_are_codes(files, tmp_path):
    """And with one format, what has no form of it has another: convolutions of one channel have 8 bits."""
    formats = get_formats(compile_(files, tmp_path / "m.qcc", precision="int8,w4a8", max_size="0.3x"))
    assert set(formats.values()) == {"int8", "w4a8"}
    tensors = {"first": weight(32, 3, 3, 3), "deep": weight(32, 1, 3, 3), "last": weight(64, 32, 3, 3)}
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "first", **same),
        helper.make_node("Conv", ["a", "deep"], ["b"], "deep", group=32, **same),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "last"], ["y"], "last", **same),
    ]
    model = save(tmp_path / "d.onnx", nodes, tensors, ["n", 3, 24, 24])
    found = report(compile_((model, files[1]), tmp_path / "d.qcc", precision="w4a8", max_size="0.2x"))["assignment"]
    offered = {layer["node"]: [c["format"] for c in layer["candidates"]] for layer in found["layers"] if layer["columns"]}
    assert offered == {"first": ["f32", "w4a8"], "deep": ["f32", "int8"], "last": ["f32", "w4a8"]}
    assert found["metric"] == "error" and found["chosen"]["bytes"] <= 0.2 * found["float"]["bytes"]


def test_groups_are_those_of_products(tmp_path):
    """A product between convolutions, of rows that are no classes: its groups, and the loss with activations rounded."""
    tensors = {"first": weight(16, 3, 3, 3), "rows": weight(24, 24).T.copy(), "last": weight(16, 16, 3, 3)}
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "first", **same),
        helper.make_node("MatMul", ["a", "rows"], ["b"], "rows"),
        helper.make_node("Conv", ["b", "last"], ["y"], "last", **same),
    ]
    model = save(tmp_path / "m.onnx", nodes, tensors, ["n", 3, 24, 24])
    np.savez(tmp_path / "data.npz", x=RNG.standard_normal((6, 3, 24, 24)).astype(np.float32))
    artifact = compile_((model, tmp_path / "data.npz"), tmp_path / "m.qcc", precision="w4a8:g16,f32", max_size="0.3x")
    found = report(artifact)["assignment"]
    assert get_formats(artifact)["rows"] == "w4a8:g16"
    x = np.load(tmp_path / "data.npz")["x"]
    y = qcc.load(artifact)({"x": x})["y"].astype(np.float64)
    exact = qcc.load(qcc.compile(model, tmp_path / "f32", target="avx2"))({"x": x})["y"].astype(np.float64)
    error = ((y - exact) ** 2).sum() / (exact**2).sum()  # six rows are one sample
    assert found["chosen"]["error"] == pytest.approx(error, rel=1e-3)
