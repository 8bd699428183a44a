#!/usr/bin/env python3
# Runs benchmarks by name; called by `./dev bench`.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: run.py [NAME...] | NAME FLAG...

NAME is what stands after `bench_` in a file of this folder; without names all run. Each writes a dated page below
docs/benchmarks. Flags are those of one benchmark: `NAME --help` shows them. Benchmarks inform; they never fail because of a
time.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    benchmarks = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    first = next((i for i, text in enumerate(sys.argv) if i and text.startswith("-")), len(sys.argv))
    names, flags = sys.argv[1:first], sys.argv[first:]
    if flags and len(names) != 1:
        sys.exit(f"expected one name before {flags[0]}, but got {' '.join(names) or 'none'}")
    names = names or list(benchmarks)
    for name in names:
        if name not in benchmarks:
            sys.exit(f"expected one of {' '.join(benchmarks)}, but got {name}")
    for name in names:
        print(f"== {name}", flush=True)
        if status := subprocess.run([sys.executable, benchmarks[name], *flags]).returncode:
            sys.exit(status)


if __name__ == "__main__":
    main()
