#!/usr/bin/env python3
# Runs benchmarks by name; called by `./dev bench`.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: run.py [NAME...]

NAME is what stands after `bench_` in a file of this folder; without names all run. Each writes a dated page below
docs/benchmarks. Benchmarks inform; they never fail because of a time.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    benchmarks = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    names = sys.argv[1:] or list(benchmarks)
    for name in names:
        if name not in benchmarks:
            sys.exit(f"expected one of {' '.join(benchmarks)}, but got {name}")
    for name in names:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, benchmarks[name]], check=True)


if __name__ == "__main__":
    main()
