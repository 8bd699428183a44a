# Mixed precision and recipes: what is chosen, what is refused, and that bytes come again.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import qcc
from onnx import TensorProto, helper

RNG = np.random.default_rng(11)
K, HIDDEN, CLASSES = 64, 96, 32


def weight(*shape, scale=0.1):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def make_model(path: pathlib.Path, router=False) -> pathlib.Path:
    """Three layers and a head; rows of `steep` are outliers that leave few bits for the others."""
    steep = weight(HIDDEN, HIDDEN)
    steep[:4] *= 10
    tensors = {"flat": weight(K, HIDDEN), "steep": steep, "gentle": weight(HIDDEN, HIDDEN, scale=0.01),
               "head": weight(HIDDEN, CLASSES)}  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "flat"], ["a"], name="flat"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "steep"], ["c"], name="steep"),
        helper.make_node("MatMul", ["b", "gentle"], ["d"], name="gentle"),
        helper.make_node("Add", ["c", "d"], ["e"]),
    ]
    last = "e"
    if router:
        # The best of the scores of four experts scales what goes on.
        tensors["gate"] = weight(HIDDEN, 4)
        tensors["k"] = np.int64([1])
        nodes += [
            helper.make_node("MatMul", ["b", "gate"], ["scores"], name="gate"),
            helper.make_node("TopK", ["scores", "k"], ["best", "index"], name="top"),
            helper.make_node("Mul", ["e", "best"], ["f"]),
        ]
        last = "f"
    nodes.append(helper.make_node("MatMul", [last, "head"], ["y"], name="head"))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", CLASSES])],
        [onnx.numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    np.savez(folder / "data.npz", x=RNG.standard_normal((64, K)).astype(np.float32))
    return make_model(folder / "m.onnx"), folder / "data.npz"


def compile_(files, output, **options):
    model, data = files
    return qcc.compile(model, output, calib=data, target="avx2", **options)


def assignment(artifact):
    return json.loads((artifact / "report.json").read_text())["assignment"]


def ops(artifact):
    report = json.loads((artifact / "report.json").read_text())["ops"]
    return {op["node"]: op for op in report if op["op"] in ("qcc.qmatmul", "qcc.matmul")}


def digest(artifact):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(artifact.iterdir())
        if path.name != "profile.json"
    }


def test_size_is_met_and_used(files, tmp_path):
    artifact = compile_(files, tmp_path / "m.qcc", precision="w3a16,w4a16,w8a16", max_size="0.17x")
    found = assignment(artifact)
    assert found["metric"] == "kl" and found["sensitivity"] == "measured"
    assert found["chosen"]["bytes"] <= 0.17 * found["float"]["bytes"]
    # What was predicted is what lies in the artifact.
    summary = json.loads((artifact / "report.json").read_text())["summary"]
    assert summary["weight_bytes"] == pytest.approx(found["chosen"]["bytes"], rel=0.01)
    formats = {layer["node"]: layer["format"] for layer in found["layers"]}
    assert {op["executed"] for op in ops(artifact).values()} <= {"w3a16", "w4a16", "w8a16"}
    assert {node: op["executed"] for node, op in ops(artifact).items()} == formats
    for layer in found["layers"]:
        errors = {c["format"]: c["error"] for c in layer["candidates"]}
        if layer["node"] != "head":
            assert errors["w3a16"] > errors["w4a16"] > errors["w8a16"] > 0
    # The layer that loses most has at least as many bits as the one that loses least.
    order = ["w3a16", "w4a16", "w8a16"]
    assert order.index(formats["steep"]) >= order.index(formats["gentle"])
    assert formats["steep"] != formats["gentle"]


