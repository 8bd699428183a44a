# What the suites that run whole models share: where things lie, how programs are called, how results are written.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each suite is a program with the same two options:

--junit=FILE  where its results go, in the JUnit form that lit, gtest and pytest write too (test/run.py sums them)
--soak        full counts in place of the small ones
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import datetime
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = SOURCE / "build"
SHARED = pathlib.Path(os.environ.get("QCC_TEST_DATA", SOURCE.parent / "shared")).resolve()
MODELS = SHARED / "models"
QCC = BUILD / "bin" / "qcc"
QCC_RUN = BUILD / "bin" / "qcc-run"
JOBS = len(os.sched_getaffinity(0))


class Skip(Exception):
    """Raised by a case that this machine cannot run; the text says what is missing."""


class Failure(Exception):
    """Raised by a case whose result is wrong; the text says what was expected and what came."""


@dataclasses.dataclass
class Result:
    """How one case ended: `passed`, `failed` or `skipped`, with the reason of the last two."""

    name: str
    status: str
    seconds: float
    message: str = ""


def run(*command: object, timeout: float = 600, check: bool = True, **options) -> subprocess.CompletedProcess:
    """Runs a program, with its output as text. With `check`, a status other than 0 is a Failure with what it said."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout, **options
        )
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"{words[0]} ran longer than {timeout:.0f} s") from expired
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise Failure(f"{' '.join(words)}: exit status {done.returncode}: {' / '.join(said)}")
    return done


def run_case(name: str, body: Callable[[], str | None]) -> Result:
    """Runs one case; what it returns is shown beside its name."""
    start = time.monotonic()
    try:
        status, message = "passed", body() or ""
    except Skip as skip:
        status, message = "skipped", str(skip)
    except Failure as failure:
        status, message = "failed", str(failure)
    except Exception as error:  # an error in the test itself is a failed case, not the end of the suite
        status, message = "failed", f"{type(error).__name__}: {error}"
    return Result(name, status, time.monotonic() - start, message)


def run_cases(cases: Iterable[tuple[str, Callable[[], str | None]]], jobs: int = JOBS) -> list[Result]:
    """Runs cases on `jobs` threads (the work is in programs that they start) and prints a line for each as it ends."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run_case, *case) for case in cases]):
            results.append(future.result())
            show(results[-1])
    return results


def show(result: Result) -> None:
    """Prints a result as one line."""
    text = f"{result.status.upper():7} {result.name} ({result.seconds:.1f} s)"
    print(text + (f": {result.message}" if result.message else ""), flush=True)


def write_junit(path: str | os.PathLike, suite: str, results: Iterable[Result]) -> None:
    """Writes results in the JUnit form."""
    root = ElementTree.Element("testsuite", name=suite)
    for result in results:
        case = ElementTree.SubElement(root, "testcase", classname=suite, name=result.name, time=f"{result.seconds:.3f}")
        if result.status != "passed":
            tag = {"failed": "failure", "skipped": "skipped"}[result.status]
            text = "".join(c for c in result.message if c.isprintable() or c == "\n")
            ElementTree.SubElement(case, tag, message=text)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def summary(results: Iterable[Result]) -> str:
    """`N passed, N failed, N skipped`."""
    states = [result.status for result in results]
    return ", ".join(f"{states.count(state)} {state}" for state in ("passed", "failed", "skipped"))


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every suite has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--junit", help="write the results to this file")
    options.add_argument("--soak", action="store_true", help="full counts in place of the small ones")
    return options


def finish(suite: str, results: list[Result], junit: str | None) -> None:
    """Writes and sums the results and ends the program: 1 when a case failed."""
    if junit:
        write_junit(junit, suite, results)
    print(summary(results))
    sys.exit(any(result.status == "failed" for result in results))


def cpu_flags() -> set[str]:
    """The CPU's features by the kernel's names."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        return next((set(line.split()) for line in info if line.startswith("flags")), set())


def commit() -> str:
    """The commit that is measured, short."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, cwd=SOURCE).stdout.strip()


# What of a CPU's vector features matters here, in rising order.
FEATURES = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "amx_int8": "AMX"}


def write_page(name: str, lines: Iterable[str], page: pathlib.Path | None = None) -> None:
    """Writes docs/benchmarks/DATE-NAME-LEVEL.md or a page of the caller's choice.

    LEVEL is the last of FEATURES that the CPU has: figures of another kind of machine stay beside each other.
    """
    level = [text for flag, text in FEATURES.items() if flag in cpu_flags()] or ["baseline"]
    day = datetime.date.today().isoformat()
    page = page or SOURCE / "docs" / "benchmarks" / f"{day}-{name}-{level[-1].lower().replace('-', '')}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {page}")


def cpu_name() -> str:
    """The CPU's model name, which may hide what it is, its family and model, and what of its vector features matter here."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        fields = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in info if ":" in line]))
    name = fields.get("model name", "unknown CPU")
    if "cpu family" in fields:
        name += f", family {fields['cpu family']}, model {fields.get('model', '?')}"
    return f"{name} ({', '.join(text for flag, text in FEATURES.items() if flag in cpu_flags())})"


def anonymous_kb(pid: int) -> int:
    """The anonymous memory of a process and all below it, in kB; file-backed pages (a mapped model) do not count."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            own = next((int(line.split()[1]) for line in status if line.startswith("RssAnon")), 0)
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return own + sum(anonymous_kb(int(child)) for child in children.read().split())
    except (OSError, ValueError):  # it ended meanwhile
        return 0


def run_measured(*command: object, timeout: float = 600) -> tuple[float, float]:
    """Runs a program; the peak of its process tree's anonymous memory in MB, sampled every 20 ms, and its seconds."""
    start, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, anonymous_kb(process.pid))
            if time.monotonic() - start > timeout:
                process.kill()
                process.wait()
                raise Failure(f"{command[0]} ran longer than {timeout:.0f} s")
            time.sleep(0.02)
        if process.returncode != 0:
            output.seek(0)
            said = output.read().strip().splitlines()[-4:]
            raise Failure(f"{command[0]}: exit status {process.returncode}: {' / '.join(said)}")
    return peak / 1024, time.monotonic() - start
