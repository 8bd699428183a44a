# Rotations folded into the weights of decoders: the same in float, better rounded, and what is refused why.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper
from test_algorithms import K, N, RNG, Graph, norm, report, weight

ROWS, HEADS, GROUPS, SIZE, VOCABULARY = 12, 4, 2, 16, 40


def warnings(artifact):
    return json.loads((artifact / "report.json").read_text())["warnings"]


def tokens(count=20):
    return RNG.integers(0, VOCABULARY, (count, ROWS))


class Decoder(Graph):
    """A model of token numbers `x` [1, ROWS]."""

    def __init__(self):
        super().__init__((1, ROWS))

    def save(self, path, *outputs):
        super().save(path, *outputs)
        model = onnx.load(path)
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
        onnx.save(model, path)
        return path

    def project(self, x, name):
        """Queries, keys and values [1, ROWS, heads * SIZE]."""
        q = self.add("MatMul", x, weight(K, HEADS * SIZE), name=f"{name}.q")
        k = self.add("MatMul", x, weight(K, GROUPS * SIZE), name=f"{name}.k")
        v = self.add("MatMul", x, weight(K, GROUPS * SIZE), name=f"{name}.v")
        return q, k, self.add("Add", v, weight(GROUPS * SIZE))

    def attend(self, x, name):
        def split(value, count):
            value = self.add("Reshape", value, np.int64([1, ROWS, count, SIZE]))
            return self.add("Transpose", value, perm=[0, 2, 1, 3])

        def spread(value):
            value = self.add("Unsqueeze", value, np.int64([2]))
            value = self.add("Expand", value, np.int64([1, GROUPS, HEADS // GROUPS, ROWS, SIZE]))
            return self.add("Reshape", value, np.int64([1, HEADS, ROWS, SIZE]))

        q, k, v = self.project(x, name)
        q, k, v = split(q, HEADS), spread(split(k, GROUPS)), spread(split(v, GROUPS))
        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.add("Softmax", self.add("Mul", scores, np.float32([SIZE**-0.5])), axis=-1)
        out = self.add("Transpose", self.add("MatMul", scores, v), perm=[0, 2, 1, 3])
        return self.add("MatMul", self.add("Reshape", out, np.int64([1, ROWS, HEADS * SIZE])), weight(HEADS * SIZE, K),
                        name=f"{name}.o")  # fmt: skip

    def block(self, h, name, spread=1.0):
        """Attention and a gated network; rows of weights differ by `spread`."""
        h = self.add("Add", h, self.attend(norm(self, h), name))
        x, size = norm(self, h), np.ones(K, np.float32)
        size[::16] = spread
        up = self.add("MatMul", x, weight(K, 2 * K) * size[:, None], name=f"{name}.up")
        gate = self.add("Sigmoid", self.add("MatMul", x, weight(K, 2 * K) * size[:, None], name=f"{name}.gate"))
        down = self.add("Gemm", self.add("Reshape", self.add("Mul", up, gate), np.int64([ROWS, 2 * K])), weight(K, 2 * K),
                        weight(K), transB=1, name=f"{name}.down")  # fmt: skip
        return self.add("Add", h, self.add("Reshape", down, np.int64([1, ROWS, K])))

    def embed(self):
        h = self.add("Gather", weight(VOCABULARY, K, scale=1.0), "x", name="embed")
        return self.add("Add", self.add("Mul", h, np.float32([8])), weight(ROWS, K), name="positions")


class FusedDecoder(Decoder):
    """One product makes queries, keys and values, as in Phi-3."""

    def project(self, x, name):
        sizes = [HEADS * SIZE, GROUPS * SIZE, GROUPS * SIZE]
        value = self.add("Add", self.add("MatMul", x, weight(K, sum(sizes)), name=f"{name}.qkv"), weight(sum(sizes)))
        parts = [f"{name}.{part}" for part in "qkv"]
        self.nodes.append(helper.make_node("Split", [value, self.constant(np.int64(sizes))], parts, name=f"{name}.split", axis=2))
        return parts


def decoder(tmp_path, spread=1.0, blocks=2, kind=Decoder):
    graph = kind()
    h = graph.embed()
    for i in range(blocks):
        h = graph.block(h, f"b{i}", spread)
    return graph.save(tmp_path / "m.onnx", graph.add("MatMul", norm(graph, h), weight(K, N), name="head"))


def build(path, tmp_path, x, name="out", **options):
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    for i, sample in enumerate(x):
        np.savez(folder / f"{i:02}.npz", x=sample[None])
    options = {"calib": folder, "target": "avx2", "precision": "w4a16:channel", **options}
    return qcc.compile(path, tmp_path / f"{name}.qcc", **options)


def run(artifact, x):
    model = qcc.load(artifact)
    return np.concatenate([next(iter(model({"x": sample[None]}).values())) for sample in x])


@pytest.mark.parametrize("kind", [Decoder, FusedDecoder])
def test_rotations_cancel_in_float(tmp_path, kind):
    """With all products in float, the rotated model computes what the model does."""
    path, x = decoder(tmp_path, kind=kind), tokens()
    exact = run(qcc.compile(path, tmp_path / "exact.qcc", target="avx2"), x)
    artifact = build(path, tmp_path, x, algo="rotate", keep=".*")
    assert np.abs(run(artifact, x) - exact).max() < 1e-5 * np.abs(exact).max()
    options = {"precision": "w4a16", "calib": tmp_path / "data", "algo": "rotate"}
    rotated = qcc.compile(path, tmp_path / "t.mlir", emit="transform", **options).read_text()
    assert rotated.count(".rotated") >= 2 * (7 if kind is Decoder else 5) + 3


def test_all_layers_of_a_decoder_are_rotated(tmp_path):
    layers = {op["node"]: op.get("transform") for op in report(build(decoder(tmp_path), tmp_path, tokens(), algo="rotate"))}
    for name in ("q", "k", "v", "up", "gate"):
        assert layers[f"b1.{name}"] == "rotate: inputs", layers
    assert layers["b0.o"] == "rotate: heads of its inputs"
    assert layers["head"] == "rotate: inputs"
    assert layers["b0.down"] == "rotate: not rotated: neither a norm nor an attention makes its inputs"


def test_heads_of_one_product_are_rotated(tmp_path):
    """The columns of the values alone: queries and keys are compared with each other."""
    path = decoder(tmp_path, kind=FusedDecoder)
    layers = {op["node"]: op.get("transform") for op in report(build(path, tmp_path, tokens(), algo="rotate"))}
    assert layers["b1.qkv"] == "rotate: inputs" and layers["b0.o"] == "rotate: heads of its inputs", layers


def test_uneven_rows_round_better(tmp_path):
    """Some rows of weights are 20 times as large: a scale per column is theirs until they are spread over all. The other
    products stay float: their rounding, which no rotation changes, is the larger part of the error of all."""
    path, x = decoder(tmp_path, spread=20.0), tokens()
    exact = run(qcc.compile(path, tmp_path / "exact.qcc", target="avx2"), x)
    others = r".*\.(q|k|v|o|down)|head"
    plain = run(build(path, tmp_path, x, name="plain", keep=others), x)
    rotated = run(build(path, tmp_path, x, name="rotated", algo="rotate", keep=others), x)
    assert np.linalg.norm(rotated - exact) < 0.5 * np.linalg.norm(plain - exact)


def test_others_follow(tmp_path):
    """Scales are folded and weights chosen after the rotation; threads do not change the bytes."""
    path, x = decoder(tmp_path, blocks=1), tokens(40)
    first, second = (build(path, tmp_path, x, name=f"j{jobs}", algo=["gptq", "awq", "rotate"], jobs=jobs) for jobs in (1, 3))
    assert (first / "libmodel.so").read_bytes() == (second / "libmodel.so").read_bytes()
    layers = {op["node"]: op for op in report(first)}
    assert layers["b0.up"]["transform"].startswith("rotate: inputs; awq: ")
    assert "no weight to fold into" not in layers["b0.up"]["transform"]
    assert all(op["error_chosen"] <= op["error_nearest"] for op in layers.values())


def bare(graph, h):
    return norm(graph, h, gain=False)


def centred(graph, h):
    mean = graph.add("ReduceMean", h, axes=[-1])
    return norm(graph, graph.add("Sub", h, mean))


def rectified(graph, h):
    return norm(graph, graph.add("Relu", h, name="relu"))


def shifted(graph, h):
    return graph.add("Add", norm(graph, h), weight(K), name="shift")


def read_elsewhere(graph, h):
    value = norm(graph, h)
    graph.extra = graph.add("Sigmoid", h, name="sigmoid")
    return value


def gained(graph, h):
    """As models write it whose blocks end in a norm: what is added has a gain per channel."""
    block = norm(graph, graph.add("MatMul", norm(graph, h), weight(K, K), name="block"), gain=False)
    return norm(graph, graph.add("Add", h, graph.add("Mul", block, weight(K), name="gain")))


def layer_normed(graph, h):
    """With its shift in one operation with its gain, and a reshape before the product."""
    value = graph.add("LayerNormalization", h, weight(K) + 1, weight(K), name="layer_norm")
    return graph.add("Reshape", value, np.int64([ROWS, K]))


REFUSED = {gained: "'gain' is a gain per channel of what is added to the stream, which does not commute with rotations",
           layer_normed: "'layer_norm' (qcc.norm) subtracts its mean", centred: "subtracts its mean", rectified: "'relu'", shifted: "'shift'", read_elsewhere: "'sigmoid'"}  # fmt: skip


@pytest.mark.parametrize("make", REFUSED)
def test_other_streams_stay_as_they_are(tmp_path, make):
    graph = Decoder()
    graph.extra = None
    last = graph.add("MatMul", make(graph, graph.embed()), weight(K, N), name="last")
    path = graph.save(tmp_path / "m.onnx", last, *([graph.extra] if graph.extra else []))
    x = tokens(4)
    exact = run(qcc.compile(path, tmp_path / "exact.qcc", target="avx2"), x)
    artifact = build(path, tmp_path, x, algo="rotate", precision="w8a16")
    [layer] = [op for op in report(artifact) if op["node"] == "last"]
    assert "rotate: not rotated: " in layer["transform"]
    assert REFUSED[make] in layer["transform"], layer
    assert [told for told in warnings(artifact) if "--algo=rotate changed nothing: not rotated: " in told], warnings(artifact)
    assert np.linalg.norm(run(artifact, x) - exact) < 0.02 * np.linalg.norm(exact)


def test_a_norm_without_gain_is_rotated(tmp_path):
    graph = Decoder()
    last = graph.add("MatMul", bare(graph, graph.embed()), weight(K, N), name="last")
    [layer] = report(build(graph.save(tmp_path / "m.onnx", last), tmp_path, tokens(4), algo="rotate"))
    assert layer["transform"] == "rotate: inputs"


def test_streams_that_are_inputs_stay(tmp_path):
    graph = Graph()
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", norm(graph, "x"), weight(K, N), name="last"))
    np.savez(tmp_path / "calib.npz", x=RNG.standard_normal((8, K)).astype(np.float32))
    artifact = qcc.compile(path, tmp_path / "o.qcc", precision="w4a8", algo="rotate", calib=tmp_path / "calib.npz", target="avx2")
    assert report(artifact)[0]["transform"] == "rotate: not rotated: it is an input"
    assert warnings(artifact) == ["--algo=rotate changed nothing: not rotated: it is an input"]


def test_models_without_norms_are_told_of(tmp_path):
    graph = Graph()
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", "x", weight(K, N)))
    np.savez(tmp_path / "calib.npz", x=RNG.standard_normal((8, K)).astype(np.float32))
    artifact = qcc.compile(path, tmp_path / "o.qcc", precision="w4a8", algo="rotate", calib=tmp_path / "calib.npz", target="avx2")
    assert warnings(artifact) == ["--algo=rotate changed nothing: no product was found behind a norm or an attention"]
