# What the compiler promises about its artifacts: whole or absent, the same bytes, the same results.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable

import cases
import data
import harness
import numpy as np

# Files with measurements: not part of what must be the same bytes.
MEASURED = {"profile.json"}


def tree(folder: pathlib.Path) -> dict[str, str]:
    """The files of an artifact and their hashes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in MEASURED
    }


def expect_same(first: dict[str, str], second: dict[str, str], what: str) -> None:
    """A Failure that names the files that differ."""
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if different:
        raise harness.Failure(f"expected the same bytes {what}, but these differ: {', '.join(different)}")


def kill_at_random(count: int, graph: str) -> str:
    """Kills compilations at random moments; the folder then holds the artifact from before, a whole new one or nothing.

    Every other round starts without an artifact. Half of the kills hit the whole process group, half the driver alone.
    """
    rng = random.Random(5)
    with tempfile.TemporaryDirectory(prefix="qcc-kill-") as folder:
        scratch = pathlib.Path(folder)
        model, out = scratch / "model.onnx", scratch / "artifact"
        cases.make_graphs.make(graph, model)
        environment = os.environ | {"QCC_CACHE_DIR": str(scratch / "cache")}
        command = [str(harness.QCC), str(model), "-o", str(out), "-q"]
        start = time.monotonic()
        harness.run(*command, env=environment)
        duration = time.monotonic() - start
        whole = tree(out)
        killed = left = 0
        for round_ in range(count):
            replaces = round_ % 2 == 0
            if not replaces:
                shutil.rmtree(out, ignore_errors=True)
            elif not out.exists():
                harness.run(*command, env=environment)
            shutil.rmtree(scratch / "cache", ignore_errors=True)
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            time.sleep(rng.uniform(0, 1.05 * duration))
            killed += process.poll() is None
            if rng.random() < 0.5:
                process.kill()
            else:
                with contextlib.suppress(ProcessLookupError):  # all of it has ended
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if out.exists():
                left += 1
                expect_same(whole, tree(out), f"after kill {round_}")
            elif replaces:
                raise harness.Failure(f"kill {round_}: the artifact from before is gone")
        harness.run(*command, env=environment)
        expect_same(whole, tree(out), "in a compilation after all kills")
        beside = sorted(path.name for path in scratch.iterdir())
        if set(beside) - {"cache"} != {"model.onnx", "artifact"}:
            raise harness.Failure(f"expected nothing left beside the artifact, but got {beside}")
        if killed < count / 2:
            raise harness.Failure(f"expected most kills to hit a running compiler, but only {killed} of {count} did")
        return f"{killed} of {count} kills hit a running compiler; {left} left a whole artifact"


def same_bytes(graph: str, *flags: str, calibration: cases.Inputs | None = None) -> str:
    """Compiles a model twice, apart in folder, time, jobs, environment, without a common cache; all bytes are equal."""
    with tempfile.TemporaryDirectory(prefix="qcc-same-") as folder:
        trees = []
        for jobs, place, more in (
            (1, "a", {"TZ": "UTC", "LANG": "C", "USER": "one"}),
            (2, "another place/with a longer name", {"TZ": "Asia/Tokyo", "LANG": "C.UTF-8", "USER": "two", "HOME": "/"}),
        ):
            scratch = pathlib.Path(folder) / place
            scratch.mkdir(parents=True)
            cases.make_graphs.make(graph, scratch / "model.onnx")
            words = [str(harness.QCC), "model.onnx", "-o", "out", "-q", f"--jobs={jobs}", *flags]
            if calibration:
                np.savez(scratch / "calib.npz", **calibration)
                words.append("--calib=calib.npz")
            harness.run(*words, cwd=scratch, env=os.environ | more | {"QCC_CACHE_DIR": str(scratch / "cache")})
            trees.append(tree(scratch / "out"))
            time.sleep(1.1)  # past the second that a file system or an archive may record
        expect_same(*trees, "with one and two jobs in two folders")
        return f"{len(trees[0])} files"


def same_results(graph: str, make: Callable[[int], cases.Inputs]) -> str:
    """Runs a model on 1, 2 and 4 threads and each row of a batch alone; all outputs are bit for bit the same."""
    batch = 5
    with tempfile.TemporaryDirectory(prefix="qcc-threads-") as folder:
        scratch = pathlib.Path(folder)
        model, artifact = scratch / "model.onnx", scratch / "artifact"
        cases.make_graphs.make(graph, model)
        harness.run(harness.QCC, model, "-o", artifact, "-q")

        def outputs(inputs: cases.Inputs, threads: int) -> dict[str, np.ndarray]:
            np.savez(scratch / "in.npz", **inputs)
            result = scratch / "out.npz"
            harness.run(
                harness.QCC_RUN, artifact, f"--inputs={scratch}/in.npz", f"--outputs={result}", f"--threads={threads}"
            )
            with np.load(result) as loaded:
                return dict(loaded)

        feed = make(batch)
        one = outputs(feed, 1)
        for threads in (2, 4):
            for name, value in outputs(feed, threads).items():
                if value.tobytes() != one[name].tobytes():
                    raise harness.Failure(f"output '{name}' on {threads} threads differs from that on 1")
        for row in range(batch):
            alone = outputs({name: value[row : row + 1] for name, value in feed.items()}, 1)
            for name, value in alone.items():
                if value.tobytes() != one[name][row : row + 1].tobytes():
                    raise harness.Failure(f"output '{name}' of row {row} alone differs from that in a batch of {batch}")
    return f"1, 2, 4 threads; rows of a batch of {batch}"


def all_promises(soak: bool) -> list[tuple[str, Callable[[], str]]]:
    """The cases of this file."""
    calibration = {"image": data.images(16, 1, 256)[:, 0]}
    return [
        ("promise/kill", lambda: kill_at_random(200 if soak else 50, "mlp")),
        ("promise/same-bytes-attention", lambda: same_bytes("attention")),
        ("promise/same-bytes-recurrent-cell", lambda: same_bytes("cell")),
        ("promise/same-bytes-int8", lambda: same_bytes("mlp", "--precision=int8", calibration=calibration)),
        ("promise/same-bytes-w4a8", lambda: same_bytes("mlp", "--precision=w4a8")),
        ("promise/same-results-mlp", lambda: same_results("mlp", lambda n: {"image": data.images(n, 1, 256)[:, 0]})),
        ("promise/same-results-attention", lambda: same_results("attention", lambda n: {"x": data.images(n, 32, 64)})),
    ]
