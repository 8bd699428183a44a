#!/usr/bin/env python3
# Runs the ONNX backend node tests: each is compiled by qcc and run on its data by qcc-run.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each test ends in one of four ways:

passed        the outputs agree with the test's
unsupported   qcc ended with exit code 4 and its message names an op or a value of the model
wrong         the outputs differ
crashed       anything else: another exit code, a signal, a time-out

Wrong and crashed tests fail. So does a test of expected.json (those that passed when it was written) that did not pass.
Unsupported tests are no failures and not counted as passed; one case of the suite stands for all of them.

--update writes expected.json and docs/onnx-node-conformance.md from this run.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Support"))
import batch
import harness

EXPECTED = pathlib.Path(__file__).parent / "expected.json"
TABLE = harness.SOURCE / "docs" / "onnx-node-conformance.md"
NODE_TESTS = harness.MODELS / "onnx-node"
# The tolerances of ONNX's own backend runner, with room for float32 results near zero.
TOLERANCES = ["--rtol=1e-3", "--atol=1e-5"]


def judge(folder: pathlib.Path, artifact: pathlib.Path, compiled: tuple[int, str] | None) -> batch.Outcome:
    """How a test ended, from how its compilation did; runs it if there is something to run."""
    start = time.monotonic()

    def outcome(kind: str, message: str = "") -> batch.Outcome:
        return batch.Outcome(folder.name, kind, time.monotonic() - start, message)

    if compiled is None:
        return outcome("crashed", "qcc ended without a word about it")
    code, message = compiled
    if code == batch.UNSUPPORTED:
        if batch.named_in(message, folder / "model.onnx"):
            return outcome("unsupported", message)
        return outcome("crashed", f"refused without naming an op: {message}")
    if code != 0:
        return outcome("crashed", f"qcc: exit status {code}: {message}")
    try:
        for data in sorted(folder.glob("test_data_set_*")):
            done = harness.run(harness.QCC_RUN, artifact, f"--test-data={data}", *TOLERANCES, timeout=60, check=False)
            if done.returncode != 0:
                kind = "wrong" if done.returncode == 6 else "crashed"
                return outcome(kind, f"qcc-run: exit status {done.returncode}: {batch.last_line(done.stderr + done.stdout)}")
    except harness.Failure as failure:
        return outcome("crashed", str(failure))
    return outcome("passed")


def run_all(folders: list[pathlib.Path], target: str, chunk: int = 120) -> list[batch.Outcome]:
    """Runs tests, `chunk` at a time on all cores; prints progress, and each that is wrong or crashed."""
    outcomes = []
    for first in range(0, len(folders), chunk):
        part = folders[first : first + chunk]
        with tempfile.TemporaryDirectory(prefix="qcc-node-") as name, \
                concurrent.futures.ThreadPoolExecutor(harness.JOBS) as pool:  # fmt: skip
            scratch = pathlib.Path(name)
            compiled = batch.compile_all([(f / "model.onnx", scratch / f.name) for f in part], scratch, target)
            jobs = [pool.submit(judge, f, scratch / f.name, compiled.get(f / "model.onnx")) for f in part]
            for job in jobs:
                outcome = job.result()
                outcomes.append(outcome)
                if outcome.kind in ("wrong", "crashed"):
                    print(f"{outcome.kind.upper():7} {outcome.name}: {outcome.message}", flush=True)
        print(f"{len(outcomes)} of {len(folders)}", flush=True)
    return outcomes


def to_results(outcomes: list[batch.Outcome], expected: set[str], target: str) -> list[harness.Result]:
    """The cases that are counted."""
    results, refused = [], []
    for o in outcomes:
        name = f"{target}/{o.name}"
        if o.kind == "passed":
            results.append(harness.Result(name, "passed", o.seconds))
        elif o.kind == "unsupported" and o.name in expected:
            results.append(harness.Result(name, "failed", o.seconds, f"passed before, but is refused: {o.message}"))
        elif o.kind == "unsupported":
            refused.append(o)
        else:
            results.append(harness.Result(name, "failed", o.seconds, f"{o.kind}: {o.message}"))
    if refused:
        seconds = sum(o.seconds for o in refused)
        results.append(harness.Result(f"{target}/{len(refused)}-unsupported-are-refused-by-name", "passed", seconds))
    return results


def write_table(outcomes: list[batch.Outcome], target: str) -> None:
    """Writes the list of passed tests and the summary in docs/."""
    passed = [o.name for o in outcomes if o.kind == "passed"]
    EXPECTED.write_text(json.dumps(passed, indent=0) + "\n", encoding="utf-8")
    kinds = collections.Counter(o.kind for o in outcomes)
    by_op: dict[str, list[str]] = collections.defaultdict(list)
    for o in outcomes:
        if o.kind == "unsupported":
            ops, _ = batch.names_in(NODE_TESTS / o.name / "model.onnx")
            named = batch.named_in(o.message, NODE_TESTS / o.name / "model.onnx")[0]
            by_op[named if named in ops else "an input or output"].append(o.name.removeprefix("test_"))
    lines = [
        "# ONNX backend node tests",
        "",
        f"Written by `test/Conformance/run_node_tests.py --update` (`--target={target}`, {harness.cpu_name()}).",
        "",
        f"Of {len(outcomes)} tests {kinds['passed']} pass, {kinds['unsupported']} are refused with exit code 4, "
        f"{kinds['wrong']} are wrong, {kinds['crashed']} crash.",
        "",
        "## What is refused",
        "",
        "| named in the refusal | tests | which |",
        "|---|---|---|",
    ]
    for op, tests in sorted(by_op.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"| {op} | {len(tests)} | {', '.join(tests)} |")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {EXPECTED.relative_to(harness.SOURCE)} and {TABLE.relative_to(harness.SOURCE)}")


def main() -> None:
    parser = harness.parser(__doc__.split("\n")[0])
    parser.add_argument("--update", action="store_true", help="write the list of passed tests and the table")
    parser.add_argument("--only", default="", help="run the tests whose name holds this text")
    parser.add_argument("--target", default="native")
    parser.add_argument("--json", help="write every outcome to this file")
    options = parser.parse_args()
    expected = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else []
    if not NODE_TESTS.is_dir():
        why = f"no ONNX node tests in {NODE_TESTS}: set QCC_TEST_DATA"
        skipped = [harness.Result(name, "skipped", 0, why) for name in expected or ["node-tests"]]
        harness.finish("conformance", skipped, options.junit)
    folders = sorted(path for path in NODE_TESTS.iterdir() if options.only in path.name and (path / "model.onnx").exists())
    results = []
    for target in [options.target, "reference", "avx2"] if options.soak else [options.target]:
        outcomes = run_all(folders, target)
        kinds = collections.Counter(o.kind for o in outcomes)
        print(f"{target}: " + ", ".join(f"{kinds[k]} {k}" for k in ("passed", "unsupported", "wrong", "crashed")), flush=True)
        results += to_results(outcomes, set(expected), target)
        if target == options.target:
            if options.json:
                pathlib.Path(options.json).write_text(json.dumps([vars(o) for o in outcomes], indent=1), encoding="utf-8")
            if options.update and not options.only:
                write_table(outcomes, target)
    harness.finish("conformance", results, options.junit)


if __name__ == "__main__":
    main()
