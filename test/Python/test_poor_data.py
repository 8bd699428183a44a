# Calibration data and weights that are poor: a clear refusal or a sane artifact, never a number that is not finite.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A row of CASES is one compile: a model and data that are poor in some way, the algorithms, and what must come of it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
import qcc
from onnx import TensorProto, helper
from test_algorithms import Graph

K, N, ROWS = 64, 48, 96
LARGEST = np.finfo(np.float32).max


def random(*shape, seed=1, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


# --- models over x [rows, K] -----------------------------------------------------------------------------------------


def two_layers(first=None, last=None):
    """A product, a rectifier and a product: scales of the second one's inputs fold into the first one's columns."""

    def make():
        graph = Graph()
        hidden = graph.add("MatMul", "x", random(K, K, seed=2, scale=0.1) if first is None else first, name="first")
        hidden = graph.add("Relu", hidden)
        return graph, graph.add("MatMul", hidden, random(K, N, seed=3, scale=0.1) if last is None else last, name="last")

    return make


def one_layer(weights):
    def make():
        graph = Graph(("rows", weights.shape[0]))
        return graph, graph.add("MatMul", "x", weights, name="last")

    return make


def gained(gain, weights):
    """x times a gain per channel, and a product: scales fold into the gain."""

    def make():
        graph = Graph()
        return graph, graph.add("MatMul", graph.add("Mul", graph.add("Tanh", "x"), gain), weights, name="last")

    return make


def branch_not_taken():
    """A product behind a condition that no sample fulfils, as an expert that no token is routed to."""
    graph = Graph()
    weights = random(K, K, seed=2, scale=0.1)

    def body(name, multiply):
        output = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)
        inputs = ["x", "expert"] if multiply else ["x"]
        node = helper.make_node("MatMul" if multiply else "Identity", inputs, [f"{name}.out"], name=name)
        return helper.make_graph([node], name, [], [output])

    from onnx import numpy_helper

    graph.weights.append(numpy_helper.from_array(weights, "expert"))
    largest = graph.add("ReduceMax", "x", keepdims=0)
    taken = graph.add("Greater", largest, np.array(1e6, np.float32))
    chosen = graph.add("If", taken, then_branch=body("unseen", True), else_branch=body("seen", False))
    return graph, graph.add("MatMul", chosen, random(K, N, seed=3, scale=0.1), name="last")


def shared_weight():
    """Two products with one weight."""
    graph = Graph()
    weights = random(K, K, seed=2, scale=0.1)
    graph.add("MatMul", "x", weights, name="first")
    name = graph.weights[0].name
    graph.nodes.append(helper.make_node("MatMul", ["v0", name], ["v1"], name="again"))
    return graph, graph.add("MatMul", "v1", random(K, N, seed=3, scale=0.1), name="last")


def convolution(weights):
    """Over x [rows, K] seen as images of one pixel row."""

    def make():
        graph = Graph()
        image = graph.add("Reshape", "x", np.int64([-1, 16, 2, 2]))
        return graph, graph.add("Conv", image, weights, name="last", kernel_shape=[2, 2])

    return make


# --- data ------------------------------------------------------------------------------------------------------------


def plain(rows=ROWS, k=K):
    return random(rows, k, seed=4)


def with_value(value, rows=ROWS, at=(7, 3)):
    x = plain(rows)
    x[at] = value
    return x


def with_channels(values, first=0, last=K):
    x = plain()
    x[:, first:last] = values
    return x


def spread():
    """Channels of magnitudes from 1e-18 to 1e18."""
    return plain() * np.logspace(-18, 18, K, dtype=np.float32)


