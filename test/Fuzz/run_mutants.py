#!/usr/bin/env python3
# Imports mutants of the node tests and of the models, and the files kept from mutants that once failed.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each mutant is imported or refused with a code: no crash, no internal error, no import over 5 s or 2 GB.

`./dev test` imports 1,000 of each kind with the normal build, `./dev soak` 50,000 of each kind with AddressSanitizer and
UndefinedBehaviorSanitizer (build/sanitize). Mutant I of a kind depends on the seed and I alone: a failure names the command
that makes it again.
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Support"))
import harness
import regressions

SMALL_BYTES = 256 * 1024  # of a seed: what matters is in small models too
KINDS = ("structure", "bytes")
SAVED = harness.BUILD / "test" / "fuzz" / "faults"


def driver(soak: bool) -> pathlib.Path:
    program = harness.BUILD / ("sanitize" if soak else "") / "test" / "fuzz" / "FuzzImport"
    if soak and b"__asan_init" not in program.read_bytes():
        raise harness.Failure(f"expected a driver with sanitizers, but got {program} without: build it by ./dev soak")
    return program


def environment() -> dict[str, str]:
    """Leaks are not what this looks for; a report ends the worker with a signal.

    Nothing is poisoned by hand: LLVM's allocators do so in code of ours that they are inlined in, and its own library,
    which has no sanitizer, takes from the same memory without undoing it.
    """
    options = ("abort_on_error=1", "detect_leaks=0", "allocator_may_return_null=0", "allow_user_poisoning=0")
    return os.environ | {"ASAN_OPTIONS": ":".join(options),
                         "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1"}


def seeds(folder: pathlib.Path) -> pathlib.Path:
    """A list of the models that mutants are made of: the shared ones, or those of the tests where there are none."""
    models = sorted(p for p in harness.MODELS.rglob("*.onnx") if p.is_file() and p.stat().st_size <= SMALL_BYTES)
    if not models:
        raise harness.Skip(f"no models in {harness.MODELS}")
    path = folder / "seeds.txt"
    path.write_text("".join(f"{model}\n" for model in models))
    return path


def run_driver(soak: bool, *words: object) -> str:
    """Runs the driver; the line that sums it up, or a Failure with the first faults."""
    done = harness.run(driver(soak), *words, check=False, timeout=6 * 3600, env=environment())
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    total = next((line for line in done.stdout.splitlines() if line.startswith("mutants")), "")
    if faults or done.returncode != 0 or not total:
        reports = re.findall(r"SUMMARY: .*|runtime error: .*|internal error: .*", done.stderr)
        raise harness.Failure(f"{len(faults)} faults: {'; '.join(faults[:8] + reports[:8]) or done.stderr[-500:]}; "
                              f"again: {' '.join(map(str, [driver(soak), *words]))} --first=NUMBER --count=1")
    return total


def mutate(kind: str, count: int, seed: int, soak: bool) -> str:
    SAVED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        return run_driver(soak, f"--seeds={seeds(pathlib.Path(folder))}", f"--kind={kind}", f"--count={count}",
                          f"--seed={seed}", f"--jobs={harness.JOBS}", f"--save={SAVED}")


def regress(soak: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return run_driver(soak, *regressions.write_all(pathlib.Path(folder)))


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--count", type=int, help="mutants of each kind")
    options.add_argument("--seed", type=int, default=1, help="what mutants are made from")
    arguments = options.parse_args()
    count = arguments.count or (50_000 if arguments.soak else 1000)
    cases = [("regressions", lambda: regress(arguments.soak))]
    for kind in KINDS:
        cases.append((kind, lambda kind=kind: mutate(kind, count, arguments.seed, arguments.soak)))
    harness.finish("mutants", harness.run_cases(cases, jobs=1), arguments.junit)


if __name__ == "__main__":
    main()
