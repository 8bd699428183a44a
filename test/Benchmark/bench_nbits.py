#!/usr/bin/env python3
# Speed of products with weights of few bits against ONNX Runtime's MatMulNBits.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_nbits.py [--pairs=N] [--sizes=2048,4096] [--groups=32,128] [--rows=1,128,512] [--formats=w4a8,...]

One thread, K = N. Both sides have the same codes and scales: weights lie on the grid to begin with, so what differs from
the product in f64 is what the arithmetic adds. One row goes through chains of products with 600 MB of weights in turn,
and the bandwidth of plain reads is measured between the samples. The peer runs at the accuracy_level that is fastest
for the case. Writes docs/benchmarks/DATE-nbits-LEVEL.md.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import datetime
import math
import os
import pathlib
import shutil
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
import onnxruntime
import qcc
from onnx import helper, numpy_helper

ROTATED = 600e6  # bytes of weights that one row goes through
READER = r"""
#include <immintrin.h>
#include <stddef.h>
/* Adds up n bytes (a multiple of 1024) in four streams. */
long long readAll(const char *p, size_t n) {
  size_t part = n / 4;
  __m256i s[8];
  for (int i = 0; i < 8; ++i) s[i] = _mm256_setzero_si256();
  for (size_t at = 0; at < part; at += 64)
    for (int i = 0; i < 4; ++i) {
      const __m256i *q = (const __m256i *)(p + i * part + at);
      s[2 * i] = _mm256_add_epi64(s[2 * i], _mm256_loadu_si256(q));
      s[2 * i + 1] = _mm256_add_epi64(s[2 * i + 1], _mm256_loadu_si256(q + 1));
    }
  for (int i = 1; i < 8; ++i) s[0] = _mm256_add_epi64(s[0], s[i]);
  return _mm256_extract_epi64(s[0], 0);
}
"""


@dataclasses.dataclass(frozen=True)
class Format:
    """A precision and the bits of the peer's weights; 0: a product in f32."""

    key: str
    bits: int
    integer: bool
    own: bool = False  # the weights of the peer's model, in the codes that it has

    def precision(self, group: int) -> str:
        if self.own:
            return self.key.removeprefix("own-")
        return self.key if not self.bits else f"{self.key}:g{group}" + ("" if self.integer else ":sym")

    def weight_bytes(self, size: int, group: int) -> float:
        """Of a matrix as qcc stores it: a scale per group and column, a half or what the model has."""
        return size * size * ((self.bits or 32) / 8 + ((4 if self.own else 2) / group if self.bits else 0))

    def name(self, group: int) -> str:
        return f"`{self.precision(group)}` of its model, groups of {group}" if self.own else self.precision(group)


FORMATS = [Format("w4a8", 4, True), Format("w4a16", 4, False), Format("w8a16", 8, False), Format("f32", 0, False),
           Format("own-f32", 4, False, own=True), Format("own-w4a8", 4, True, own=True)]  # fmt: skip


class Weights:
    """Random codes [K, N] and halves as scales [K / group, N]. In each group and column one code is the lowest, so that
    the scale is found again from the weights."""

    def __init__(self, size: int, bits: int, group: int, seed: int):
        rng = np.random.default_rng(seed)
        self.bits, self.group = bits, group
        if not bits:
            self.values = (rng.standard_normal((size, size)) / math.sqrt(size)).astype(np.float32)
            return
        half = 1 << (bits - 1)
        groups = size // group
        codes = rng.integers(0, 2 * half, (groups, group, size), dtype=np.uint8)
        np.put_along_axis(codes, rng.integers(0, group, (groups, 1, size)), 0, axis=1)
        spread = 1.7 / (half * math.sqrt(size))
        self.scales = (rng.uniform(0.8, 1.2, (groups, size)) * spread).astype(np.float16).astype(np.float32)
        self.codes = codes.reshape(size, size)
        centered = codes.astype(np.float32) - half
        self.values = (centered * self.scales[:, None, :]).reshape(size, size)

    def packed(self) -> np.ndarray:
        """B of MatMulNBits: [N, groups, bytes of a group], the lower code first."""
        size = self.codes.shape[0]
        columns = self.codes.T.reshape(size, size // self.group, self.group)
        return np.ascontiguousarray(columns[..., ::2] | columns[..., 1::2] << 4 if self.bits == 4 else columns)


def save(path: pathlib.Path, nodes: list, weights: list, size: int) -> pathlib.Path:
    count = len(nodes)
    values = [helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, ["rows", size]) for i in (0, count)]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def make_chain(path: pathlib.Path, chain: list[Weights]) -> pathlib.Path:
    """Products in f32."""
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"m{i}") for i in range(len(chain))]
    tensors = [numpy_helper.from_array(w.values, f"w{i}") for i, w in enumerate(chain)]
    return save(path, nodes, tensors, chain[0].values.shape[0])


