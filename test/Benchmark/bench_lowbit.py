#!/usr/bin/env python3
# Speed of products with weights of few bits against f32, and what the formats cost a language model.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_lowbit.py [--pairs=N] [--size=K] [--layers=L] [--only=speed|accuracy] [--precisions=A,B,...]

Speed: a chain of L products of K x K, distinct weights, each format in turns with f32 in one process, one thread.
Accuracy: perplexity of models/llm/lm-s below $QCC_TEST_DATA, every format by round-to-nearest, as its reference.json
says: the first 24 rows of eval_tokens.npz, positions 1 to 255 of each; embeddings and the tied output head stay f32.
Writes docs/benchmarks/DATE-low-bit-LEVEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "Support"))
import harness
import numpy as np
import onnx
import qcc
from onnx import helper, numpy_helper

SPEED = ["int8", "w4a8", "w8a16", "fp8", "w6a16", "w4a16", "w4a16:g32", "w4a16:sym", "nf4", "w3a16", "w2a16", "bf16"]
ACCURACY = [
    "int8", "w4a8", "w8a16", "fp8", "fp8-e5m2", "w6a16", "w4a16", "w4a16:channel", "w4a16:channel:clip", "w4a16:sym",
    "w4a16:sym-mid", "w4a16:sym-narrow", "w4a16:g32", "nf4", "w3a16", "w3a16:channel", "w3a16:channel:clip", "w3a16:g64",
    "w2a16", "w2a16:g32", "w2a16:g32:clip",
]  # fmt: skip
# The grids of reference.json that a format is.
SAME_GRID = {"w4a16:channel": "w4_channel", "w3a16:channel": "w3_channel", "w3a16:g64": "w3_g64", "w2a16:g32": "w2_g32"}
HEAD = "/m/MatMul$"


def make_chain(path: pathlib.Path, size: int, layers: int) -> None:
    """A model of `layers` products, with the rows of x as a symbol."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array((rng.standard_normal((size, size)) / math.sqrt(size)).astype(np.float32), f"w{i}")
        for i in range(layers)
    ]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"m{i}") for i in range(layers)]
    values = [helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, ["rows", size]) for i in (0, layers)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def build(model: pathlib.Path, folder: pathlib.Path, precision: str, *flags: str) -> tuple[qcc.Model, int]:
    """The model compiled to a precision, and the bytes of its folder."""
    artifact = folder / precision.replace(":", "-")
    harness.run(harness.QCC, model, "-o", artifact, "-q", f"--precision={precision}", *flags)
    return qcc.load(artifact, threads=1), sum(f.stat().st_size for f in artifact.iterdir())


def interleave(ours: Callable[[], object], other: Callable[[], object], pairs: int) -> tuple[float, float, list[float]]:
    """Medians of the processor's seconds of both, and the quartiles of their ratio: time on a shared machine counts only
    where it was ours."""

    def sample(function: Callable[[], object], repeats: int) -> float:
        start = time.process_time()
        for _ in range(repeats):
            function()
        return (time.process_time() - start) / repeats

    repeats = [max(1, int(0.02 / max(sample(function, 2), 1e-6))) for function in (ours, other)]
    samples = []
    for i in range(pairs):
        late = sample(other, repeats[1]) if i % 2 else None
        mine = sample(ours, repeats[0])
        samples.append((mine, sample(other, repeats[1]) if late is None else late))
    mine, theirs = (statistics.median(column) for column in zip(*samples))
    return mine, theirs, statistics.quantiles([b / a for a, b in samples], n=4)


def measure_speed(options: argparse.Namespace) -> list[str]:
    lines = [
        f"Chain of {options.layers} products {options.size} x {options.size}, {options.size**2 * options.layers * 4 / 1e6:.0f} MB in f32, one thread. Speed is the time of f32 over ours, the median of",
        f"{options.pairs} interleaved pairs (processor time), with quartiles; `GB/s` counts what the format stores. Error is the largest difference to the f32",
        "result, relative to its largest element.",
        "",
        "| format | rows | ms | f32 ms | speed | GB/s | error |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as name:
        folder = pathlib.Path(name)
        make_chain(folder / "chain.onnx", options.size, options.layers)
        plain, _ = build(folder / "chain.onnx", folder, "f32")
        for precision in options.precisions or SPEED:
            ours, size = build(folder / "chain.onnx", folder, precision)
            for rows in (1, 128):
                feed = {"x0": np.random.default_rng(1).standard_normal((rows, options.size)).astype(np.float32)}
                got, want = (next(iter(model(feed).values())) for model in (ours, plain))
                error = np.abs(got - want).max() / np.abs(want).max()
                mine, theirs, (low, ratio, high) = interleave(lambda: ours(feed), lambda: plain(feed), options.pairs)
                lines.append(
                    f"| {precision} | {rows} | {mine * 1e3:.2f} | {theirs * 1e3:.2f} | {ratio:.2f}x ({low:.2f} to {high:.2f}) | "
                    f"{size / mine / 1e9:.1f} | {error:.1e} |"
                )
                print(lines[-1], flush=True)
    return lines


def perplexity(model: qcc.Model, tokens: np.ndarray) -> float:
    total = 0.0
    for row in tokens:
        logits = np.asarray(model({"input_ids": row[None]})["logits"], np.float64)[0, :-1]
        logits -= logits.max(axis=1, keepdims=True)
        total += (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(row) - 1), row[1:]]).sum()
    return math.exp(total / (tokens.size - len(tokens)))


def measure_accuracy(options: argparse.Namespace) -> list[str]:
    home = pathlib.Path(os.environ.get("QCC_TEST_DATA", ROOT.parent / "shared")) / "models" / "llm" / "lm-s"
    reference = json.loads((home / "reference.json").read_text(encoding="utf-8"))
    tokens = np.load(home / "eval_tokens.npz")["input_ids"][:24]
    lines = [
        "`lm-s`, 5.2 M parameters, by round-to-nearest; reference: the perplexity in `reference.json` on the same grid. The artifact's",
        "size holds embeddings and output head in f32 and the library.",
        "",
        "| format | perplexity | over f32 | reference | MB |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as name:
        base = reference["float_perplexity"]
        for precision in ["f32", *(options.precisions or ACCURACY)]:
            model, size = build(home / "decoder.onnx", pathlib.Path(name), precision, f"--keep={HEAD}")
            found = perplexity(model, tokens)
            known = base if precision == "f32" else reference["cases"].get(SAME_GRID.get(precision), {}).get("rtn")
            base = found if precision == "f32" else base
            beside = f"{known:.4f}" if known else ""
            lines.append(f"| {precision} | {found:.4f} | {found / base - 1:+.2%} | {beside} | {size / 1e6:.1f} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="formats of few bits")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--only", choices=["speed", "accuracy"])
    parser.add_argument("--precisions", type=lambda text: text.split(","))
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    lines = [
        f"# Weights of few bits, {day}",
        "",
        f"`./dev bench lowbit` at commit {harness.commit()} on {harness.cpu_name()}.",
        "",
    ]
    if options.only != "accuracy":
        lines += ["## Speed", "", *measure_speed(options), ""]
    if options.only != "speed":
        lines += ["## Accuracy", "", *measure_accuracy(options), ""]
    harness.write_page("low-bit", lines)


if __name__ == "__main__":
    main()