DATA = {
    "plain": plain(),
    "70 inputs": plain(k=70),
    "NaN in one sample of few": with_value(np.nan),
    "NaN in one sample of many": with_value(np.nan, rows=1000),
    "NaN everywhere": np.full((ROWS, K), np.nan, np.float32),
    "infinity": with_value(np.inf),
    "minus infinity": with_value(-np.inf),
    "no rows": np.zeros((0, K), np.float32),
    "one row": plain(1),
    "two rows": plain(2),
    "fewer rows than inputs": plain(K // 2),
    "one row many times": np.repeat(plain(1), ROWS, axis=0),
    "rank one": (random(ROWS, 1, seed=5) * random(1, K, seed=6)).astype(np.float32),
    "zeros": np.zeros((ROWS, K), np.float32),
    "minus zeros": np.full((ROWS, K), -0.0, np.float32),
    "constant": np.full((ROWS, K), 2.5, np.float32),
    "constant channel": with_channels(2.0, 9, 10),
    "dead channels": with_channels(0.0, 16, 40),
    "dead group": with_channels(0.0, 32, 64),
    "one live channel": with_channels(0.0, 1, K),
    "equal channels": np.repeat(plain()[:, :1], K, axis=1),
    "one element": np.eye(1, K, 5, dtype=np.float32) * np.ones((ROWS, 1), np.float32),
    "outlier": with_value(1e12),
    "huge": plain() * np.float32(1e15),
    "tiny": plain() * np.float32(1e-18),
    "denormal": plain() * np.float32(1e-41),
    "spread": spread(),
    "wrong rank": plain().reshape(ROWS, 8, 8),
    "wrong width": plain(k=K + 1),
    "doubles": plain().astype(np.float64),
    "integers": plain().astype(np.int64),
    "halves": plain().astype(np.float16),
    "scalar": np.float32(1),
}


def write_data(kind, folder: pathlib.Path) -> pathlib.Path:
    """A file or folder of calibration data."""
    path = folder / "calib.npz"
    if kind == "no file":
        return path
    if kind == "empty file":
        path.write_bytes(b"")
    elif kind == "cut file":
        np.savez(path, x=plain())
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "no arrays":
        np.savez(path)
    elif kind == "another name":
        np.savez(path, y=plain())
    elif kind == "objects":
        np.savez(path, x=np.array([{"a": 1}], dtype=object))
    elif kind == "empty folder":
        path = folder / "data"
        path.mkdir()
    else:
        np.savez(path, x=DATA[kind])
    return path


# --- what must come of it ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Refused:
    """An error with exit code, code and a part of its text."""

    text: str
    status: int = 5
    code: str = "QCC-E201"


@dataclasses.dataclass
class Sane:
    """An artifact whose outputs on plain data differ from the float model's by at most so much, relative in L2."""

    error: float = 0.35
    warning: str = ""


@dataclasses.dataclass
class Case:
    data: str
    route: str
    outcome: Refused | Sane
    model: Callable = two_layers()
    name: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    probe: np.ndarray | None = None  # other data than plain ones to run on


ROUTES = {
    "rtn": {"precision": "w4a8", "algo": "rtn"},
    "clip": {"precision": "w4a16:g32", "algo": "clip"},
    "gptq": {"precision": "w4a16:g32", "algo": "gptq"},
    "gptq w8a16": {"precision": "w8a16", "algo": "gptq"},
    "gptq-correct": {"precision": "w4a16:g32", "algo": "gptq-correct"},
    "refine": {"precision": "w4a16:g32", "algo": "refine"},
    "gptq,clip,refine": {"precision": "w4a8", "algo": "gptq,clip,refine"},
    "awq": {"precision": "w4a16:g32", "algo": "awq"},
    "awq,gptq": {"precision": "w4a8", "algo": "awq,gptq"},
    "parallel": {"precision": "w4a8", "algo": "awq,gptq", "calib_mode": "parallel"},
    "smoothquant": {"precision": "int8", "algo": "smoothquant"},
    "explicit": {"precision": "int8", "algo": "smoothquant-explicit:0.5"},
    "static": {"precision": "int8"},
    "entropy": {"precision": "int8", "calib_method": "entropy"},
    "mse": {"precision": "int8", "calib_method": "mse"},
    "percentile": {"precision": "int8", "calib_method": "percentile:99"},
}

WIDE = random(K, K, seed=2, scale=0.1)
NARROW = random(K, N, seed=3, scale=0.1)
NO_DATA = "expected values, but the samples are empty arrays"
NOT_FINITE = "NaN or infinite"

CASES = [
    # What is not finite in the data.
    *[Case("NaN in one sample of few", route, Refused("NaN")) for route in ("gptq", "smoothquant", "static")],
    Case("NaN in one sample of many", "gptq", Sane(warning="left out")),
    Case("NaN in one sample of many", "static", Sane(warning="left out")),
    Case("NaN in one sample of few", "awq,gptq", Sane(warning="left out"), options={"calib_nan": "skip"}),
    Case("NaN in one sample of many", "gptq", Refused("NaN"), options={"calib_nan": "refuse"}),
    Case("NaN everywhere", "gptq", Refused("NaN"), options={"calib_nan": "skip"}),
    *[Case("infinity", route, Refused(NOT_FINITE)) for route in ("clip", "gptq", "refine", "awq", "smoothquant")],
    Case("minus infinity", "static", Sane(warning="left out")),
    Case("infinity", "entropy", Refused(NOT_FINITE), options={"calib_nan": "refuse"}),
    # No data, or none of this model.
    *[Case("no rows", route, Refused(NO_DATA)) for route in ("rtn", "gptq", "awq", "smoothquant", "static")],
    *[Case(kind, "gptq", Refused("")) for kind in ("no file", "empty file", "cut file", "objects", "empty folder")],
    Case("no arrays", "gptq", Refused("x")),
    Case("another name", "awq", Refused("x")),
    *[Case(kind, "gptq", Refused("input 'x'")) for kind in ("wrong rank", "wrong width", "scalar", "integers", "doubles", "halves")],
    Case("wrong width", "static", Refused("input 'x'")),
    # Few data, or data that say nothing.
    *[Case("one row", route, Sane(), probe=plain(1)) for route in ("gptq-correct", "refine", "awq,gptq", "smoothquant", "entropy")],
    *[Case("fewer rows than inputs", route, Sane()) for route in ("gptq", "refine", "awq", "explicit")],
    *[Case("one row many times", route, Sane(), probe=plain(1)) for route in ("gptq", "percentile")],
    *[Case("rank one", route, Sane(), probe=DATA["rank one"]) for route in ("gptq-correct", "gptq,clip,refine", "awq,gptq", "smoothquant")],
    *[Case("zeros", route, Sane(np.inf)) for route in ("clip", "refine", "awq,gptq", "smoothquant", "static", "entropy", "mse")],
    Case("minus zeros", "static", Sane(np.inf)),
    *[Case("constant", route, Sane(np.inf)) for route in ("awq", "smoothquant", "entropy")],
    *[Case("constant channel", route, Sane()) for route in ("gptq", "static")],
    *[Case("dead channels", route, Sane(), probe=DATA["dead channels"]) for route in ("clip", "gptq,clip,refine", "awq,gptq", "smoothquant")],
    Case("dead group", "gptq", Sane(), probe=DATA["dead group"]),
    Case("one live channel", "awq,gptq", Sane(), probe=DATA["one live channel"]),
    Case("equal channels", "gptq", Sane(), probe=DATA["equal channels"]),
    Case("one element", "gptq-correct", Sane(), probe=DATA["one element"]),
    # Magnitudes.
    *[Case("outlier", route, Sane(np.inf)) for route in ("awq", "smoothquant", "mse")],
    *[Case("huge", route, Sane(), probe=plain() * np.float32(1e15)) for route in ("gptq,clip,refine", "awq,gptq", "static")],
    *[Case("tiny", route, Sane(), probe=plain() * np.float32(1e-18)) for route in ("gptq", "refine", "smoothquant")],
    *[Case("denormal", route, Sane(np.inf)) for route in ("awq", "explicit", "mse")],
    *[Case("spread", route, Sane(np.inf)) for route in ("gptq-correct", "refine", "awq", "smoothquant", "static")],
    # Weights.
    *[Case("plain", route, Sane(), one_layer(NARROW * 0), "zeros") for route in ("clip", "refine", "smoothquant", "static")],
    *[Case("plain", route, Sane(), two_layers(first=WIDE * 0), "zeros first") for route in ("awq,gptq", "smoothquant")],
    Case("plain", "gptq", Sane(), two_layers(last=NARROW * (np.arange(N) % 2).astype(np.float32)), "zero columns"),
    Case("plain", "awq,gptq", Sane(), two_layers(last=NARROW * (np.arange(K) < 32).astype(np.float32)[:, None]), "zero group"),
    Case("plain", "gptq", Sane(), two_layers(last=np.full((K, N), 0.1, np.float32)), "equal weights"),
    *[Case("plain", route, Refused("expected finite weights", 3, "QCC-E105"),
           two_layers(last=np.where(np.eye(K, N) > 0, np.nan, NARROW).astype(np.float32)), "NaN weights")
      for route in ("rtn", "gptq", "awq", "smoothquant", "static")],
    Case("plain", "gptq", Refused("expected finite weights", 3, "QCC-E105"), two_layers(first=np.full_like(WIDE, np.inf)), "infinite weights"),
    Case("plain", "gptq", Refused("expected finite weights", 3, "QCC-E105"),
         two_layers(last=np.where(np.eye(K, N) > 0, -np.inf, NARROW).astype(np.float32)), "infinite last weights"),
    *[Case("plain", route, Refused("expected a scale below", 3, "QCC-E105"), one_layer(NARROW * np.float32(1e8)), "half overflow")
      for route in ("clip", "gptq", "refine", "awq")],
    *[Case("tiny", route, Sane(), one_layer(NARROW * np.float32(1e37)), "huge weights", probe=plain() * np.float32(1e-18))
      for route in ("explicit", "static")],
    *[Case("plain", route, Sane(np.inf), one_layer(NARROW * np.float32(1e-40)), "denormal weights")
      for route in ("gptq", "explicit", "static")],
    Case("70 inputs", "gptq", Sane(), one_layer(random(70, 1, seed=8, scale=0.1)), "one column", probe=plain(k=70)),
    Case("plain", "awq,gptq", Sane(), branch_not_taken, "unseen branch"),
    Case("plain", "parallel", Sane(), branch_not_taken, "unseen branch"),
    Case("plain", "static", Sane(), branch_not_taken, "unseen branch"),
    Case("plain", "awq,gptq", Sane(), shared_weight, "shared weight"),
    Case("plain", "static", Sane(), convolution(np.zeros((8, 16, 2, 2), np.float32)), "convolution of zeros"),
    Case("zeros", "static", Sane(np.inf), convolution(random(8, 16, 2, 2, scale=0.1)), "convolution"),
    Case("minus infinity", "static", Sane(warning="left out"), convolution(random(8, 16, 2, 2, scale=0.1)), "convolution"),
    Case("NaN in one sample of many", "static", Sane(warning="left out"), convolution(random(8, 16, 2, 2, scale=0.1)), "convolution"),
    Case("plain", "static", Refused("expected finite weights", 3, "QCC-E105"),
         convolution(np.full((8, 16, 2, 2), np.inf, np.float32)), "convolution of infinities"),
    # Overflow after folding.
    *[Case("plain", route, Sane(), gained(np.full(K, 1e-30, np.float32), NARROW * np.float32(1e30)), "tiny gain")
      for route in ("smoothquant", "static")],
    *[Case("spread", route, Sane(np.inf), gained(np.logspace(-37, 37, K, dtype=np.float32), NARROW), "gains of all sizes")
      for route in ("awq,gptq", "smoothquant", "explicit")],
    Case("tiny", "smoothquant", Sane(np.inf), two_layers(first=WIDE * np.float32(1e37), last=NARROW * np.float32(1e-30)), "near the largest"),
]


def label(case: Case) -> str:
    return f"{case.data}-{case.route}-{case.name}-{'-'.join(case.options.values())}".strip("-").replace(" ", "_")


# --- checking ----------------------------------------------------------------------------------------------------------


def run(artifact, x):
    return next(iter(qcc.load(artifact)({"x": x}).values()))


def driver(*words):
    """The driver's exit code and what it says."""
    done = subprocess.run([qcc._driver._find_driver(), *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stderr, done.stdout


# Of a group of 16 columns: the type of the scales, which come first, and all its bytes (include/qcc/Scheme/Scheme.h).
GROUPS = {"w4a8": ("<f2", 32 + 256), "w4a16:g32": ("<f2", 32 + 16 + 256), "w8a16": ("<f4", 64 + 16 * K), "int8": ("<f4", 64 + 16 * K)}


def check_stored(artifact: pathlib.Path, routed: bool) -> None:
    """Scales of the weights that are stored in codes, other weights, and every number in the report."""
    report = json.loads((artifact / "report.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} in the report"))
    assert report["ops"]
    data = (artifact / "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    formats = header.pop("__metadata__")
    checked = 0
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        stored = np.frombuffer(data[start + first : start + last], np.uint8)
        layout = formats.get(f"layout.{name}", "")
        if layout in GROUPS:
            kind, size = GROUPS[layout]
            groups = stored[: len(stored) // size * size].reshape(-1, size)
            assert np.isfinite(groups[:, : 16 * np.dtype(kind).itemsize].copy().view(kind)).all(), name
            checked += 1
        elif layout == "f32":
            assert np.isfinite(stored.view("<f4")).all(), name
    assert checked or not routed


def check_constants(text: str) -> None:
    """Numbers that stages keep in the module: MLIR writes those that are not finite as their bits."""
    for bits in re.findall(r"0x([0-9A-Fa-f]{8})\b", text):
        value = np.array(int(bits, 16), np.uint32).view(np.float32)
        assert np.isfinite(value), f"0x{bits} after quantization"


EXACT: dict[bytes, pathlib.Path] = {}


def compile_exact(path: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    """The float model, compiled once for all cases that have it."""
    key = path.read_bytes()
    if key not in EXACT:
        EXACT[key] = qcc.compile(path, tmp_path_factory.mktemp("exact") / "exact.qcc", target="avx2")
    return EXACT[key]


@pytest.mark.parametrize("case", CASES, ids=label)
def test_poor_data(tmp_path, tmp_path_factory, case: Case):
    graph, output = case.model()
    path = graph.save(tmp_path / "m.onnx", output)
    calib = write_data(case.data, tmp_path)
    options = {"calib": calib, "target": "avx2", **ROUTES[case.route], **case.options}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    artifact = tmp_path / "out.qcc"
    status, problems, _ = driver(path, "-o", artifact, "--no-embed-weights", *flags)
    if isinstance(case.outcome, Refused):
        assert status == case.outcome.status, problems
        assert case.outcome.code in problems and case.outcome.text in problems, problems
        assert not artifact.exists()
        return
    assert status == 0, problems
    assert case.outcome.warning in problems
    static = "algo" not in ROUTES[case.route]
    check_stored(artifact, not static)
    if static:
        status, problems, text = driver(path, "-o", "-", "--emit=quantize", *flags)
        assert status == 0, problems
        check_constants(text)
    exact = compile_exact(path, tmp_path_factory)
    x = plain() if case.probe is None else case.probe
    for probe in (x, np.zeros_like(x), np.eye(x.shape[1], dtype=np.float32) * np.abs(x).max()):
        wanted, got = run(exact, probe), run(artifact, probe)
        assert np.isfinite(got[np.isfinite(wanted)]).all()
    wanted, got = run(exact, x), run(artifact, x)
    assert np.linalg.norm((got - wanted).astype(float)) <= case.outcome.error * np.linalg.norm(wanted.astype(float))


@pytest.mark.parametrize("value", [0, 2.5, 1e-42])
def test_constant_data_are_warned_of(tmp_path, value):
    """No range can be learned from an input that is the same everywhere."""
    graph, y = two_layers()()
    np.savez(tmp_path / "x.npz", x=np.full((ROWS, K), value, np.float32))
    path = graph.save(tmp_path / "m.onnx", y)
    status, problems, _ = driver(path, "-o", tmp_path / "a", "--target=avx2", "--precision=int8", f"--calib={tmp_path}/x.npz")
    assert status == 0
    assert re.search(rf"x.input: all {ROWS * K} values are \S+ on the samples", problems), problems


@pytest.mark.parametrize("flag", ["--min-cos=0.9999", "--no-correct-bias"])
@pytest.mark.parametrize("precision, isUsed", [("w4a16", False), ("int8", True)])
def test_flags_that_change_nothing_are_warned_of(tmp_path, flag, precision, isUsed):
    graph, y = two_layers()()
    np.savez(tmp_path / "x.npz", x=random(ROWS, K))
    path = graph.save(tmp_path / "m.onnx", y)
    status, problems, _ = driver(path, "-o", tmp_path / "a", "--target=avx2", f"--precision={precision}", flag, f"--calib={tmp_path}/x.npz")
    assert status == 0
    assert (f"{flag.split('=')[0]} changes nothing" in problems) != isUsed


def test_nothing_is_made_up_for_with_few_rows(tmp_path):
    """Weights that give any result on fewer rows than inputs give something else on all others: they are GPTQ's own."""
    graph, y = two_layers()()
    np.savez(tmp_path / "x.npz", x=random(K // 2, K))
    path, data = graph.save(tmp_path / "m.onnx", y), f"--calib={tmp_path}/x.npz"
    layers = {}
    for algorithm in ("gptq", "gptq-correct"):
        status, problems, _ = driver(path, "-o", tmp_path / algorithm, "--target=avx2", "--precision=w4a16", f"--algo={algorithm}", data)
        assert status == 0
        assert ("gptq-correct makes up for nothing where rows are fewer than inputs" in problems) == (algorithm == "gptq-correct")
        rows = json.loads((tmp_path / algorithm / "report.json").read_text())["ops"]
        layers[algorithm] = [(row["node"], row["error_chosen"], row.get("error_of")) for row in rows if row.get("algorithm")]
    assert layers["gptq-correct"] == layers["gptq"] and [layer[0] for layer in layers["gptq"]] == ["first", "last"]
