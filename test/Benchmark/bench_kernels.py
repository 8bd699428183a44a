#!/usr/bin/env python3
# Speed of the x86 kernels against ceilings measured in the same run.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: bench_kernels.py [--pairs=N]

Writes docs/benchmarks/DATE-kernels-LEVEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "Support"))
import harness


def main() -> None:
    parser = argparse.ArgumentParser(description="x86 kernels against ceilings")
    parser.add_argument("--pairs", type=int, default=31)
    options = parser.parse_args()
    program = harness.BUILD / "test" / "benchmark" / "BenchKernels"
    done = subprocess.run([program, str(options.pairs)], stdout=subprocess.PIPE, text=True, check=True)
    day = datetime.date.today().isoformat()
    lines = [
        f"# Kernels of the x86 target, {day}",
        "",
        f"`./dev bench kernels` at commit {harness.commit()} on {harness.cpu_name()}, one thread, medians of {options.pairs} pairs. The ceiling",
        "is a loop of nothing but the instruction, measured in turns with the kernel; its least and greatest share in brackets.",
        "",
    ]
    print(done.stdout, end="")
    harness.write_page("kernels", [*lines, done.stdout])


if __name__ == "__main__":
    main()