def test_no_other_choice_is_better(files, tmp_path):
    """The sum of the losses is the least of all choices of that size."""
    found = assignment(compile_(files, tmp_path / "m.qcc", precision="w3a16,w4a16,w8a16", max_size="0.18x"))
    limit = 0.18 * found["float"]["bytes"]
    layers = [[(c["bytes"], c["error"]) for c in layer["candidates"]] for layer in found["layers"]]
    others = found["chosen"]["bytes"] - sum(
        next(c["bytes"] for c in layer["candidates"] if c["format"] == layer["format"]) for layer in found["layers"]
    )
    points = [(others, 0.0)]
    for layer in layers:
        points = [(size + s, loss + e) for size, loss in points for s, e in layer]
    best = min(loss for size, loss in points if size <= limit)
    assert found["chosen"]["predicted_error"] == pytest.approx(best, rel=2e-4)
    # So is each point of the front.
    for point in found["front"]:
        best = min(loss for size, loss in points if size <= point["bytes"] * (1 + 1e-12))
        assert point["error"] == pytest.approx(best, rel=2e-4)


def test_losses_are_those_of_the_compiled_model(files, tmp_path):
    """One layer in a format alone, as measured and as it runs."""
    found = assignment(compile_(files, tmp_path / "m.qcc", precision="w4a16,int8,w4a8,fp8:token,fp8-e5m2:token,bf16,bf16a16,f32", max_size="0.9x"))
    x = np.load(files[1])["x"]
    exact = logs(qcc.compile(files[0], tmp_path / "f.qcc", target="avx2"), x)
    for layer in found["layers"]:
        errors = {c["format"]: c["error"] for c in layer["candidates"]}
        for key in set(errors) - {"f32"}:
            others = [other["node"] for other in found["layers"] if other["node"] != layer["node"]]
            one = qcc.compile(files[0], tmp_path / f"{layer['node']}-{key}.qcc", target="avx2", precision=key,
                              keep=[f"^{name}$" for name in others])  # fmt: skip
            assert errors[key] == pytest.approx(kl(exact, logs(one, x)), rel=1e-2, abs=1e-8), (layer["node"], key)


def test_threads_do_not_change_bytes(files, tmp_path):
    one, many = (
        compile_(files, tmp_path / f"{jobs}.qcc", precision="mixed", max_size="0.25x", algo=["gptq"], jobs=jobs)
        for jobs in (1, 4)
    )
    assert digest(one) == digest(many)


def test_recipe_gives_the_same_bytes(files, tmp_path):
    for name, options in {
        "mixed": {"precision": "w4a16:g32,w8a16", "max_size": "0.22x", "max_latency": "0.9x", "sensitivity": "estimated"},
        "algorithms": {"precision": "w4a16", "algo": ["awq", "gptq-correct", "clip"], "keep": ["^head$"]},
        "budget": {"max_drop": "5%"},
    }.items():
        first = compile_(files, tmp_path / f"{name}.qcc", **options)
        model, data = files
        again = qcc.compile(model, tmp_path / f"{name}-again.qcc", calib=data, recipe=first / "recipe.yaml")
        assert digest(first) == digest(again), name


