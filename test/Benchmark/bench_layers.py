#!/usr/bin/env python3
# Speed of single layers of forms that the benchmarks of models have few of, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_layers.py [--pairs=N] [--only=REGEX] [--no-page] [--page=FILE]

Convolutions of few outputs or in groups, transposed ones, those over depth, depthwise ones by width, dilated ones, of single pixels, products of few rows, pools, attention with what hides
keys. One thread, both sides in turns on the same input; f32, and int8 where a sample chooses it. Writes docs/benchmarks/DATE-layers-LEVEL.md or
FILE.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import pathlib
import re
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "Support"))
import harness
import numpy as np
import onnx
import onnxruntime
import qcc
from onnx import helper, numpy_helper

LEAST = 0.02  # seconds of a sample


@dataclasses.dataclass(frozen=True)
class Layer:
    """One node: shapes of its inputs and weights, and its attributes."""

    name: str
    op: str
    inputs: list[tuple[int, ...]]
    weights: list[tuple[int, ...]]
    attributes: dict
    products: float = 0  # multiplications, of one image

    def save(self, path: pathlib.Path) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        names = [f"x{i}" for i in range(len(self.inputs))]
        weights = [rng.standard_normal(s, np.float32) / np.float32(np.sqrt(np.prod(s[1:]))) for s in self.weights]
        node = helper.make_node(self.op, [*names, *(f"w{i}" for i in range(len(weights)))], ["y"], self.op, **self.attributes)
        values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in zip(names, self.inputs, strict=True)]
        graph = helper.make_graph([node], "layer", values, [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
                                  [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)])  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return {n: rng.standard_normal(s, np.float32) for n, s in zip(names, self.inputs, strict=True)}