def make_peer(path: pathlib.Path, chain: list[Weights], level: int) -> pathlib.Path:
    """MatMulNBits at an accuracy level."""
    size, nodes, tensors = chain[0].values.shape[0], [], []
    for i, w in enumerate(chain):
        nodes.append(
            helper.make_node("MatMulNBits", [f"x{i}", f"b{i}", f"s{i}"], [f"x{i + 1}"], name=f"m{i}", domain="com.microsoft",
                             K=size, N=size, bits=w.bits, block_size=w.group, accuracy_level=level)
        )  # fmt: skip
        tensors += [
            numpy_helper.from_array(w.packed(), f"b{i}"),
            numpy_helper.from_array(np.ascontiguousarray(w.scales.T), f"s{i}"),
        ]
    return save(path, nodes, tensors, size)


def load_peer(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x0": x})[0]


def load_ours(artifact: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    model = qcc.load(artifact, threads=1)
    return lambda x: next(iter(model({"x0": x}).values()))


def build(model: pathlib.Path, artifact: pathlib.Path, precision: str) -> pathlib.Path:
    harness.run(harness.QCC, model, "-o", artifact, "-q", f"--precision={precision}", timeout=1800)
    return artifact


def seconds(function: Callable[[], object]) -> float:
    """Of this process: the machine may be shared, what other processes take does not count."""
    start = time.process_time()
    function()
    return time.process_time() - start


def repeats(function: Callable[[], object]) -> int:
    """How many calls make a sample: the time of a process with several threads was seen to jump by 4 ms, which must not matter."""
    start = time.perf_counter()
    function()
    return max(1, math.ceil(0.1 / (time.perf_counter() - start)))


def interleave(functions: list[Callable[[], object]], pairs: int) -> list[list[float]]:
    """Samples of each in turns, the order reversed every other time."""
    for function in functions:
        function()
    rows = []
    for i in range(pairs):
        order = range(len(functions))
        taken = {at: seconds(functions[at]) for at in (reversed(order) if i % 2 else order)}
        rows.append([taken[at] for at in order])
    return [list(column) for column in zip(*rows)]


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f}x ({low:.2f} to {high:.2f})"


def error(got: np.ndarray, exact: np.ndarray) -> float:
    """Root of the mean squared difference over that of the values."""
    return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))


def make_input(rows: int, size: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, size)).astype(np.float32)


@dataclasses.dataclass
class Chain:
    """Products one after the other: our artifact, the peer's models by level, and the first weight."""

    ours: pathlib.Path
    models: dict[int, pathlib.Path]
    first: np.ndarray

    def errors(self, x: np.ndarray, ours: Callable, peer: Callable) -> tuple[float, float]:
        """Of a single product, ours and the peer's, against f64."""
        exact = x.astype(np.float64) @ self.first.astype(np.float64)
        return error(ours(x), exact), error(peer(x), exact)