@pytest.mark.parametrize("algo", [[], ["gptq"]])
def test_shared_weights_count_once(tmp_path, algo):
    """Products that read one weight get one format, and the sizes are those of the artifact; so is one that reads it transposed."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"], name="two"),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "w"], ["e"], name="three", transB=1),
        helper.make_node("MatMul", ["e", "other"], ["y"], name="last"),
    ]
    tensors = {"w": weight(K, K), "other": weight(K, K)}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", K])],
        [onnx.numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=RNG.standard_normal((64, K)).astype(np.float32))
    files = tmp_path / "m.onnx", tmp_path / "data.npz"
    artifact = compile_(files, tmp_path / "m.qcc", precision="w3a16,w4a16,w8a16", max_size="0.35x", algo=algo)
    found = assignment(artifact)
    layers = {layer["node"]: layer for layer in found["layers"]}
    formats = [layers[node]["format"] for node in ("one", "two", "three")]
    assert len(set(formats)) == 1
    used = [next(c for c in layers[node]["candidates"] if c["format"] == layers[node]["format"]) for node in layers]
    # GPTQ chooses codes for each product.
    assert (used[1]["bytes"] == 0) == (not algo) and used[1]["bits"] > 3
    stored = json.loads((artifact / "report.json").read_text())["summary"]["weight_bytes"]
    assert found["chosen"]["bytes"] == pytest.approx(stored, rel=0.01) and stored <= 0.35 * found["float"]["bytes"]
    exact = json.loads((qcc.compile(files[0], tmp_path / "f.qcc", target="avx2") / "report.json").read_text())["summary"]["weight_bytes"]
    assert found["float"]["bytes"] == pytest.approx(exact, rel=0.01)


def test_head_and_router_stay_wide(tmp_path):
    model = make_model(tmp_path / "m.onnx", router=True)
    np.savez(tmp_path / "data.npz", x=RNG.standard_normal((64, K)).astype(np.float32))
    artifact = compile_((model, tmp_path / "data.npz"), tmp_path / "m.qcc", precision="w3a16,w8a16", max_size="0.3x")
    found = ops(artifact)
    assert found["head"]["executed"] == "w8a16" and "output head: 6 bits or more" in found["head"]["reason"]
    assert found["gate"]["executed"] == "f32" and found["gate"]["reason"] == "kept: routes between experts"
    assert all(op["reason"].startswith("assigned: kl ") for name, op in found.items() if name not in ("head", "gate"))
    # Where no format is wide enough the head stays float.
    artifact = compile_((model, tmp_path / "data.npz"), tmp_path / "n.qcc", precision="w3a16", max_size="0.5x")
    head = ops(artifact)["head"]
    assert head["executed"] == "f32"


def test_drop_is_measured(files, tmp_path):
    found = assignment(compile_(files, tmp_path / "a.qcc", precision="w2a16,w3a16,w4a16,w8a16,f32", max_drop="10%"))
    assert found["chosen"]["drop_metric"] == "top1" and found["chosen"]["drop"] <= 0.1
    wide = assignment(compile_(files, tmp_path / "b.qcc", precision="w2a16,w3a16,w4a16,w8a16,f32", max_drop="0"))
    assert wide["chosen"]["drop"] == 0
    assert found["chosen"]["bytes"] < wide["chosen"]["bytes"]


def test_several_budgets_hold_at_once(files, tmp_path):
    found = assignment(
        compile_(files, tmp_path / "m.qcc", precision="w3a16,w4a16,w8a16,int8,f32", max_size="0.4x", max_latency="0.95x", max_drop="20%")
    )
    assert found["budgets"] == {"size": "0.4x", "drop": "20%", "latency": "0.95x"}
    assert found["chosen"]["bytes"] <= 0.4 * found["float"]["bytes"]
    assert found["chosen"]["predicted_seconds"] <= 0.95 * found["float"]["predicted_seconds"]
    assert found["chosen"]["drop"] <= 0.2


def refusal(files, tmp_path, **options):
    with pytest.raises(qcc.CompileError) as caught:
        compile_(files, tmp_path / "refused.qcc", **options)
    assert not (tmp_path / "refused.qcc").exists()
    return caught.value


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "w4a16,w8a16", "max_size": "0.05x"},
        {"precision": "w4a16,w8a16", "max_size": "2KB"},
        {"precision": "w4a16,w8a16,f32", "max_latency": "0.01x"},
        {"precision": "w4a16,w8a16,f32", "max_size": "0.16x", "max_latency": "0.02x"},
        {"precision": "w2a16:channel,w3a16:channel", "max_drop": "0"},
    ],
)
def test_what_cannot_be_met_names_the_nearest(files, tmp_path, options):
    error = refusal(files, tmp_path, **options)
    assert error.exit_code == 6 and error.code == "QCC-E802"
    # The first that is named, with the others as they are, can be met.
    nearest = error.text.split("the nearest that can be met: ")[1].split(", or ")[0]
    flags = [word.removeprefix("--").split("=") for word in nearest.split() if word.startswith("--max")]
    assert flags
    compile_(files, tmp_path / "m.qcc", **{**options, **{flag.replace("-", "_"): value for flag, value in flags}})


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"precision": "w4a16,w8a16"}, "QCC-E401", "expected a budget"),
        ({"precision": "w4a16,w4a16", "max_size": "1x"}, "QCC-E401", "twice"),
        ({"precision": "w4a16,w9a16", "max_size": "1x"}, "QCC-E401", "w9a16"),
        ({"precision": "w4a16,", "max_size": "1x"}, "QCC-E401", "expected a precision"),
        ({"max_size": "0.3"}, "QCC-E401", "--max-size"),
        ({"max_drop": "-1%"}, "QCC-E401", "--max-drop"),
        ({"max_latency": "half"}, "QCC-E401", "--max-latency"),
        ({"max_size": "0.5x", "sensitivity": "guessed"}, "QCC-E401", "measured"),
    ],
)
def test_usage(files, tmp_path, options, code, words):
    error = refusal(files, tmp_path, **options)
    assert error.code == code and words in error.text


def test_data_are_needed(files, tmp_path):
    with pytest.raises(qcc.CompileError, match="expected --calib=DATA, but got none"):
        qcc.compile(files[0], tmp_path / "m.qcc", max_size="0.3x")


def test_what_has_nothing_to_choose_is_refused(files, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", K])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "r.onnx")
    error = refusal((tmp_path / "r.onnx", files[1]), tmp_path, max_size="0.3x")
    assert error.code == "QCC-E303" and "products with constant weights" in error.text


def test_estimates_say_that_they_are(files, tmp_path):
    artifact = compile_(files, tmp_path / "m.qcc", precision="w3a16,w8a16,int8,fp8,fp8:token,fp8-e5m2:token", max_size="0.2x",
                        sensitivity="estimated")  # fmt: skip
    found = assignment(artifact)
    assert (found["sensitivity"], found["metric"], found["chosen"]["error_metric"]) == ("estimated", "error", "kl")
    assert ops(artifact)["flat"]["reason"].startswith("assigned: error ")
    for layer in found["layers"]:
        errors = {c["format"]: c["error"] for c in layer["candidates"]}
        # Activations that are rounded too cost more than weights alone.
        assert 0 < errors["w8a16"] < errors["int8"] and 0 < errors["fp8"] < errors["fp8:token"] < errors["fp8-e5m2:token"]
        assert layer["node"] == "head" or errors["w8a16"] < errors["w3a16"]


def test_rounded_activations_cost_time(files, tmp_path):
    """On a CPU, fp8:token is slower than fp8 and no smaller, and where nothing else is offered it is what runs."""
    found = assignment(compile_(files, tmp_path / "m.qcc", precision="fp8,fp8:token", max_size="0.5x"))
    for layer in found["layers"]:
        plain, rounded = ({c["format"]: c for c in layer["candidates"]}[key] for key in ("fp8", "fp8:token"))
        assert plain["seconds"] < rounded["seconds"] and plain["bytes"] == rounded["bytes"] and layer["format"] == "fp8"
    artifact = compile_(files, tmp_path / "t.qcc", precision="fp8:token", max_size="0.5x")
    assert {op["executed"] for op in ops(artifact).values()} == {"fp8:token", "f32"}
    # So does all that finds scales and applies them.
    names = {node for node, op in ops(artifact).items() if op["executed"] == "fp8:token"}
    report = json.loads((artifact / "report.json").read_text())["ops"]
    parts = [op["executed"] for op in report if op["node"] in names]
    assert len(parts) > len(names) and set(parts) == {"fp8:token"}


def test_scales_are_searched_again(files, tmp_path):
    """AWQ for products that got another format than the first one."""
    artifact = compile_(files, tmp_path / "m.qcc", precision="w3a16,w8a16", max_size="0.2x", algo=["awq", "gptq"])
    x = np.load(files[1])["x"]
    exact = next(iter(qcc.load(qcc.compile(files[0], tmp_path / "f.qcc", target="avx2"))({"x": x}).values()))
    y = next(iter(qcc.load(artifact)({"x": x}).values()))
    assert np.linalg.norm(y - exact) < 0.2 * np.linalg.norm(exact)
    assert {op["executed"] for op in ops(artifact).values()} == {"w3a16", "w8a16"}


def test_passes_alone_refuse(tmp_path):
    text = tmp_path / "m.mlir"
    text.write_text("module { func.func @main() { return } }\n")
    opt = pathlib.Path(__file__).parents[2] / "build" / "bin" / "qcc-opt"
    for flag, words in (("", "expected --calib=DATA"), ("=sensitivity=magic", "expected auto, measured")):
        done = subprocess.run([opt, text, f"--qcc-precision-assign{flag}"], capture_output=True, text=True)
        assert done.returncode != 0 and "[QCC-E401]" in done.stderr and words in done.stderr


def kl(exact, changed):
    return (np.exp(exact) * (exact - changed)).sum(axis=-1).mean()


def logs(artifact, x):
    y = next(iter(qcc.load(artifact)({"x": x}).values())).astype(np.float64)
    y -= y.max(axis=-1, keepdims=True)
    return y - np.log(np.exp(y).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("algo", [["gptq"], ["clip"], ["awq", "gptq"]], ids="-".join)
def test_what_is_said_of_the_model_is_of_its_weights(files, tmp_path, algo):
    """Formats are chosen by weights rounded to nearest; what the model loses is measured with those that it has."""
    x = np.load(files[1])["x"]
    flags = {"precision": "w3a16:g32,w4a16:g32,f32", "max_size": "0.25x"}
    chosen = assignment(compile_(files, tmp_path / "m.qcc", algo=algo, **flags))["chosen"]
    nearest = assignment(compile_(files, tmp_path / "n.qcc", **flags))["chosen"]
    exact = logs(qcc.compile(files[0], tmp_path / "f.qcc", target="avx2"), x)
    changed = logs(tmp_path / "m.qcc", x)
    assert chosen["error"] == pytest.approx(kl(exact, changed), rel=1e-3)
    assert chosen["drop"] == np.mean(exact.argmax(-1) != changed.argmax(-1))
    assert chosen["nearest_error"] != chosen["error"] and "nearest_error" not in nearest
    if "awq" not in algo:
        assert chosen["nearest_error"] == pytest.approx(nearest["error"], rel=1e-3)


def test_weights_of_algorithms_must_hold_the_budget_too(tmp_path):
    """Where they lose more than rounding to nearest does, by which formats were chosen."""
    refused = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        np.savez(tmp_path / "data.npz", x=random.standard_normal((64, K)).astype(np.float32))
        files = make_model(tmp_path / "m.onnx"), tmp_path / "data.npz"
        flags = {"precision": "w3a16:g32", "keep": ["head"], "algo": ["clip"]}
        chosen = assignment(compile_(files, tmp_path / "m.qcc", max_size="0.4x", **flags))["chosen"]
        if chosen["drop"] <= chosen["nearest_drop"]:
            continue
        with pytest.raises(qcc.CompileError) as caught:
            compile_(files, tmp_path / "b.qcc", max_size="0.4x", max_drop=f"{100 * chosen['nearest_drop']}%", **flags)
        assert caught.value.exit_code == 6 and caught.value.code == "QCC-E802"
        assert "with the weights that --algo chose it loses" in str(caught.value) and not (tmp_path / "b.qcc").exists()
        refused += 1
    assert refused
