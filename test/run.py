#!/usr/bin/env python3
# Runs the test suites and sums them; called by `./dev test` and `./dev soak`.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""usage: run.py [--soak] [SUITE...]

Every suite writes its results in the JUnit form below build/test/results; the last line printed is the sum of them. A
suite that ends without results is one failed test. Suites run one after another, each on all cores.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).parent / "Support"))
import harness

TEST = harness.SOURCE / "test"
RESULTS = harness.BUILD / "test" / "results"
LIT = "/usr/lib/llvm-22/bin/lit"
# Programs of minutes, which compile many kernels: their tests are dealt to several processes.
SHARDED = ("X86Tests", "NumericsTests")


@dataclasses.dataclass
class Suite:
    """Programs whose results are counted under one name: (file of results, command) each."""

    name: str
    commands: list[tuple[pathlib.Path, list[str]]]


def unit_commands() -> list[tuple[pathlib.Path, list[str]]]:
    """The gtest programs, the long ones first and in parts: more than there are cores, as tests differ in length."""
    programs = [path for path in (harness.BUILD / "test" / "unit").glob("*") if path.is_file()]
    commands = []
    for program in sorted(programs, key=lambda path: (path.name not in SHARDED, path.name)):
        shards = min(4 * harness.JOBS, 32) if program.name in SHARDED else 1
        for shard in range(shards):
            junit = RESULTS / (f"unit-{program.name}-{shard}.xml" if shards > 1 else f"unit-{program.name}.xml")
            part = ["env", f"GTEST_TOTAL_SHARDS={shards}", f"GTEST_SHARD_INDEX={shard}"]
            commands.append((junit, [*part, str(program), f"--gtest_output=xml:{junit}", "--gtest_brief=1"]))
    return commands


def poison_freed_memory() -> None:
    """Has glibc fill what is freed, and keep no cache in front that is not filled: a use after free fails at once."""
    os.environ.setdefault("MALLOC_PERTURB_", "85")
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")


def all_suites(soak: bool) -> list[Suite]:
    """The suites in the order in which they run: quick ones that find most first."""
    python = sys.executable
    extra = ["--soak"] if soak else []
    if soak:
        os.environ.setdefault("QCC_TEST_SHAPES", "3000")  # random kernels of test/Numerics

    def script(name: str, path: str) -> Suite:
        junit = RESULTS / f"{name}.xml"
        return Suite(name, [(junit, [python, str(TEST / path), f"--junit={junit}", *extra])])

    lit_xml, pytest_xml = RESULTS / "lit.xml", RESULTS / "python.xml"
    lit = [python, LIT, str(harness.BUILD / "test"), f"-j{harness.JOBS}", "--timeout=300", "-v", "--no-progress-bar",
           "--skip-test-time-recording", f"--xunit-xml-output={lit_xml}"]
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={pytest_xml}",
              str(TEST / "Tree"), str(TEST / "Python")]
    return [
        Suite("unit", unit_commands()),
        Suite("lit", [(lit_xml, lit)]),
        Suite("python", [(pytest_xml, pytest)]),
        script("attacks", "Fuzz/run_attacks.py"),
        script("mutants", "Fuzz/run_mutants.py"),
        script("conformance", "Conformance/run_node_tests.py"),
        script("suites", "Conformance/run_suites.py"),
        script("random", "Random/run_random_graphs.py"),
        script("endtoend", "EndToEnd/run_models.py"),
    ]


def read_junit(path: pathlib.Path) -> list[harness.Result]:
    """The results in a file; one failed result when there is no whole file."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return [harness.Result(path.stem, "failed", 0, "the suite ended without writing its results")]
    results = []
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        status, message = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                status, message = "failed", child.get("message") or (child.text or "").strip().split("\n")[0]
            elif child.tag == "skipped":
                status, message = "skipped", child.get("message") or (child.text or "").strip()
        if case.get("status") == "notrun":  # gtest: a disabled test
            status, message = "skipped", "disabled"
        results.append(harness.Result(name, status, float(case.get("time") or 0), message))
    return results


def run_command(junit: pathlib.Path, command: list[str], quiet: bool) -> list[harness.Result]:
    """Runs a program and reads its results. With `quiet`, what it prints comes in one piece at its end."""
    junit.unlink(missing_ok=True)
    pipe = subprocess.PIPE if quiet else None
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT if quiet else None)
    if quiet:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        sys.stdout.flush()
    found = read_junit(junit)
    # A crash after the file was written, or an error outside of any test, must not pass.
    if done.returncode != 0 and not any(result.status == "failed" for result in found):
        found.append(harness.Result(junit.stem, "failed", 0, f"{junit.stem} ended with status {done.returncode}"))
    return found


def run_suite(suite: Suite) -> tuple[list[harness.Result], float]:
    """Runs the programs of a suite, one on each core, and reads their results."""
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(harness.JOBS) as pool:
        runs = [pool.submit(run_command, junit, command, len(suite.commands) > 1) for junit, command in suite.commands]
        results = [result for run in runs for result in run.result()]
    if not results:
        results.append(harness.Result(suite.name, "failed", 0, "the suite has no tests"))
    return results, time.monotonic() - start


def print_outcome(table: list[tuple[str, list[harness.Result], float]]) -> None:
    """Failures, reasons of skips, a row per suite."""
    failed = [(name, r) for name, results, _ in table for r in results if r.status == "failed"]
    skipped = Counter(r.message or "no reason given" for _, results, _ in table for r in results if r.status == "skipped")
    print("\n== results")
    for name, result in failed:
        print(f"FAILED  {name}: {result.name}: {result.message.splitlines()[0] if result.message else ''}"[:300])
    for reason, count in skipped.most_common():
        print(f"SKIPPED {count} x {reason.splitlines()[0]}"[:300])
    for name, results, seconds in table:
        print(f"{name:12} {seconds:6.0f} s  {harness.summary(results)}")


def write_soak(table: list[tuple[str, list[harness.Result], float]]) -> None:
    """A dated table of a soak below docs/."""
    day = datetime.date.today().isoformat()
    path = harness.SOURCE / "docs" / "soak" / f"{day}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"# Soak of {day}", "", f"`./dev soak` on {harness.cpu_name()}, {harness.JOBS} cores.", "",
             "| suite | seconds | passed | failed | skipped |", "|---|---|---|---|---|"]
    for name, results, seconds in table:
        states = Counter(result.status for result in results)
        lines.append(f"| {name} | {seconds:.0f} | {states['passed']} | {states['failed']} | {states['skipped']} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"table: {path.relative_to(harness.SOURCE)}")


def main() -> None:
    words = sys.argv[1:]
    soak = "--soak" in words
    wanted = [word for word in words if word != "--soak"]
    poison_freed_memory()
    suites = all_suites(soak)
    unknown = set(wanted) - {suite.name for suite in suites}
    if unknown:
        sys.exit(f"expected one of {' '.join(s.name for s in suites)}, but got {' '.join(sorted(unknown))}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    table = []
    for suite in suites:
        if wanted and suite.name not in wanted:
            continue
        print(f"\n== {suite.name}", flush=True)
        table.append((suite.name, *run_suite(suite)))
    print_outcome(table)
    if soak:
        write_soak(table)
    results = [result for _, found, _ in table for result in found]
    print(harness.summary(results))
    sys.exit(any(result.status == "failed" for result in results))


if __name__ == "__main__":
    main()
