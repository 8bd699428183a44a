# Compiles many models in one driver and judges each in a process of its own: what the suites of small models share.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import dataclasses
import os
import pathlib
import pickle
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable

import harness
import onnx

UNSUPPORTED = 4


@dataclasses.dataclass
class Outcome:
    """How one model ended (`kind`), and what was said."""

    name: str
    kind: str
    seconds: float
    message: str = ""


def last_line(text: str) -> str:
    """The error line of a program's output, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no message"])[0 if errors else -1]


def names_in(model: pathlib.Path) -> tuple[set[str], set[str]]:
    """The op types of a model, with those inside subgraphs and functions, and the names of its inputs and outputs."""
    proto = onnx.load(model, load_external_data=False)
    ops: set[str] = set()
    pending = [proto.graph.node, *(function.node for function in proto.functions)]
    while pending:
        for node in pending.pop():
            ops.add(node.op_type)
            for attribute in node.attribute:
                pending += [graph.node for graph in [attribute.g, *attribute.graphs]]
    return ops, {value.name for value in [*proto.graph.input, *proto.graph.output]}


def named_in(message: str, model: pathlib.Path) -> list[str]:
    """The op types that a refusal names, longest first; else the inputs and outputs that it quotes."""
    ops, values = names_in(model)
    text = message.replace(str(model), "").replace(str(model.parent), "")
    named = [op for op in sorted(ops, key=len, reverse=True) if re.search(rf"\b{re.escape(op)}\b", text)]
    return named or [value for value in sorted(values) if f"'{value}'" in text]


def compile_all(
    items: list[tuple[pathlib.Path, pathlib.Path]], scratch: pathlib.Path, target: str
) -> dict[pathlib.Path, tuple[int, str]]:
    """Compiles (model, artifact) pairs in forks of one driver; exit code and error line of each, by its model."""
    listed = scratch / "items"
    listed.write_text("".join(f"{model}\t{artifact}\n" for model, artifact in items), encoding="utf-8")
    command = [harness.QCC, f"--batch={listed}", f"--target={target}", f"--jobs={harness.JOBS}", "-q"]
    with (scratch / "errors").open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=60 + 120 * len(items))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the fork that hangs
            printed, _ = process.communicate()
        errors.seek(0)
        # A crash is told on stderr, where nothing says of which model.
        print("".join(line for line in errors if "crashed" in line), end="", flush=True)
    found = {}
    for line in printed.splitlines():
        if line.count("\t") >= 2:
            model, code, text = line.split("\t", 2)
            found[pathlib.Path(model)] = (int(code), text)
    return found


def _child(job: Callable[[], object], seconds: int, pipe: int) -> None:
    """What a fork does: sends what the job returns, or the text of what it raised."""
    code = 1
    try:
        signal.alarm(seconds)
        try:
            result = (True, job())
        except Exception as error:  # told to the parent
            result = (False, f"{type(error).__name__}: {error}")
        data = memoryview(pickle.dumps(result))
        while data:
            data = data[os.write(pipe, data) :]
        code = 0
    finally:
        os._exit(code)


def _collect(pid: int, data: bytes) -> tuple[bool, object]:
    """What a fork that has closed its pipe leaves."""
    _, status = os.waitpid(pid, 0)
    if status == 0 and data:
        return pickle.loads(data)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return False, "it ran too long" if number == signal.SIGALRM else f"ended by signal {number}"
    return False, "ended without a word"


def run_forked(jobs: list[Callable[[], object]], seconds: int, at_once: int = harness.JOBS) -> list[tuple[bool, object]]:
    """Runs each job in a fork, so that a crash of what it loads costs one of them; (True, result) or (False, text) each.

    To be called from a process without threads.
    """
    results: list[tuple[bool, object]] = [(False, "was not run")] * len(jobs)
    waiting = list(enumerate(jobs))[::-1]
    running: dict[int, tuple[int, int, bytearray]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            index, job = waiting.pop()
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                _child(job, seconds, writer)
            os.close(writer)
            running[reader] = (index, pid, bytearray())
        for reader in select.select(list(running), [], [])[0]:
            index, pid, data = running[reader]
            chunk = os.read(reader, 1 << 16)
            data += chunk
            if not chunk:
                os.close(reader)
                del running[reader]
                results[index] = _collect(pid, bytes(data))
    return results


def timed(job: Callable[[], tuple[str, str]], name: str) -> Outcome:
    """The outcome of a job that says kind and message."""
    start = time.monotonic()
    kind, message = job()
    return Outcome(name, kind, time.monotonic() - start, message)
