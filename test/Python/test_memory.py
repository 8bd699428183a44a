# How much memory algorithms take: anonymous memory, which the kernel cannot drop, while they run.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib
import re
import subprocess
import time

import numpy as np
import pytest
import qcc
from test_algorithms import Graph

MB = 1 << 20


def random(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32) * np.float32(0.1)


def measure(*words) -> int:
    """Runs a command and returns the most anonymous memory that it had at once, in bytes."""
    process = subprocess.Popen([*map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    status = pathlib.Path(f"/proc/{process.pid}/status")
    most = 0
    while process.poll() is None:
        try:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text())
        except OSError:
            break
        most = max(most, int(found.group(1)) * 1024 if found else 0)
        time.sleep(0.002)
    assert process.wait() == 0, process.stderr.read()
    return most


def compile_(path, data, tmp_path, *flags) -> int:
    np.savez(tmp_path / "calib.npz", x=data)
    return measure(qcc._driver._find_driver(), path, f"--calib={tmp_path / 'calib.npz'}", "--target=avx2", "--progress=none", "-q",
                   "-o", tmp_path / "out.qcc", *flags)  # fmt: skip


@pytest.mark.parametrize("algo", ["gptq", "awq", "awq,gptq", "smoothquant"])
def test_wide_layers(tmp_path, algo):
    """At most 24 K^2 bytes of the largest K, the largest layer and 512 MB, whatever the number of threads."""
    k, n = 3072, 64
    graph = Graph(("rows", k))
    scaled = graph.add("Mul", graph.add("Tanh", "x"), random(k, seed=2) + 1)
    path = graph.save(tmp_path / "m.onnx", graph.add("MatMul", scaled, random(k, n, seed=3), name="wide"))
    precision = "int8" if algo == "smoothquant" else "w4a16"
    most = compile_(path, random(256, k), tmp_path, f"--algo={algo}", f"--precision={precision}", "--jobs=4")
    assert most <= 24 * k * k + 4 * k * n + 512 * MB, f"{most / MB:.0f} MB"


def test_carried_activations_are_spilled(tmp_path):
    """What later blocks read of 16384 rows is 512 MB, which is in a file."""
    rows, k, wide = 16384, 64, 8192
    graph = Graph(("rows", k))
    carried = graph.add("MatMul", "x", random(k, wide, seed=2), name="first")
    part = graph.add("Slice", carried, np.int64([0]), np.int64([k]), np.int64([1]))
    second = graph.add("MatMul", part, random(k, k, seed=3), name="second")
    third = graph.add("MatMul", graph.add("Relu", second), random(k, k, seed=4), name="third")
    total = graph.add("ReduceMean", carried, axes=[1], keepdims=1)
    path = graph.save(tmp_path / "m.onnx", graph.add("Add", third, total))
    most = compile_(path, random(rows, k), tmp_path, "--algo=gptq", "--precision=w4a16:g32", "--jobs=2")
    assert most <= 24 * k * k + 4 * k * wide + 512 * MB, f"{most / MB:.0f} MB"
    assert most < 400 * MB, f"{most / MB:.0f} MB, of which 512 are carried"
