#!/usr/bin/env python3
# What --tune gains and what it takes.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_tuning.py [--rounds=N] [--seconds=S] [--only=NAME] [--precision=f32,int8] [--target=T] [--page=FILE]

Compiles the models of bench_int8 with and without --tune, checks that both give the same bits, and runs them in turn on one
thread. Writes docs/benchmarks/DATE-tuning-LEVEL.md. Bounded: --seconds for the runs of each model and precision.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import re
import statistics
import tempfile
import time

import bench_int8
import harness
import numpy as np
import onnx
import qcc

PLAIN, TUNED = "cost model", "tuned"


def describe(file: pathlib.Path) -> str:
    """Kernels that were timed, and those of them that got another schedule."""
    found = [re.search(r"    schedule: (.*)\n    seconds:\n      (.*): [0-9.e+-]+\n", part) for part in file.read_text().split("  - work: ")[1:]]
    return f"{sum(one[1] != one[2] for one in found)} of {len(found)}"


def measure(subject: bench_int8.Subject, precision: str, options: argparse.Namespace) -> str:
    """A row of the table."""
    with tempfile.TemporaryDirectory(prefix="qcc-bench-") as scratch:
        folder = pathlib.Path(scratch)
        path, samples = subject.path(folder), subject.samples()
        graph = onnx.load(path).graph
        (name,) = [value.name for value in graph.input if value.name not in {w.name for w in graph.initializer}]
        np.savez(folder / "calibration.npz", **{name: samples})
        flags = [path, "-q", f"--precision={precision}", f"--target={options.target}", *subject.flags]
        if precision != "f32":
            flags.append(f"--calib={folder / 'calibration.npz'}")
        harness.run(harness.QCC, *flags, "-o", folder / "plain")
        file, start = folder / "tuning.yaml", time.perf_counter()
        harness.run(harness.QCC, *flags, "-o", folder / "tuned", f"--tune={file}")
        took = time.perf_counter() - start
        models = {PLAIN: qcc.load(folder / "plain", threads=1), TUNED: qcc.load(folder / "tuned", threads=1)}
        feed = {name: samples[:1]}
        for output, value in models[PLAIN](feed).items():
            np.testing.assert_array_equal(models[TUNED](feed)[output], value)
        runs = {kind: lambda model=model: model(feed) for kind, model in models.items()}
        times = bench_int8.race(runs, options.rounds, options.seconds, 0)
        low, middle, high = bench_int8.ratio(times, PLAIN, TUNED)
        medians = " | ".join(f"{statistics.median(times[kind]) * 1e3:.2f} ms" for kind in (PLAIN, TUNED))
        return f"| {subject.name} | {precision} | {describe(file)} | {took:.0f} s | {medians} | {middle:.2f}x ({low:.2f} to {high:.2f}) |"


def main() -> None:
    parser = argparse.ArgumentParser(description="what --tune gains")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--only", default="")
    parser.add_argument("--precision", default="f32,int8")
    parser.add_argument("--target", default="native")
    parser.add_argument("--page", type=pathlib.Path)
    options = parser.parse_args()
    day = datetime.date.today().isoformat()
    lines = [
        f"# What --tune gains, {day}", "",
        f"`./dev bench tuning` at commit {harness.commit()}, `--target={options.target}`, on {harness.cpu_name()}; load average at the start {os.getloadavg()[0]:.1f}.",
        f"One thread, at most {options.rounds} rounds in {options.seconds:.0f} s, each running both; times are medians, speeds medians of the ratio in a",
        "round, with quartiles. Outputs of both are the same bits.", "",
        "| model | precision | kernels with another schedule | compile with --tune | cost model | tuned | speed |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for subject in bench_int8.SUBJECTS:
        for precision in options.precision.split(",") if options.only in subject.name else ():
            lines.append(measure(subject, precision, options))
            print(lines[-1], flush=True)
    harness.write_page("tuning", lines, options.page)


if __name__ == "__main__":
    main()
