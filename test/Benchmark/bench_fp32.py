#!/usr/bin/env python3
# Speed in fp32 against ONNX Runtime on one thread, on graphs of BERT-base's and ResNet50's shapes.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_fp32.py [--pairs=N] [--target=T] [--only=NAME]

Both run in this process, in interleaved pairs; writes docs/benchmarks/DATE-fp32-LEVEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / part) for part in ("Support", "EndToEnd")] + [str(ROOT / "examples" / "demo")]
import cases
import harness
import numpy as np
import onnxruntime
import qcc
import timing

GRAPHS = {
    "BERT-base-shaped, 128 tokens": ("bert", lambda: cases.token_inputs(1, False)),
    "ResNet50-shaped, 224x224": ("resnet50", lambda: {"image": cases.data.images(1, 3, 224, 224, low=-2, high=2)}),
}


def session(model: pathlib.Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread, with all its optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def row(title: str, kind: str, feed: cases.Inputs, options: argparse.Namespace) -> str:
    """A line of the table for one graph at batch 1."""
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as folder:
        path, artifact = pathlib.Path(folder) / "model.onnx", pathlib.Path(folder) / "artifact"
        cases.make_graphs.make(kind, path, batch=1)
        memory, compiled = harness.run_measured(harness.QCC, path, "-o", artifact, "-q", "--no-cache", f"--target={options.target}")
        ours, peer = qcc.load(artifact, threads=1), session(path)
        names = [output.name for output in peer.get_outputs()]
        got, want = ours(feed), dict(zip(names, peer.run(names, feed)))
        error = max(float(np.abs(got[n] - want[n]).max() / np.abs(want[n]).max()) for n in names)
        speed = timing.interleave(lambda: ours(feed), lambda: peer.run(names, feed), options.pairs)
    size = f"{compiled:.0f} s, {memory:.0f} MB"
    return (
        f"| {title} | {speed.ours * 1e3:.1f} ms | {speed.other * 1e3:.1f} ms | {speed.ratio:.2f}x "
        f"({speed.low:.2f} to {speed.high:.2f}) | {error:.1e} | {size} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="fp32 speed against ONNX Runtime on one thread")
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--target", default="native")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    lines = [
        f"# fp32 against ONNX Runtime, {day}",
        "",
        f"`./dev bench fp32` at commit {harness.commit()}, `--target={options.target}`, on {harness.cpu_name()}, one thread; ONNX Runtime "
        f"{onnxruntime.__version__}.",
        f"Medians of {options.pairs} interleaved pairs in one process; speed is ONNX Runtime's time over ours, with its quartiles.",
        "Compile time (without kernels of earlier compiles) and the peak of anonymous memory are of the whole tree of processes.",
        "",
        "| graph | qcc | ONNX Runtime | speed | error | compiled in |",
        "|---|---|---|---|---|---|",
    ]
    for title, (kind, feed) in GRAPHS.items():
        if options.only in kind:
            lines.append(row(title, kind, feed(), options))
            print(lines[-1], flush=True)
    harness.write_page("fp32", lines)


if __name__ == "__main__":
    main()
