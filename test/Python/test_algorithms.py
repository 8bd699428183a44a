# SmoothQuant, AWQ, GPTQ and clip search on small graphs: what they fold into, what they refuse, and broken data.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import pathlib
import subprocess

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import qcc
from onnx import TensorProto, helper

K, N = 64, 48
RNG = np.random.default_rng(5)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers():
    """Whatever ran before."""
    RNG.bit_generator.state = START


def weight(*shape, scale=0.1):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


class Graph:
    """A graph of float nodes over one input `x` [rows, K]."""

    def __init__(self, shape=("rows", K)):
        self.shape, self.nodes, self.weights = shape, [], []

    def add(self, op, *inputs, name="", **attributes):
        names = []
        for value in inputs:
            if isinstance(value, np.ndarray):
                names.append(self.constant(value))
            else:
                names.append(value)
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], name=name or output, **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        self.weights.append(onnx.numpy_helper.from_array(value, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def save(self, path: pathlib.Path, *outputs: str, given=()) -> pathlib.Path:
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape), *given]
        graph = helper.make_graph(self.nodes, "g", inputs, results, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path


def samples(rows=200, outlier=40.0, shape=(K,)):
    """Correlated channels of different sizes, one of them much larger."""
    x = RNG.standard_normal((rows, *shape)) + RNG.standard_normal((rows,) + (1,) * len(shape))
    x *= 0.2 + np.arange(shape[-1]) % 11 / 4
    x[..., 3] *= outlier
    return x.astype(np.float32)


def norm(graph, x, gain=True, bias=False):
    """RMS norm as exporters write it."""
    square = graph.add("Mul", x, x)
    mean = graph.add("ReduceMean", square, axes=[-1])
    root = graph.add("Sqrt", graph.add("Add", mean, np.float32([1e-6])))
    value = graph.add("Div", x, root)
    if gain:
        value = graph.add("Mul", value, weight(K) + 1)
    if bias:
        value = graph.add("Add", value, weight(K))
    return value


def compile_(path, tmp_path, x, name="out", **options):
    np.savez(tmp_path / "calib.npz", x=x)
    options = {"calib": tmp_path / "calib.npz", "precision": "w4a8", "target": "avx2", "calib_mode": "parallel", **options}
    return qcc.compile(path, tmp_path / f"{name}.qcc", **options)


def report(artifact):
    return [op for op in json.loads((artifact / "report.json").read_text())["ops"] if op["op"] == "qcc.qmatmul"]


def run(artifact, x):
    return next(iter(qcc.load(artifact)({"x": x}).values()))


def error(path, tmp_path, x, **options):
    """Largest difference from the float model, over its largest magnitude; the report."""
    exact = run(qcc.compile(path, tmp_path / "exact.qcc", target="avx2"), x)
    artifact = compile_(path, tmp_path, x, **options)
    return np.linalg.norm(run(artifact, x) - exact) / max(np.linalg.norm(exact), 1e-30), report(artifact)


def after_norm(graph):
    return norm(graph, "x")


def after_norm_with_bias(graph):
    return norm(graph, "x", bias=True)


def after_linear(graph):
    return graph.add("MatMul", "x", weight(K, K))


def after_linear_with_bias(graph):
    return graph.add("Gemm", "x", weight(K, K), weight(K), transB=1)


def after_relu(graph):
    return graph.add("Relu", graph.add("MatMul", "x", weight(K, K)))


def after_gate(graph):
    up = graph.add("MatMul", "x", weight(K, K))
    return graph.add("Mul", graph.add("Sigmoid", graph.add("MatMul", "x", weight(K, K))), up)


def after_rectified_norm(graph):
    return graph.add("Relu", norm(graph, "x", bias=True))


def after_layer_norm(graph):
    return graph.add("LayerNormalization", "x", weight(K) + 1, weight(K))


def after_layer_norm_without_bias(graph):
    return graph.add("LayerNormalization", "x", weight(K) + 1)


def after_fused_gate(graph):
    """The gate's own product with its sigmoid never scales; the other factor does, a part of the same product."""
    graph.nodes.append(helper.make_node("Split", [graph.add("MatMul", "x", weight(K, 2 * K))], ["gate", "up"], name="split", axis=-1))
    return graph.add("Mul", graph.add("Mul", "gate", graph.add("Sigmoid", "gate", name="sigmoid")), "up")


def after_halves(graph):
    """Both halves of one product with a shift, added to each other."""
    value = graph.add("Gemm", "x", weight(2 * K, K), weight(2 * K), transB=1)
    graph.nodes.append(helper.make_node("Split", [value], ["lower", "upper"], name="halves", axis=-1))
    return graph.add("Add", "upper", "lower")


def after_index(graph):
    """One of three that stand behind each other, as vision transformers make queries, keys and values."""
    value = graph.add("Reshape", graph.add("MatMul", "x", weight(K, 3 * K)), np.int64([-1, 3, K]))
    gate, value = (graph.add("Gather", value, np.array(i), axis=1) for i in (0, 2))
    return graph.add("Mul", graph.add("Sigmoid", gate), value)


def after_squeezed_slice(graph):
    """The same by slices whose dimension is dropped, as torch's unbind is exported."""
    value = graph.add("Reshape", graph.add("MatMul", "x", weight(K, 3 * K)), np.int64([-1, 3, K]))
    parts = [graph.add("Slice", value, np.int64([i]), np.int64([i + 1]), np.int64([1])) for i in (0, 2)]
    gate, value = (graph.add("Squeeze", part, np.int64([1])) for part in parts)
    return graph.add("Mul", graph.add("Sigmoid", gate), value)


FOLDS = [after_norm, after_norm_with_bias, after_layer_norm, after_layer_norm_without_bias, after_linear, after_linear_with_bias, after_relu, after_gate, after_rectified_norm,
         after_fused_gate, after_halves, after_index, after_squeezed_slice]


def read_twice(graph):
    value = graph.add("MatMul", "x", weight(K, K))
    return value, [value]


def after_input(graph):
    return "x", []


def after_gelu(graph):
    return graph.add("Tanh", graph.add("MatMul", "x", weight(K, K))), []


def after_hard_swish(graph):
    """One operation whose body reads its input twice."""
    return graph.add("HardSwish", graph.add("MatMul", "x", weight(K, K))), []


def after_bare_norm(graph):
    return norm(graph, "x", gain=False), []


def after_scaled_gelu(graph):
    """Half of it is one factor for all channels, which is not why it does not scale."""
    value = graph.add("MatMul", "x", weight(K, K))
    return graph.add("Mul", graph.add("Tanh", value, name="tanh"), np.array(0.5, np.float32)), []


def after_spelled_gelu(graph):
    """As GPT-2 has it: what reads the product, too, is the activation itself."""
    value = graph.add("MatMul", "x", weight(K, K))
    cube = graph.add("Mul", graph.add("Mul", value, value), value)
    inner = graph.add("Tanh", graph.add("Add", value, graph.add("Mul", cube, np.array(0.0447, np.float32))))
    return graph.add("Mul", graph.add("Mul", value, np.array(0.5, np.float32)), graph.add("Add", inner, np.array(1, np.float32))), []


def after_overlapping_slices(graph):
    value = graph.add("MatMul", "x", weight(K, 2 * K), name="both")
    first, second = (graph.add("Slice", value, np.int64([at]), np.int64([at + K]), np.int64([1])) for at in (0, K - 1))
    return graph.add("Mul", graph.add("Sigmoid", first), second), []


KEEPS = {read_twice: "not scaled: an output of the model reads it too", after_input: "it is an input", after_gelu: "does not scale with its channels",
         after_hard_swish: "does not scale with its channels", after_bare_norm: "not scaled",
         after_overlapping_slices: "is read elsewhere", after_scaled_gelu: "does not scale with its channels",
         after_spelled_gelu: "does not scale with its channels"}  # fmt: skip


@pytest.mark.parametrize("make", FOLDS)
@pytest.mark.parametrize("algorithm", ["awq", "smoothquant"])
def test_scales_are_folded(tmp_path, make, algorithm):
    """Each producer takes the scales: the model is the same in float (the compiler checks that) and rounds better."""
    graph = Graph()
    last = graph.add("MatMul", make(graph), weight(K, N), name="last")
    path = graph.save(tmp_path / "m.onnx", last)
    precision = "w4a8" if algorithm == "awq" else "int8"
    x = samples(outlier=300.0 if algorithm == "smoothquant" else 40.0)
    artifact = compile_(path, tmp_path, x, precision=precision, algo=algorithm)
    [layer] = [op for op in report(artifact) if op["node"] == "last"]
    assert layer["transform"].startswith((f"{algorithm}: exponent", f"{algorithm}: alpha")), layer
    before, after = (float(word) for word in layer["transform"].split("error ")[1].split(" to "))
    assert after < before
    exact = run(qcc.compile(path, tmp_path / "exact.qcc", target="avx2"), x)
    assert np.linalg.norm(run(artifact, x) - exact) < 0.5 * np.linalg.norm(exact)


@pytest.mark.parametrize("make", KEEPS)
def test_what_cannot_be_folded_is_left_with_the_reason(tmp_path, make):
    graph = Graph()
    value, outputs = make(graph)
    last = graph.add("MatMul", value, weight(K, N), name="last")
    path = graph.save(tmp_path / "m.onnx", last, *outputs)
    for algorithm in ("awq", "smoothquant"):
        artifact = compile_(path, tmp_path, samples(), precision="int8", algo=algorithm)
        [layer] = [op for op in report(artifact) if op["node"] == "last"]
        assert layer["transform"].startswith(f"{algorithm}: not scaled: "), layer
        assert KEEPS[make] in layer["transform"], layer


@pytest.mark.parametrize("algorithm", ["awq", "smoothquant"])
def test_a_transform_that_changes_nothing_is_told(tmp_path, algorithm):
    graph = Graph()
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", "x", weight(K, N), name="last"))
    np.savez(tmp_path / "c.npz", x=samples())
    words = [qcc._driver._find_driver(), path, f"--calib={tmp_path / 'c.npz'}", "--precision=int8", f"--algo={algorithm}"]
    done = subprocess.run([*words, "-o", tmp_path / "m.qcc"], capture_output=True, text=True)
    assert done.returncode == 0 and f"warning: --algo={algorithm} scaled nothing: node 'last': it is an input" in done.stderr, done.stderr
    assert f", {algorithm} in 0 of 1 products " in done.stderr, done.stderr
    graph.add("MatMul", after_norm(graph), weight(K, N), name="second")
    path = graph.save(tmp_path / "m.onnx", graph.nodes[-1].output[0])
    told = subprocess.run([*words, "-o", tmp_path / "m.qcc"], capture_output=True, text=True).stderr
    assert "scaled nothing" not in told and f", {algorithm} in 1 of 1 products " in told, told


def test_inputs_that_are_always_0_are_told(tmp_path):
    """Of their weights nothing is known, and they become 0."""
    graph = Graph()
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", "x", weight(K, N), name="last"))
    for idle, told in ((0, False), (3, False), (4, True), (40, True)):
        x = samples()
        x[:, K - idle :] = 0
        np.savez(tmp_path / "c.npz", x=x)
        words = [qcc._driver._find_driver(), path, f"--calib={tmp_path / 'c.npz'}", "--precision=w4a16:g32", "--algo=gptq"]
        done = subprocess.run([*words, "-o", tmp_path / "m.qcc"], capture_output=True, text=True)
        assert done.returncode == 0 and (f"(node 'last' {idle} of {K})" in done.stderr) == told, done.stderr


def test_division_of_its_own(tmp_path):
    """An input with an outlier is divided explicitly when that is asked for, and loses less then."""
    graph = Graph()
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", "x", weight(K, N), name="last"))
    x = samples(outlier=300.0)
    plain, _ = error(path, tmp_path, x, precision="int8", name="plain")
    smooth, [layer] = error(path, tmp_path, x, precision="int8", algo="smoothquant-explicit", name="smooth")
    assert "by an operation of its own" in layer["transform"]
    assert smooth < 0.6 * plain


def test_alpha_is_fixed(tmp_path):
    graph = Graph()
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", after_linear(graph), weight(K, N), name="last"))
    artifact = compile_(path, tmp_path, samples(), precision="int8", algo="smoothquant:0.35")
    [layer] = [op for op in report(artifact) if op["node"] == "last"]
    assert layer["transform"].startswith("smoothquant: alpha 0.35")


def attention(graph, heads, groups, size, rows=12, cap=0):
    """Attention over `x` [1, rows, K] whose value heads are shared, its scores below a cap if there is one."""

    def split(value, count):
        value = graph.add("Reshape", value, np.int64([1, rows, count, size]))
        return graph.add("Transpose", value, perm=[0, 2, 1, 3])

    def spread(value):
        if heads == groups:
            return value
        value = graph.add("Unsqueeze", value, np.int64([2]))
        value = graph.add("Expand", value, np.int64([1, groups, heads // groups, rows, size]))
        return graph.add("Reshape", value, np.int64([1, heads, rows, size]))

    q = split(graph.add("MatMul", "x", weight(K, heads * size), name="q"), heads)
    k = spread(split(graph.add("MatMul", "x", weight(K, groups * size), name="k"), groups))
    v = spread(split(graph.add("MatMul", "x", weight(K, groups * size), name="v"), groups))
    scores = graph.add("MatMul", q, graph.add("Transpose", k, perm=[0, 1, 3, 2]))
    scores = graph.add("Mul", scores, np.float32([size**-0.5]))
    if cap:
        scores = graph.add("Mul", graph.add("Tanh", graph.add("Div", scores, np.float32([cap]))), np.float32([cap]))
    scores = graph.add("Softmax", scores, axis=-1)
    out = graph.add("Transpose", graph.add("MatMul", scores, v), perm=[0, 2, 1, 3])
    return graph.add("Reshape", out, np.int64([1, rows, heads * size]))


@pytest.mark.parametrize("groups, cap", [(4, 0), (2, 0), (1, 0), (2, 50)])
def test_scales_go_through_attention(tmp_path, groups, cap):
    """The inputs of o_proj are scaled in the columns of v_proj, also where query heads share a value head, or scores have a cap."""
    graph = Graph((1, 12, K))
    mixed = attention(graph, 4, groups, 16, cap=cap)
    last = graph.add("MatMul", mixed, weight(64, N), name="last")
    path = graph.save(tmp_path / "m.onnx", last)
    x = samples(rows=240).reshape(20, 1, 12, K)
    folder = tmp_path / "data"
    folder.mkdir()
    for i, sample in enumerate(x):
        np.savez(folder / f"{i:02}.npz", x=sample)
    artifact = qcc.compile(path, tmp_path / "out.qcc", calib=folder, precision="w4a8", target="avx2", algo=["awq", "gptq"])
    [layer] = [op for op in report(artifact) if op["node"] == "last"]
    assert layer["transform"].startswith("awq: ")
    assert "not scaled" not in layer["transform"] or "no scale is better" in layer["transform"], layer


def network(tmp_path):
    graph = Graph()
    x = norm(graph, "x")
    gate = graph.add("Relu", graph.add("MatMul", x, weight(K, 2 * K), name="gate"))
    up = graph.add("MatMul", x, weight(K, 2 * K), name="up")
    hidden = graph.add("MatMul", graph.add("Mul", gate, up), weight(2 * K, K), name="down")
    return graph.save(tmp_path / "m.onnx", graph.add("MatMul", norm(graph, hidden), weight(K, N), name="last"))


@pytest.mark.parametrize("algorithms", [["clip"], ["gptq"], ["awq"], ["awq", "gptq"], ["gptq", "clip"], ["gptq-correct:0.5"],
                                        ["refine"], ["gptq-correct:0.5", "clip", "refine"]])  # fmt: skip
@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_chosen_weights_lose_less(tmp_path, algorithms, mode):
    if algorithms[0].startswith("gptq-correct") and mode == "parallel":
        refuse(network(tmp_path), tmp_path, 2, "QCC-E401", samples(), algo=algorithms, calib_mode=mode)
        return
    path, x = network(tmp_path), samples(600)
    # With data and no algorithm the weights of w4a8 are chosen too.
    plain, _ = error(path, tmp_path, x, name="plain", calib=None, calib_mode=None)
    chosen, layers = error(path, tmp_path, x, algo=algorithms, calib_mode=mode)
    assert [layer["node"] for layer in layers] == ["gate", "up", "down", "last"]
    for layer in layers:
        assert layer["algorithm"] in (["refine"] if "refine" in algorithms else ["rtn", "clip", "gptq", "gptq-clip"])
        assert layer["error_chosen"] <= layer["error_nearest"]
        assert layer.get("error_of") == ("corrected" if "gptq-correct:0.5" in algorithms else None)
    page = (tmp_path / "out.qcc" / "report.html").read_text()
    assert (", of corrected weights" in page) == any("error_of" in layer for layer in layers)
    if "gptq" in algorithms:
        assert all(layer["error_chosen"] < 0.95 * layer["error_nearest"] for layer in layers)
    assert chosen < plain


def test_refined_weights_lose_less(tmp_path):
    """Than those of the methods before, in every layer and behind them all, on data that were not calibrated on."""
    path, x = network(tmp_path), samples(600)
    options = {"precision": "w2a16:g32", "calib_mode": "parallel"}
    plain, before = error(path, tmp_path, x, name="plain", algo=["gptq", "clip"], **options)
    refined, after = error(path, tmp_path, x, name="refined", algo=["gptq", "clip", "refine"], **options)
    for old, new in zip(before, after, strict=True):
        assert new["error_chosen"] < 0.97 * old["error_chosen"] and new["error_nearest"] == old["error_nearest"]
    assert refined < plain


def test_bytes_do_not_depend_on_threads(tmp_path):
    path, x = network(tmp_path), samples(300)
    first, second = (
        compile_(path, tmp_path, x, name=f"j{jobs}", algo=["awq", "gptq", "refine"], calib_mode="sequential", jobs=jobs) for jobs in (1, 4)
    )
    for file in ("libmodel.so", "report.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_sizes_asked_for_share_weights(tmp_path):
    """Copies of the entry for other sizes get the same weights."""
    path, x = network(tmp_path), samples(128)
    artifact = compile_(path, tmp_path, x, algo="gptq", calib_mode="sequential", dim={"rows": "1,8"})
    model = qcc.load(artifact)
    eight = next(iter(model({"x": x[:8]}).values()))
    single = next(iter(model({"x": x[:1]}).values()))
    assert np.array_equal(eight[:1], single)
    assert {layer["algorithm"] for layer in report(artifact)} == {"gptq"}


def steps(tmp_path, name, found_at_run_time):
    """Three products; a row is read from a second input at a computed index, which `qcc.check` guards. With sizes found at run
    time, in a result of their own, every activation is computed from the start."""
    graph, random = Graph(), np.random.default_rng(11)
    weights = [(random.standard_normal(shape) * 0.1).astype(np.float32) for shape in ((K, K), (K, K), (K, N))]
    first = graph.add("Relu", graph.add("MatMul", "x", weights[0], name="first"))
    at = graph.add("Cast", graph.add("ReduceMin", first, axes=[0, 1], keepdims=0), to=TensorProto.INT64)
    row = graph.add("Gather", "table", graph.add("Unsqueeze", at, np.int64([0])), axis=0, name="row")
    second = graph.add("Tanh", graph.add("MatMul", graph.add("Add", first, row), weights[1], name="second"))
    last = graph.add("MatMul", second, weights[2], name="last")
    more = [graph.add("Cast", graph.add("NonZero", first, name="nonzero"), to=TensorProto.FLOAT)] if found_at_run_time else []
    given = [helper.make_tensor_value_info("table", TensorProto.FLOAT, ("entries", K))]
    return graph.save(tmp_path / f"{name}.onnx", last, *more, given=given)


def compile_steps(path, tmp_path, entries, **options):
    """On samples whose tables have so many entries."""
    folder, random = tmp_path / "data", np.random.default_rng(12)
    folder.mkdir(exist_ok=True)
    for i, count in enumerate(entries):
        x, table = (random.standard_normal((rows, K)).astype(np.float32) for rows in (8, count))
        np.savez(folder / f"{i:02}.npz", x=x, table=table)
    options = {"precision": "w4a16", "target": "avx2", "calib": folder, **options}
    return qcc.compile(path, tmp_path / f"{path.stem}.qcc", **options)


def test_checks_do_not_hinder_pieces(tmp_path):
    """Weights are those of a model that is run from the start for each product; gptq-correct needs the pieces."""
    whole, pieces = steps(tmp_path, "whole", True), steps(tmp_path, "pieces", False)
    assert "qcc.check " in qcc.compile(pieces, tmp_path / "m.mlir", emit="import").read_text()
    entries = [8, 5] * 10
    first, second = (compile_steps(path, tmp_path, entries, algo=["gptq", "clip"]) for path in (whole, pieces))
    sample = dict(np.load(tmp_path / "data" / "01.npz"))
    assert np.array_equal(*(next(iter(qcc.load(artifact)(sample).values())) for artifact in (first, second)))
    chosen = [[(op["node"], op["algorithm"], op["error_chosen"]) for op in report(artifact)] for artifact in (first, second)]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 3
    compile_steps(pieces, tmp_path, entries, algo="gptq-correct:0.5")
    with pytest.raises(qcc.CompileError, match=r"but got node 'nonzero' \(qcc.bind\); gptq takes it"):
        compile_steps(whole, tmp_path, entries, algo="gptq-correct:0.5")


def test_samples_that_break_a_check_are_refused(tmp_path):
    """In pieces as in the whole model."""
    texts = []
    for name in ("whole", "pieces"):
        with pytest.raises(qcc.CompileError) as caught:
            compile_steps(steps(tmp_path, name, name == "whole"), tmp_path, [8, 0], algo="gptq")
        texts.append(str(caught.value).replace(f"{name}.onnx", ""))
    assert texts[0] == texts[1] and "01.npz" in texts[0] and "'row'" in texts[0], texts


# --- broken data and wrong requests --------------------------------------------------------------------------------


def refuse(path, tmp_path, status, code, calib=None, **options):
    options = {"precision": "w4a8", "target": "avx2", **options}
    if calib is not None:
        np.savez(tmp_path / "calib.npz", x=calib)
        options["calib"] = tmp_path / "calib.npz"
    with pytest.raises(qcc.CompileError) as caught:
        qcc.compile(path, tmp_path / "out.qcc", **options)
    assert (caught.value.exit_code, caught.value.code) == (status, code), caught.value
    assert not (tmp_path / "out.qcc").exists()
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["clip", "awq", "gptq", "gptq-correct", "refine", "smoothquant", "rotate"])
def test_data_are_needed(tmp_path, algorithm):
    precision = "int8" if algorithm == "smoothquant" else "w4a8"
    text = refuse(network(tmp_path), tmp_path, 2, "QCC-E401", algo=algorithm, precision=precision)
    assert "expected --calib=DATA" in text


@pytest.mark.parametrize("wrong", ["gptk", "awq:0.5", "smoothquant:2", "smoothquant:x", "gptq-correct:-1", "clip:", "rotate:1", "refine:2"])
def test_unknown_algorithms_are_refused(tmp_path, wrong):
    refuse(network(tmp_path), tmp_path, 2, "QCC-E401", samples(), algo=wrong)


@pytest.mark.parametrize(
    "given, told",
    [
        ("gptq:0.5", "expected gptq without a parameter, but got 'gptq:0.5'; those with one are gptq-correct:SHARE, smoothquant:ALPHA, "),
        ("clip:", "expected clip without a parameter, but got 'clip:'"),
        ("gptq-correct:", "--algo=gptq-correct: expected a number from 0 to 1 behind the colon, but got none"),
    ],
)
def test_parameters_that_do_not_fit_are_named(tmp_path, given, told):
    assert told in refuse(network(tmp_path), tmp_path, 2, "QCC-E401", samples(), algo=given)


def test_the_nearest_algorithm_is_named(tmp_path):
    assert "did you mean 'gptq'?" in refuse(network(tmp_path), tmp_path, 2, "QCC-E401", samples(), algo="gptk")


def test_a_precision_is_needed(tmp_path):
    assert "--precision" in refuse(network(tmp_path), tmp_path, 2, "QCC-E401", samples(), algo="gptq", precision="f32")


def test_one_scale_for_all_columns_is_refused(tmp_path):
    text = refuse(network(tmp_path), tmp_path, 4, "QCC-E307", samples(), algo="gptq", precision="w4a16:tensor")
    assert "expected no 'tensor'" in text


@pytest.mark.parametrize("algo", ["awq", "clip", "gptq", "refine"])
def test_floats_have_no_scales_to_choose(tmp_path, algo):
    text = refuse(network(tmp_path), tmp_path, 4, "QCC-E307", samples(), algo=algo, precision="bf16")
    assert "choose scales and codes" in text and "'bf16'" in text


def test_modes_are_known(tmp_path):
    refuse(network(tmp_path), tmp_path, 2, "QCC-E401", samples(), algo="gptq", calib_mode="fast")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("algorithm", ["awq", "gptq"])
def test_data_must_be_finite(tmp_path, value, algorithm):
    x = samples()
    x[7, 3] = value
    refuse(network(tmp_path), tmp_path, 5, "QCC-E201", x, algo=algorithm)


def test_values_that_overflow_inside_are_refused(tmp_path):
    graph = Graph()
    square = graph.add("Mul", "x", "x")
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", square, weight(K, N), name="last"))
    x = samples()
    x[5, 2] = 1e30
    assert "NaN or infinite" in refuse(path, tmp_path, 5, "QCC-E201", x, algo="gptq")


@pytest.mark.parametrize("algorithms", [["awq"], ["gptq"], ["awq", "gptq"], ["smoothquant"]])
@pytest.mark.parametrize("kind", ["zeros", "one row", "two equal rows", "constant channel", "dead channels", "tiny", "huge"])
def test_poor_data_give_a_sane_model(tmp_path, algorithms, kind):
    """Never a number that is not finite, and never much worse than rounding to nearest."""
    x = samples(200)
    given = {"zeros": np.zeros_like(x), "one row": x[:1], "two equal rows": x[[4, 4]], "constant channel": x.copy(),
             "dead channels": x.copy(), "tiny": x * np.float32(1e-18), "huge": x * np.float32(1e15)}[kind]  # fmt: skip
    if kind == "constant channel":
        given[:, 9] = 2
    if kind == "dead channels":
        given[:, 16:40] = 0
    path = network(tmp_path)
    precision = "int8" if algorithms == ["smoothquant"] else "w4a8"
    chosen, layers = error(path, tmp_path, given, algo=algorithms, precision=precision)
    for layer in layers:
        assert np.isfinite(layer.get("error_chosen", 0)) and layer.get("error_chosen", 0) <= layer.get("error_nearest", 0)
    artifact = tmp_path / "out.qcc"
    assert np.isfinite(run(artifact, x)).all()
    if kind not in ("zeros", "dead channels"):
        assert chosen < 0.5


@pytest.mark.parametrize("algorithms", [["awq"], ["gptq"], ["awq", "gptq"]])
def test_a_layer_of_zeros(tmp_path, algorithms):
    graph = Graph()
    hidden = graph.add("MatMul", "x", np.zeros((K, K), np.float32), name="zero")
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", hidden, weight(K, N), name="last"))
    artifact = compile_(path, tmp_path, samples(), algo=algorithms)
    assert np.array_equal(run(artifact, samples()), np.zeros((200, N), np.float32))


def test_scales_do_not_overflow_what_they_are_folded_into(tmp_path):
    """Weights near the largest float stay finite: scales that would break them are not taken."""
    graph = Graph()
    hidden = graph.add("MatMul", "x", weight(K, K) * np.float32(1e-30), name="first")
    last = graph.add("MatMul", hidden, weight(K, N) * np.float32(1e38), name="last")
    path = graph.save(tmp_path / "m.onnx", last)
    for algorithm in ("awq", "smoothquant"):
        artifact = compile_(path, tmp_path, samples(), precision="int8", algo=algorithm)
        assert np.isfinite(run(artifact, samples())).all()


def test_passes_alone_refuse(tmp_path):
    """Without a pipeline around them there are no data."""
    text = tmp_path / "m.mlir"
    text.write_text("module { func.func @main() { return } }\n")
    opt = pathlib.Path(__file__).parents[2] / "build" / "bin" / "qcc-opt"
    for flag in ("--qcc-quantize-gptq", "--qcc-transform-awq", "--qcc-transform-smoothquant"):
        done = subprocess.run([opt, text, flag], capture_output=True, text=True)
        assert done.returncode != 0 and "[QCC-E401]" in done.stderr and "expected --calib=DATA" in done.stderr
    for flag in ("--qcc-quantize-gptq=methods=magic", "--qcc-transform-awq=judge=magic"):
        done = subprocess.run([opt, text, flag], capture_output=True, text=True)
        assert done.returncode != 0 and "[QCC-E401]" in done.stderr