def transposed(inputs: int, outputs: int, size: int, kernel: int, stride: int, spatial: int = 2, **more) -> Layer:
    pad = (kernel - stride) // 2
    extra = kernel - stride - 2 * pad
    attributes = {"strides": [stride] * spatial, "pads": [pad] * spatial + [pad + extra] * spatial} | more
    groups = more.get("group", 1)
    form = f"k{kernel} s{stride}" + (f", {groups} groups" if groups > 1 else "")
    return Layer(f"transposed, {inputs} to {outputs}, {form}, {'x'.join([str(size)] * spatial)}", "ConvTranspose",
                 [(1, inputs) + (size,) * spatial], [(inputs, outputs // groups) + (kernel,) * spatial], attributes)  # fmt: skip


def deep(inputs: int, outputs: int, depth: int, size: int, kernel: int, stride: int = 1) -> Layer:
    attributes = {"strides": [stride] * 3, "pads": [kernel // 2] * 6}
    return Layer(f"over depth, {inputs} to {outputs}, k{kernel} s{stride}, {depth}x{size}x{size}", "Conv",
                 [(1, inputs, depth, size, size)], [(outputs, inputs, kernel, kernel, kernel)], attributes)  # fmt: skip


def depthwise(channels: int, size: int, kernel: int, stride: int = 1) -> Layer:
    attributes = {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": channels}
    return Layer(f"depthwise, {channels}, k{kernel} s{stride}, {size}x{size}", "Conv", [(1, channels, size, size)],
                 [(channels, 1, kernel, kernel)], attributes)  # fmt: skip


def conv(inputs: int, outputs: int, size: int, kernel: int, stride: int = 1, groups: int = 1) -> Layer:
    attributes = {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups}
    form = f"k{kernel} s{stride}" + (f", {groups} groups" if groups > 1 else "")
    return Layer(f"convolution, {inputs} to {outputs}, {form}, {size}x{size}", "Conv", [(1, inputs, size, size)],
                 [(outputs, inputs // groups, kernel, kernel)], attributes)  # fmt: skip


def dilated(inputs: int, outputs: int, size: int, dilation: int) -> Layer:
    attributes = {"dilations": [dilation] * 2, "pads": [dilation] * 4}
    return Layer(f"dilated, {inputs} to {outputs}, k3 d{dilation}, {size}x{size}", "Conv", [(1, inputs, size, size)],
                 [(outputs, inputs, 3, 3)], attributes)  # fmt: skip


def attention(queries: int, keys: int, causal: int) -> Layer:
    shapes = [(1, 12, n, 64) for n in (queries, keys, keys)]
    return Layer(f"attention, 12 heads, {queries} of {keys}{', a triangle' if causal else ''}", "Attention", shapes, [],
                 {"is_causal": causal})  # fmt: skip


def pool(kind: str, channels: int, size: int, kernel: int, stride: int = 1) -> Layer:
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [(kernel - 1) // 2] * 4}
    return Layer(f"{kind} pool, {channels}, k{kernel} s{stride}, {size}x{size}", {"max": "MaxPool", "average": "AveragePool"}[kind],
                 [(1, channels, size, size)], [], attributes)  # fmt: skip


def pixels(images: int, inputs: int, outputs: int) -> Layer:
    return Layer(f"single pixels, {images} of {inputs} to {outputs}", "Conv", [(images, inputs, 1, 1)], [(outputs, inputs, 1, 1)], {})


def rows(count: int, inputs: int, outputs: int) -> Layer:
    return Layer(f"product, {count} of {inputs} to {outputs}", "Gemm", [(count, inputs)], [(outputs, inputs)], {"transB": 1})


LAYERS = [
    transposed(64, 32, 32, 2, 2), transposed(64, 32, 32, 4, 2), transposed(64, 32, 32, 3, 2), transposed(16, 3, 64, 4, 2),
    transposed(128, 64, 100, 16, 8, 1), transposed(32, 16, 8, 2, 2, 3), transposed(64, 64, 28, 4, 2, group=2),
    transposed(64, 64, 28, 4, 2, group=64), deep(3, 64, 8, 56, 3), deep(64, 64, 8, 28, 3),
    deep(64, 128, 8, 28, 3, 2), deep(32, 32, 16, 16, 5), depthwise(32, 112, 3), depthwise(96, 56, 3, 2), depthwise(240, 14, 5),
    depthwise(672, 7, 5), depthwise(1152, 4, 5), depthwise(96, 56, 7), depthwise(144, 56, 5, 2), depthwise(16, 450, 3), depthwise(8, 1000, 3, 2),
    dilated(960, 256, 20, 12), dilated(960, 256, 20, 24), dilated(512, 256, 28, 12), dilated(256, 256, 33, 6),
    dilated(256, 256, 65, 24), attention(128, 128, 0), attention(512, 512, 0),
    attention(512, 512, 1), attention(197, 197, 0), attention(1, 1024, 0), attention(1, 128, 0),
    pool("max", 64, 112, 3, 2), pool("max", 64, 128, 2, 2), pool("max", 512, 14, 3), pool("max", 480, 14, 3, 2),
    pool("max", 256, 13, 13), pool("average", 256, 28, 3), pool("average", 512, 14, 2, 2),
    conv(3, 64, 224, 7, 2), conv(3, 32, 224, 3, 2), conv(3, 16, 224, 3, 2), conv(16, 24, 112, 3), conv(24, 48, 112, 3, 2), conv(24, 24, 56, 3),
    conv(64, 64, 56, 3), conv(128, 128, 28, 3), conv(16, 3, 128, 3), conv(64, 64, 56, 3, 1, 8), conv(104, 104, 28, 3, 1, 13),
    conv(256, 256, 14, 3, 1, 32),
    pixels(1, 960, 1280), pixels(1, 480, 120), pixels(8, 240, 60), rows(1, 1280, 1000), rows(1, 4096, 4096), rows(2, 768, 768), rows(3, 768, 768),
]  # fmt: skip


def load_peer(path: pathlib.Path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(None, arrays)[0]


def load_ours(path: pathlib.Path, precision: str, calib: pathlib.Path | None):
    given = {"precision": precision, "calib": calib, "min_cos": 0} if calib else {"precision": precision}
    model = qcc.load(qcc.compile(path, path.with_suffix(f".{precision}.qcc"), **given), threads=1)
    return lambda arrays: model(arrays)["y"]


def compare(sides: list, arrays: dict, pairs: int) -> list[list[float]]:
    """Times of each side, in turns."""
    repeats = []
    for run in sides:
        run(arrays)
        start = time.perf_counter()
        run(arrays)
        repeats.append(max(1, round(LEAST / (time.perf_counter() - start))))
    times: list[list[float]] = [[] for _ in sides]
    for pair in range(pairs):
        order = list(range(len(sides)))
        for side in order if pair % 2 else reversed(order):
            start = time.perf_counter()
            for _ in range(repeats[side]):
                sides[side](arrays)
            times[side].append((time.perf_counter() - start) / repeats[side])
    return times


def describe(times: list[float], peer: list[float]) -> str:
    low, middle, high = statistics.quantiles([p / t for p, t in zip(peer, times, strict=True)], n=4)
    return f"{1e6 * statistics.median(times):,.0f} | {middle:.2f} ({low:.2f} to {high:.2f})"


def measure(layer: Layer, folder: pathlib.Path, pairs: int) -> str:
    path = folder / "m.onnx"
    arrays = layer.save(path)
    np.savez(folder / "c.npz", **arrays)
    peer = load_peer(path)
    want = peer(arrays)
    sides, notes = [peer], []
    for precision, calib in (("f32", None), ("int8", folder / "c.npz")):
        run = load_ours(path, precision, calib)
        got = run(arrays)
        error = float(np.square(got - want).mean() / np.square(want).mean())
        if error > (1e-10 if precision == "f32" else 1e-2):
            sys.exit(f"{layer.name}: expected {precision} to be like ONNX Runtime, but its relative squared error is {error:.2g}")
        notes.append(f"{error:.1g}")
        sides.append(run)
    times = compare(sides, arrays, pairs)
    ours = " | ".join(describe(t, times[0]) for t in times[1:])
    return f"| {layer.name} | {1e6 * statistics.median(times[0]):,.0f} | {ours} | {notes[1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="single layers against ONNX Runtime")
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--only", default="", help="layers whose name matches")
    parser.add_argument("--no-page", action="store_true", help="only print")
    parser.add_argument("--page", type=pathlib.Path, help="the page to write")
    options = parser.parse_args()
    command = f"./dev bench layers --pairs={options.pairs}" + (f" --only='{options.only}'" if options.only else "")
    lines = [
        "# Single layers against ONNX Runtime", "",
        f"`{command}` on {harness.cpu_name()}, commit {harness.commit()}, {datetime.date.today()}, one thread, ONNX Runtime "
        f"{onnxruntime.__version__} in f32. Times in us are medians, ratios are ONNX Runtime's time over ours in pairs of runs in "
        "turns, their median and quartiles. int8 as a sample chooses it: what would not be faster stays f32. The error is that of "
        "int8, squared, relative.", "",
        "| layer | ONNX Runtime | f32 | ratio | int8 | ratio | error |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    print("\n".join(lines[-2:]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for layer in LAYERS:
            if re.search(options.only, layer.name):
                lines.append(measure(layer, pathlib.Path(folder), options.pairs))
                print(lines[-1], flush=True)
    if not options.no_page:
        harness.write_page("layers", lines, options.page)


if __name__ == "__main__":
    main()
