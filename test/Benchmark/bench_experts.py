#!/usr/bin/env python3
# Speed of mixtures of experts, against ONNX Runtime.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_experts.py [--pairs=N] [--experts=N] [--hidden=N] [--inner=N] [--chosen=N] [--no-page]

One mixture of random weights, one thread, in the form of torch's exporter (a matrix picked for each row) and as the MoE
operator; ours in f32 and with weights in codes. Writes docs/benchmarks/DATE-experts-LEVEL.md.
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
from mixtures import Mixture

PRECISIONS = "f32", "int8", "w4a8", "w4a16"


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(theirs, ours: list, pairs: int) -> str:
    """Milliseconds of theirs; of each of ours with the ratio of theirs to it."""
    sides = [theirs, *ours]
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
        own = 1e3 * statistics.median(row[side] for row in rows)
        cells.append(f"{own:.2f} | {middle:.2f} ({low:.2f} to {high:.2f})")
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description="mixtures of experts against ONNX Runtime")
    parser.add_argument("--pairs", type=int, default=31)
    for name, number in {"experts": 64, "hidden": 1024, "inner": 512, "chosen": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--no-page", action="store_true", help="only print")
    options = parser.parse_args()
    mixture = Mixture(options.experts, options.hidden, options.inner, options.chosen)
    flags = " ".join(f"--{name}={getattr(options, name)}" for name in ("pairs", "experts", "hidden", "inner", "chosen"))
    columns = " | ".join(f"{precision} | ratio" for precision in PRECISIONS)
    lines = [
        "# Mixtures of experts", "",
        f"`./dev bench experts {flags}` on {harness.cpu_name()}, commit {harness.commit()}, {datetime.date.today()}, one thread, ONNX "
        f"Runtime {onnxruntime.__version__} in f32. {options.experts} experts of SwiGLU, {options.chosen} for each token, {options.hidden} wide, "
        f"{options.inner} inside. Times in ms are medians, ratios ONNX Runtime's time over ours in runs in turns, median and quartiles. Picked: "
        "the form of torch's exporter, a matrix picked for each row; operator: ONNX Runtime's MoE. Errors are those of 8 tokens to f64, "
        "the norm of the difference over that of the result.", "",
        f"| form | tokens | ONNX Runtime | {columns} |", "|---" * (3 + 2 * len(PRECISIONS)) + "|",
    ]  # fmt: skip
    print("\n".join(lines[-2:]), flush=True)
    rng = np.random.default_rng(0)
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for form in ("picked", "operator"):
            path = pathlib.Path(folder)
            path = mixture.save(path, form="gathernd") if form == "picked" else mixture.save_operator(path)
            session_options = onnxruntime.SessionOptions()
            session_options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, session_options)
            artifacts = [qcc.compile(path, path.with_suffix(f".{form}.{p}"), precision=p) for p in PRECISIONS]
            models = [qcc.load(artifact, threads=1) for artifact in artifacts]
            x = rng.standard_normal((8, options.hidden)).astype(np.float32)
            want = mixture.compute(x)
            got = [session.run(None, {"x": x})[0], *(model({"x": x})["y"] for model in models)]
            errors.append([form, *(f"{np.linalg.norm(y - want) / np.linalg.norm(want):.1e}" for y in got)])
            for count in (1, 8, 64, 512) if form == "operator" else (1, 8, 64):
                feeds = {"x": rng.standard_normal((count, options.hidden)).astype(np.float32)}
                ours = [lambda model=model: model(feeds) for model in models]
                pairs = options.pairs if count < 64 else max(options.pairs // 4, 3)
                lines.append(f"| {form} | {count} | {compare(lambda: session.run(None, feeds), ours, pairs)} |")
                print(lines[-1], flush=True)
    lines += ["", f"| error | ONNX Runtime | {' | '.join(PRECISIONS)} |", "|---" * (2 + len(PRECISIONS)) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in errors]
    print("\n".join(lines[-len(errors) - 2 :]), flush=True)
    if not options.no_page:
        harness.write_page("experts", lines)


if __name__ == "__main__":
    main()
