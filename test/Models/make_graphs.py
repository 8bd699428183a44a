#!/usr/bin/env python3
# Writes graphs of known shapes with random weights as ONNX: what tests and benchmarks use where trained models are not
# needed.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: make_graphs.py KIND OUT.onnx [--batch=N] [--layers=N] [--mask] [--seed=N]

KIND is one of GRAPHS below. The batch is symbolic (`batch`) unless --batch fixes it. Weights are scaled so that
activations keep their order of magnitude from layer to layer, as those of trained networks do.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "demo"))
from graph import Graph


class Maker:
    """A graph with random weights and the layers that the kinds share."""

    def __init__(self, name: str, options: argparse.Namespace):
        self.graph = Graph(name)
        self.rng = np.random.default_rng(options.seed)
        self.options = options
        self.batch = options.batch or "batch"

    def weight(self, name: str, *shape: int, scale: float | None = None, mean: float = 0) -> str:
        """A normal-distributed float weight; by default its deviation keeps the variance of a product with it."""
        scale = 1 / np.sqrt(shape[0]) if scale is None else scale
        return self.graph.initializer(name, np.float32(mean) + np.float32(scale) * self.rng.standard_normal(shape, np.float32))

    def constant(self, values: list[int]) -> str:
        """An int64 constant, shared by all that use the same values."""
        return self.graph.initializer("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def linear(self, path: str, x: str, size_in: int, size_out: int) -> str:
        """x W + b over the last axis, as MatMul and Add."""
        product = self.graph.node("MatMul", [x, self.weight(f"{path}.weight", size_in, size_out)], f"{path}/MatMul")
        return self.graph.node("Add", [self.weight(f"{path}.bias", size_out, scale=0.02), product], f"{path}/Add")

    def norm(self, path: str, x: str, size: int) -> str:
        """Layer normalisation over the last axis."""
        scale = self.weight(f"{path}.weight", size, scale=0.05, mean=1)
        shift = self.weight(f"{path}.bias", size, scale=0.05)
        return self.graph.node("LayerNormalization", [x, scale, shift], f"{path}/LayerNormalization", axis=-1, epsilon=1e-12)

    def gelu(self, path: str, x: str) -> str:
        """x Phi(x) in the five nodes that PyTorch exports."""
        node, scalar = self.graph.node, self.graph.scalar
        curve = node("Erf", [node("Div", [x, scalar(np.sqrt(2))], f"{path}/Div")], f"{path}/Erf")
        product = node("Mul", [x, node("Add", [curve, scalar(1)], f"{path}/Add")], f"{path}/Mul")
        return node("Mul", [product, scalar(0.5)], f"{path}/Mul_1")

    def attention(self, path: str, x: str, tokens: int, size: int, heads: int, mask: str | None) -> str:
        """Multi-head self-attention over [batch, tokens, size]; `mask` is added to the scores."""
        node = self.graph.node
        split, joined = self.constant([0, tokens, heads, size // heads]), self.constant([0, tokens, size])
        parts = []
        for name, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            part = node("Reshape", [self.linear(f"{path}/{name}", x, size, size), split], f"{path}/{name}/Reshape")
            parts.append(node("Transpose", [part], f"{path}/{name}/Transpose", perm=perm))
        scores = node("MatMul", parts[:2], f"{path}/MatMul")
        scores = node("Div", [scores, self.graph.scalar(np.sqrt(size // heads))], f"{path}/Div")
        if mask:
            scores = node("Add", [scores, mask], f"{path}/Add")
        weights = node("Softmax", [scores], f"{path}/Softmax", axis=-1)
        mixed = node("MatMul", [weights, parts[2]], f"{path}/MatMul_1")
        mixed = node("Reshape", [node("Transpose", [mixed], f"{path}/Transpose", perm=[0, 2, 1, 3]), joined], f"{path}/Reshape")
        return self.linear(f"{path}/output", mixed, size, size)

    def post_norm_block(self, path: str, x: str, tokens: int, size: int, heads: int, mask: str | None) -> str:
        """A transformer layer as BERT has it."""
        attended = self.attention(f"{path}/attention", x, tokens, size, heads, mask)
        x = self.norm(f"{path}/attention/norm", self.graph.node("Add", [attended, x], f"{path}/attention/residual/Add"), size)
        inner = self.gelu(f"{path}/gelu", self.linear(f"{path}/intermediate", x, size, 4 * size))
        outer = self.linear(f"{path}/output", inner, 4 * size, size)
        return self.norm(f"{path}/output/norm", self.graph.node("Add", [outer, x], f"{path}/output/residual/Add"), size)

    def conv(self, path: str, x: str, size_in: int, size_out: int, kernel: int, stride: int, gain: float = 1, group: int = 1) -> str:
        """Convolution without bias and batch normalisation, as ResNets have them; `gain` scales the result."""
        pad, fan = kernel // 2, size_in // group * kernel * kernel
        weight = self.weight(f"{path}.weight", size_out, size_in // group, kernel, kernel, scale=np.sqrt(2 / fan))
        spread = {"kernel_shape": [kernel] * 2, "pads": [pad] * 4, "strides": [stride] * 2, "group": group}
        x = self.graph.node("Conv", [x, weight], f"{path}/Conv", **spread)
        statistics = [
            self.weight(f"{path}.scale", size_out, scale=0.1 * gain, mean=gain),
            self.weight(f"{path}.shift", size_out, scale=0.1),
            self.weight(f"{path}.mean", size_out, scale=0.1),
            self.graph.initializer(f"{path}.var", self.rng.uniform(0.5, 1.5, size_out).astype(np.float32)),
        ]
        return self.graph.node("BatchNormalization", [x, *statistics], f"{path}/BatchNormalization", epsilon=1e-5)


def mlp(m: Maker) -> None:
    """image[batch, 256] -> logits[batch, 10] in three layers."""
    x = m.graph.input("image", [m.batch, 256])
    for i, (a, b) in enumerate([(256, 512), (512, 512)]):
        x = m.graph.node("Relu", [m.linear(f"fc{i}", x, a, b)], f"fc{i}/Relu")
    m.graph.output("logits", m.linear("fc2", x, 512, 10), [m.batch, 10])


def attention(m: Maker) -> None:
    """x[batch, 32, 64] -> y of the same shape by one transformer layer of four heads."""
    x = m.graph.input("x", [m.batch, 32, 64])
    m.graph.output("y", m.post_norm_block("layer", x, 32, 64, 4, None), [m.batch, 32, 64])


def counter(m: Maker) -> None:
    """x[4], count[4] -> count_out = count + x, seen = 2 count_out: the smallest graph with state."""
    x, count = m.graph.input("x", [4]), m.graph.input("count", [4])
    total = m.graph.node("Add", [count, x], "Add")
    m.graph.output("seen", m.graph.node("Mul", [total, m.graph.scalar(2)], "Mul"), [4])
    m.graph.output("count_out", total, [4])


def cell(m: Maker) -> None:
    """x[batch, 16], h[batch, 32] -> h_out = tanh(x W + h U + b), y = h_out V: a recurrent cell."""
    x, h = m.graph.input("x", [m.batch, 16]), m.graph.input("h", [m.batch, 32])
    mixed = m.graph.node("MatMul", [h, m.weight("hidden.weight", 32, 32)], "hidden/MatMul")
    mixed = m.graph.node("Tanh", [m.graph.node("Add", [m.linear("input", x, 16, 32), mixed], "Add")], "Tanh")
    m.graph.output("y", m.linear("output", mixed, 32, 8), [m.batch, 8])
    m.graph.output("h_out", mixed, [m.batch, 32])


def bert(m: Maker) -> None:
    """input_ids[batch, 128] (and attention_mask with --mask) -> last_hidden_state, pooler_output; BERT-base's sizes."""
    tokens, size, vocabulary = 128, 768, 30522
    node = m.graph.node
    ids = m.graph.input("input_ids", [m.batch, tokens], TensorProto.INT64)
    x = node("Gather", [m.weight("embeddings.word", vocabulary, size, scale=0.5), ids], "embeddings/word/Gather", axis=0)
    x = node("Add", [x, m.weight("embeddings.position", 1, tokens, size, scale=0.5)], "embeddings/Add")
    x = m.norm("embeddings/norm", x, size)
    mask = None
    if m.options.mask:
        mask = m.graph.input("attention_mask", [m.batch, tokens], TensorProto.INT64)
        mask = node("Cast", [node("Unsqueeze", [mask, m.constant([1, 2])], "mask/Unsqueeze")], "mask/Cast", to=TensorProto.FLOAT)
        mask = node("Sub", [m.graph.scalar(1), mask], "mask/Sub")
        mask = node("Mul", [mask, m.graph.scalar(np.finfo(np.float32).min)], "mask/Mul")
    for i in range(m.options.layers or 12):
        x = m.post_norm_block(f"layer.{i}", x, tokens, size, 12, mask)
    m.graph.output("last_hidden_state", x, [m.batch, tokens, size])
    first = node("Gather", ["last_hidden_state", m.graph.initializer("zero", np.array(0, np.int64))], "pooler/Gather", axis=1)
    weight, bias = m.weight("pooler.weight", size, size), m.weight("pooler.bias", size, scale=0.02)
    pooled = node("Gemm", [first, weight, bias], "pooler/Gemm", transB=1)
    m.graph.output("pooler_output", node("Tanh", [pooled], "pooler/Tanh"), [m.batch, size])


def bottleneck(m: Maker, path: str, x: str, size_in: int, size: int, stride: int) -> str:
    """A ResNet block of 1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def relu(value: str, name: str) -> str:
        return m.graph.node("Relu", [value], f"{path}/{name}")

    y = relu(m.conv(f"{path}/conv1", x, size_in, size, 1, 1), "relu1")
    y = relu(m.conv(f"{path}/conv2", y, size, size, 3, stride), "relu2")
    y = m.conv(f"{path}/conv3", y, size, 4 * size, 1, 1, gain=0.3)
    if stride != 1 or size_in != 4 * size:
        x = m.conv(f"{path}/shortcut", x, size_in, 4 * size, 1, stride, gain=0.8)
    return relu(m.graph.node("Add", [y, x], f"{path}/Add"), "relu3")


def resnet50(m: Maker) -> None:
    """image[batch, 3, 224, 224] -> logits[batch, 1000]; ResNet50's sizes, batch normalisation unfolded."""
    image = m.graph.input("image", [m.batch, 3, 224, 224])
    x = m.graph.node("Relu", [m.conv("stem", image, 3, 64, 7, 2)], "stem/Relu")
    x = m.graph.node("MaxPool", [x], "stem/MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    channels = 64
    for stage, (size, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(min(blocks, m.options.layers or blocks)):
            x = bottleneck(m, f"stage{stage}.{block}", x, channels, size, 2 if stage and not block else 1)
            channels = 4 * size
    x = m.graph.node("GlobalAveragePool", [x], "head/GlobalAveragePool")
    x = m.graph.node("Flatten", [x], "head/Flatten", axis=1)
    weight, bias = m.weight("head.weight", 1000, channels, scale=0.03), m.weight("head.bias", 1000, scale=0.02)
    m.graph.output("logits", m.graph.node("Gemm", [x, weight, bias], "head/Gemm", transB=1), [m.batch, 1000])


def inverted_residual(m: Maker, path: str, x: str, size_in: int, size_out: int, expansion: int, stride: int) -> str:
    """A MobileNetV2 block: 1x1 that widens, depthwise 3x3, 1x1 that narrows, and a shortcut where sizes agree."""

    def clip(value: str, name: str) -> str:
        return m.graph.node("Clip", [value, m.graph.scalar(0), m.graph.scalar(6)], f"{path}/{name}")

    inner, y = size_in * expansion, x
    if expansion > 1:
        y = clip(m.conv(f"{path}/expand", y, size_in, inner, 1, 1), "clip1")
    y = clip(m.conv(f"{path}/depthwise", y, inner, inner, 3, stride, group=inner), "clip2")
    y = m.conv(f"{path}/project", y, inner, size_out, 1, 1, gain=0.5)
    return m.graph.node("Add", [y, x], f"{path}/Add") if stride == 1 and size_in == size_out else y


def mobilenetv2(m: Maker) -> None:
    """image[batch, 3, 224, 224] -> logits[batch, 1000]; MobileNetV2's sizes, batch normalisation unfolded."""
    image = m.graph.input("image", [m.batch, 3, 224, 224])
    bounds = [m.graph.scalar(0), m.graph.scalar(6)]
    x = m.graph.node("Clip", [m.conv("stem", image, 3, 32, 3, 2), *bounds], "stem/Clip")
    channels = 32
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for stage, (expansion, size, blocks, stride) in enumerate(rows):
        for block in range(min(blocks, m.options.layers or blocks)):
            path = f"stage{stage}.{block}"
            x = inverted_residual(m, path, x, channels, size, expansion, 1 if block else stride)
            channels = size
    x = m.graph.node("Clip", [m.conv("head", x, channels, 1280, 1, 1), *bounds], "head/Clip")
    x = m.graph.node("Flatten", [m.graph.node("GlobalAveragePool", [x], "head/GlobalAveragePool")], "head/Flatten", axis=1)
    weight, bias = m.weight("classifier.weight", 1000, 1280, scale=0.03), m.weight("classifier.bias", 1000, scale=0.02)
    m.graph.output("logits", m.graph.node("Gemm", [x, weight, bias], "classifier/Gemm", transB=1), [m.batch, 1000])


GRAPHS = {f.__name__: f for f in (mlp, attention, counter, cell, bert, resnet50, mobilenetv2)}


def make(kind: str, path: str | pathlib.Path, *, batch: int = 0, layers: int = 0, mask: bool = False, seed: int = 0) -> None:
    """Writes a graph of GRAPHS to `path`; `batch` 0 is symbolic, `layers` 0 is the usual number."""
    maker = Maker(kind, argparse.Namespace(batch=batch, layers=layers, mask=mask, seed=seed))
    GRAPHS[kind](maker)
    onnx.save(maker.graph.model(), path)


def main() -> None:
    parser = argparse.ArgumentParser(description="write a graph with random weights as ONNX")
    parser.add_argument("kind", choices=GRAPHS)
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=0, help="fix the batch (default: symbolic)")
    parser.add_argument("--layers", type=int, default=0, help="layers (bert) or blocks per stage (resnet50)")
    parser.add_argument("--mask", action="store_true", help="bert: an attention mask as second input")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(options.kind, options.out, batch=options.batch, layers=options.layers, mask=options.mask, seed=options.seed)


if __name__ == "__main__":
    main()
