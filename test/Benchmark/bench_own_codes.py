#!/usr/bin/env python3
# Speed of a decoder in MatMulNBits against ONNX Runtime on the same model.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_own_codes.py [--pairs=N] [--before=QCC]

One thread. The decoder lm-s with its products in MatMulNBits of 4 bits, run on one token and on a prompt, at the precisions
that keep the codes; ONNX Runtime at accuracy levels 0 (f32) and 4 (int8). `--before` is another compiler, whose artifact at
f32 takes turns with the others. Writes docs/benchmarks/DATE-own-codes-LEVEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
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
import nbits
import numpy as np
import onnxruntime
import qcc

SOURCE = harness.MODELS / "llm" / "lm-s" / "decoder.onnx"
ROWS, LEVELS = 24, (0, 4)
Run = Callable[[np.ndarray], np.ndarray]


def load_peer(path: pathlib.Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda tokens: session.run(None, {"input_ids": tokens})[0]


def load(compiler: pathlib.Path, path: pathlib.Path, artifact: pathlib.Path, precision: str) -> tuple[Run, int]:
    """What runs an artifact, and the bytes of its weights."""
    harness.run(compiler, path, "-o", artifact, "-q", f"--precision={precision}", timeout=600)
    model = qcc.load(artifact, threads=1)
    size = json.loads((artifact / "report.json").read_text())["summary"]["weight_bytes"]
    return (lambda tokens: next(iter(model({"input_ids": tokens}).values()))), size


def perplexity(run: Run, tokens: np.ndarray) -> float:
    total = 0.0
    for row in tokens:
        logits = run(row[None])[0, :-1].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        total += (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(row) - 1), row[1:]]).mean()
    return float(np.exp(total / len(tokens)))


def milliseconds(runs: list[Run], tokens: np.ndarray, pairs: int) -> list[float]:
    """Medians of the process's time of a run, in turns."""
    samples: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run(tokens)
    for _ in range(pairs):
        for run, taken in zip(runs, samples):
            start = time.process_time()
            run(tokens)
            taken.append((time.process_time() - start) * 1e3)
    return [statistics.median(taken) for taken in samples]


def measure(folder: pathlib.Path, before: pathlib.Path | None, pairs: int) -> list[str]:
    tokens = np.load(SOURCE.parent / "eval_tokens.npz")["input_ids"][:ROWS].astype(np.int64)
    lines = []
    for block, symmetric in ((32, False), (128, True)):
        paths = [folder / f"{block}-{level}.onnx" for level in LEVELS]
        for path, level in zip(paths, LEVELS):
            nbits.convert(SOURCE, path, block, symmetric, level)
        runs = {f"ONNX Runtime, level {level}": (load_peer(path), path.stat().st_size) for path, level in zip(paths, LEVELS)}
        if before:
            runs["`f32` before"] = load(before, paths[0], folder / f"{block}-before", "f32")
        for precision in ("f32", "w4a8"):
            runs[f"`{precision}`"] = load(harness.QCC, paths[0], folder / f"{block}-{precision}", precision)
        functions = [run for run, _ in runs.values()]
        one, prompt = (milliseconds(functions, tokens[:1, :length], pairs) for length in (1, 256))
        kind = f"{'' if symmetric else 'a'}symmetric, blocks of {block}"
        for (name, (run, size)), token_ms, prompt_ms in zip(runs.items(), one, prompt):
            lines.append(
                f"| {kind} | {name} | {size / 1e6:.1f} | {perplexity(run, tokens):.3f} | {token_ms:.2f} | {prompt_ms:.1f} | "
                f"{one[1] / token_ms:.2f}x | {prompt[1] / prompt_ms:.2f}x |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="a decoder in MatMulNBits")
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--before", type=pathlib.Path, help="another compiler")
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    head = [
        f"# A decoder in MatMulNBits, {day}",
        "",
        f"`./dev bench own_codes --pairs={options.pairs}{' --before=QCC' if options.before else ''}` at commit {harness.commit()} on {harness.cpu_name()}, load "
        f"{os.getloadavg()[0]:.1f} at the start, ONNX Runtime",
        f"{onnxruntime.__version__}, one thread, medians of {options.pairs} samples in turns (time of the process). The decoder lm-s, products rounded to nearest in 4 bits;",
        f"perplexity over {ROWS} rows of 256 tokens; size: weights of the artifact, the peer's model file. Speed is against ONNX Runtime at level 4, which rounds activations to int8.",
        "",
        "| weights | run by | MB | perplexity | one token, ms | 256 tokens, ms | speed, one | speed, 256 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as name:
        lines = measure(pathlib.Path(name), options.before, options.pairs)
    harness.write_page("own-codes", head + lines)


if __name__ == "__main__":
    main()
