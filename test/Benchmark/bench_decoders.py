#!/usr/bin/env python3
# Speed of decoders in the form of ONNX Runtime's model builder, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_decoders.py [--pairs=N] [--layers=N] [--hidden=N] [--no-page]

A decoder of random weights with MatMulNBits of 4 bits and GroupQueryAttention, one thread: prompts, and one token behind
some, with caches that are passed on and with caches that stay in the context. Both compute in int8 (accuracy_level 4, w4a8).
Writes docs/benchmarks/DATE-decoders-LEVEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "Support"), str(ROOT / "test" / "Python")]
import harness
import numpy as np
import onnxruntime
import qcc
from decoders import Decoder

BUFFER = 2048


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(sides: list, pairs: int) -> str:
    """Milliseconds of each side, and the first one's over the others'."""
    for run in sides:
        run()
    rows = []
    for i in range(pairs):
        order = range(len(sides)) if i % 2 else reversed(range(len(sides)))
        taken = {at: seconds(sides[at]) for at in order}
        rows.append([taken[at] for at in range(len(sides))])
    cells = [f"{1e3 * statistics.median(row[0] for row in rows):.2f}"]
    for side in range(1, len(sides)):
        low, middle, high = statistics.quantiles([row[0] / row[side] for row in rows], n=4)
        cells.append(f"{1e3 * statistics.median(row[side] for row in rows):.2f} | {middle:.2f} ({low:.2f} to {high:.2f})")
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description="decoders against ONNX Runtime")
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--no-page", action="store_true", help="only print")
    options = parser.parse_args()
    hidden = options.hidden
    decoder = Decoder(options.layers, hidden, hidden // 64, max(hidden // 256, 1), hidden * 11 // 4, 8192)
    flags = " ".join(f"--{name}={getattr(options, name)}" for name in ("pairs", "layers", "hidden"))
    lines = [
        "# Decoders in the form of ONNX Runtime's model builder", "",
        f"`./dev bench decoders {flags}` on {harness.cpu_name()}, commit {harness.commit()}, {datetime.date.today()}, one thread, ONNX "
        f"Runtime {onnxruntime.__version__}. {options.layers} blocks, {hidden} wide, {decoder.heads} heads of 64 with {decoder.groups} for keys, "
        f"{decoder.inner} inside, {decoder.vocabulary} tokens; 4 bits in blocks of {decoder.block}, activations of int8 on both sides. Times in ms "
        "are medians, ratios ONNX Runtime's time over ours in runs in turns, median and quartiles. Grown: caches are inputs and outputs, as "
        f"for ONNX Runtime. Kept: they are states of {BUFFER} rows.", "",
        "| tokens | behind | ONNX Runtime | grown | ratio | kept | ratio |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    print("\n".join(lines[-2:]), flush=True)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = decoder.save(pathlib.Path(folder) / "m.onnx")
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, session_options)
        grown = qcc.load(qcc.compile(path, path.with_suffix(".a"), precision="w4a8"), threads=1)
        states = {name: name.replace("past_key_values", "present") for name in decoder.caches()}
        dims = {"batch_size": 1, "past_sequence_length": BUFFER}
        kept = qcc.compile(path, path.with_suffix(".b"), precision="w4a8", dim=dims, state=states, drop_output="^present")
        context = qcc.load(kept, threads=1).context()
        for count, behind in ((1, 0), (1, 128), (1, 1024), (128, 0), (512, 0)):
            past = {n: rng.standard_normal((1, decoder.groups, behind, decoder.width)).astype(np.float32) for n in states}
            feeds = decoder.feeds(rng.integers(0, decoder.vocabulary, (1, count)), past)
            own = {name: feeds[name] for name in ("input_ids", "attention_mask")}
            row = compare([lambda: session.run(None, feeds), lambda: grown(feeds), lambda: context.run(own)],
                          options.pairs if count == 1 else max(options.pairs // 4, 3))  # fmt: skip
            lines.append(f"| {count} | {behind} | {row} |")
            print(lines[-1], flush=True)
    if not options.no_page:
        harness.write_page("decoders", lines)


if __name__ == "__main__":
    main()
