#!/usr/bin/env python3
# Shows attacks and broken files to the compiler: how it ends, and what it opens.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Each model of attacks.py and bombs.py ends with its exit status and code within 5 seconds of CPU time and 2 GB.

Where strace can be used, no file outside of the model's folder is opened but system libraries, /proc, /sys, /dev/null and
what belongs to qcc itself.
"""

from __future__ import annotations

import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Support"))
import attacks
import bombs
import harness

SECONDS, MEGABYTES = 5, 2048
SYSTEM = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/proc/", "/sys/", "/etc/ld.so.", "/dev/null")
# A call that opened a file: the path that the kernel gives for the new descriptor.
OPENED = re.compile(r"\b(?:open|openat|openat2)\(.*\)\s*= \d+<(.*)>$")


def make(function, folder: pathlib.Path) -> pathlib.Path:
    """Writes an attack; its model's path."""
    folder.mkdir(parents=True)
    made = function(folder)
    path = folder / "model.onnx"
    if made is not None:
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def limits() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, MEGABYTES << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS, 5 * SECONDS))


def run_qcc(words: list, prefix: list = ()) -> tuple[subprocess.CompletedProcess, float]:
    """Runs qcc within the limits; how it ended and its seconds of CPU time."""
    command = [str(word) for word in [*prefix, harness.QCC, *words]]
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=limits)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        said = err.read()
    if process.returncode == -signal.SIGXCPU:
        raise harness.Failure(f"{' '.join(command)} took more than {4 * SECONDS} s of CPU time")
    return subprocess.CompletedProcess(command, process.returncode, "", said), usage.ru_utime + usage.ru_stime


def time_qcc(words: list) -> tuple[subprocess.CompletedProcess, float]:
    """How qcc ended and the least of its seconds of CPU time: a neighbour on the same core lengthens those of a run by half
    and never shortens them, so what took too long is run twice more."""
    done, seconds = run_qcc(words)
    for _ in range(2):
        if seconds > SECONDS:
            seconds = min(seconds, run_qcc(words)[1])
    return done, seconds


def judge(done: subprocess.CompletedProcess, seconds: float, status: int, code: str) -> None:
    """A Failure unless the program ended as it should."""
    last = (done.stderr.strip().splitlines() or [""])[-1][-300:]
    if done.returncode != status:
        raise harness.Failure(f"expected exit status {status}, but got {done.returncode}: {last}")
    errors = [line for line in done.stderr.splitlines() if line.startswith("qcc: error: ")]
    if code and not any(f"[QCC-{code}]" in line and "; " in line for line in errors):
        raise harness.Failure(f"expected [QCC-{code}] with a remedy, but got: {last}")
    if seconds > SECONDS:
        raise harness.Failure(f"expected at most {SECONDS} s of CPU time, but it took {seconds:.1f} s")


def can_trace() -> str:
    """Why strace cannot be used here; empty if it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-y", "-e", "trace=open,openat,openat2", "-o", "/dev/null", "true"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)  # fmt: skip
    return "" if done.returncode == 0 else "strace is not permitted here"


def opened_outside(log: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """The files of a trace that neither the model's folder nor the system nor qcc has."""
    inside = (f"{folder}/", f"{harness.BUILD}/")
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = OPENED.search(line)
        if match and not match[1].startswith((*SYSTEM, *inside)) and match[1] != str(folder):
            found.append(match[1])
    return found


def check(function, status: int, code: str) -> str:
    with tempfile.TemporaryDirectory(prefix="qcc-attack-") as scratch:
        model = make(function, pathlib.Path(scratch) / "models" / "folder")
        done, seconds = time_qcc(["check", model])
        judge(done, seconds, status, code)
    return f"{seconds:.1f} s"


def trace(function, status: int) -> str:
    with tempfile.TemporaryDirectory(prefix="qcc-attack-") as scratch:
        model = make(function, pathlib.Path(scratch) / "models" / "folder")
        log = pathlib.Path(scratch) / "trace"
        prefix = ["strace", "-f", "-y", "-e", "trace=open,openat,openat2", "-o", log]
        done, _ = run_qcc(["check", model], prefix)
        if done.returncode != status:
            raise harness.Failure(f"expected exit status {status} under strace, but got {done.returncode}: {done.stderr[-300:]}")
        if not log.read_text(errors="replace").count("= 3"):
            raise harness.Failure("expected a trace of what was opened, but it is empty")
        if outside := opened_outside(log, model.parent):
            raise harness.Failure(f"opened outside of the model's folder: {', '.join(outside[:5])}")
    return ""


def compile_bomb(function, status: int, code: str) -> str:
    """A small model that asks for much: compiled, or refused, at once."""
    with tempfile.TemporaryDirectory(prefix="qcc-bomb-") as scratch:
        model = make(function, pathlib.Path(scratch) / "folder")
        done, seconds = time_qcc([model, "-o", f"{scratch}/out", "-q", "--target=avx2"])
        judge(done, seconds, status, code)
    return f"status {done.returncode}, {seconds:.1f} s"


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--only", default="", help="attacks whose name holds this text")
    arguments = options.parse_args()
    reason = can_trace()

    def skip() -> str:
        raise harness.Skip(reason)

    cases = []
    for name, status, code, function in attacks.ATTACKS:
        cases.append((name, lambda f=function, s=status, c=code: check(f, s, c)))
        if not reason:
            cases.append((f"{name} (opened files)", lambda f=function, s=status: trace(f, s)))
    if reason:
        cases.append(("opened files", skip))
    for name, status, code, function in bombs.BOMBS:
        cases.append((name, lambda f=function, s=status, c=code: compile_bomb(f, s, c)))
    cases = [case for case in cases if arguments.only in case[0]]
    harness.finish("attacks", harness.run_cases(cases), arguments.junit)


if __name__ == "__main__":
    main()