class Bench:
    def __init__(self, options: argparse.Namespace, folder: pathlib.Path):
        self.options, self.folder, self.lines = options, folder, []
        library = folder / "reader.so"
        source = folder / "reader.c"
        source.write_text(READER, encoding="utf-8")
        harness.run(os.environ.get("CC", "cc"), "-O3", "-mavx2", "-shared", "-fPIC", source, "-o", library)
        self.reader = ctypes.CDLL(str(library)).readAll
        self.reader.argtypes, self.reader.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_longlong
        self.memory = np.ones(int(ROTATED) // 1024 * 1024, np.uint8)

    def read(self) -> None:
        self.reader(self.memory.ctypes.data, self.memory.nbytes)

    def emit(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def prepare(self, form: Format, size: int, group: int, layers: int) -> "Chain":
        """Our artifact of some products one after the other, and the peer's models by level."""
        weights = [Weights(size, form.bits, group, seed) for seed in range(layers)]
        place = self.folder / f"chain{layers}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        model = make_chain(place / "model.onnx", weights)
        models = {0: model}
        if form.bits:
            models = {level: make_peer(place / f"level{level}.onnx", weights, level) for level in (0, 4)}
        build(models[0] if form.own else model, place / "ours", form.precision(group))
        return Chain(place / "ours", models, weights[0].values)

    def choose_level(self, chain: Chain, x: np.ndarray) -> int:
        """The level that takes the least time."""
        if len(chain.models) == 1:
            return 0
        times = {}
        for level, path in chain.models.items():
            run = load_peer(path)
            run(x)
            count = repeats(lambda: run(x))
            times[level] = min(seconds(lambda: [run(x) for _ in range(count)]) / count for _ in range(3))
        return min(times, key=times.get)

    def one_row(self, form: Format, size: int, group: int, single: Chain) -> None:
        stored = form.weight_bytes(size, group)
        # Long enough that a call from Python, some 10 us on either side, counts for little.
        layers = max(2, min(16, round(75e6 / stored)))
        chain = self.prepare(form, size, group, layers)
        x = make_input(1, size)
        level = self.choose_level(single, x)
        copies = math.ceil(ROTATED / (stored * layers))
        ours, peers = [], []
        for i in range(copies):
            shutil.copytree(chain.ours, self.folder / f"copy{i}")
            ours.append(load_ours(self.folder / f"copy{i}"))
            peers.append(load_peer(chain.models[level]))
        mine, theirs, reads = interleave(
            [lambda: [run(x) for run in ours], lambda: [run(x) for run in peers], self.read], self.options.pairs
        )
        moved = stored * layers * copies
        shares = [(moved / a) / (self.memory.nbytes / r) for a, r in zip(mine, reads)]
        best = self.memory.nbytes / statistics.median(reads) / 1e9
        rate = f"{moved / statistics.median(mine) / 1e9:.1f} of {best:.1f} GB/s, {statistics.median(shares):.0%}"
        del ours, peers
        for i in range(copies):
            shutil.rmtree(self.folder / f"copy{i}")
        errors = single.errors(x, load_ours(single.ours), load_peer(single.models[level]))
        products = layers * copies
        mine, theirs = ([t / products for t in column] for column in (mine, theirs))
        self.report(form, size, group, level, 1, mine, theirs, rate, errors)

    def many_rows(self, form: Format, size: int, group: int, rows: int, single: Chain) -> None:
        x = make_input(rows, size)
        level = self.choose_level(single, x)
        ours, peer = load_ours(single.ours), load_peer(single.models[level])
        counts = [repeats(lambda run=run: run(x)) for run in (ours, peer)]
        columns = interleave(
            [lambda run=run, count=count: [run(x) for _ in range(count)] for run, count in zip((ours, peer), counts)], self.options.pairs
        )  # fmt: skip
        mine, theirs = ([t / count for t in column] for column, count in zip(columns, counts))
        rate = f"{2 * rows * size * size / statistics.median(mine) / 1e9:.0f} GOP/s"
        self.report(form, size, group, level, rows, mine, theirs, rate, single.errors(x, ours, peer))

    def report(self, form, size, group, level, rows, mine, theirs, rate, errors) -> None:
        """A line: `mine` and `theirs` are seconds of a product."""
        peer = f"level {level}" if form.bits else "MatMul"
        mine_ms, theirs_ms = (statistics.median(column) * 1e3 for column in (mine, theirs))
        self.emit(
            f"| {form.name(group)} | {size} | {rows} | {mine_ms:.3f} | {peer} | {theirs_ms:.3f} | "
            f"{quartiles([b / a for a, b in zip(mine, theirs)])} | {rate} | {errors[0]:.1e} | {errors[1]:.1e} |"
        )

    def run(self) -> None:
        for size in self.options.sizes:
            for form in FORMATS:
                if self.options.formats and form.key not in self.options.formats:
                    continue
                for group in self.options.groups if form.bits else [0]:
                    single = self.prepare(form, size, group, 1)
                    for rows in self.options.rows:
                        if rows == 1:
                            self.one_row(form, size, group, single)
                        else:
                            self.many_rows(form, size, group, rows, single)


def main() -> None:
    parser = argparse.ArgumentParser(description="weights of few bits against MatMulNBits")
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--sizes", type=numbers, default=[2048, 4096])
    parser.add_argument("--groups", type=numbers, default=[32, 128])
    parser.add_argument("--rows", type=numbers, default=[1, 128, 512])
    parser.add_argument("--formats", type=lambda text: text.split(","))
    parser.add_argument("--no-page", action="store_true", help="only print")
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    head = [
        f"# Weights of few bits against MatMulNBits, {day}",
        "",
        f"`{' '.join(['./dev bench nbits', *sys.argv[1:]])}` at commit {harness.commit()} on {harness.cpu_name()}, load {os.getloadavg()[0]:.1f} at the start, ONNX Runtime",
        f"{onnxruntime.__version__}, one thread, medians of {options.pairs} samples in turns (time of the process) with quartiles of the ratio. One row: the time",
        f"per product in chains with {ROTATED / 1e6:.0f} MB of weights, what is read of them per second and the share of plain reads in the same run.",
        "Error: of one product against f64 on the same weights, root mean square over that of the result.",
        "",
        "| format | K = N | rows | ms | peer | ms | speed against it | rate | error | peer's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as name:
        bench = Bench(options, pathlib.Path(name))
        bench.run()
    if options.no_page:
        return
    harness.write_page("nbits", head + bench.lines)


if __name__ == "__main__":
    main()
