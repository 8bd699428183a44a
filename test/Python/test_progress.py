# What a long stage tells where nobody watches a terminal.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import pathlib
import re
import signal
import subprocess
import time

import numpy as np
import onnx
import qcc
from onnx import TensorProto, helper

QCC = qcc._driver._find_driver()
WIDTH, LAYERS = 64, 12


def write_model(path: pathlib.Path) -> None:
    random = np.random.default_rng(7)
    nodes, weights, value = [], [], "x"
    for i in range(LAYERS):
        weight = (random.standard_normal((WIDTH, WIDTH)) / 8).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"w{i}"))
        nodes += [
            helper.make_node("MatMul", [value, f"w{i}"], [f"p{i}"], name=f"layer{i}"),
            helper.make_node("Tanh", [f"p{i}"], [f"t{i}"]),
        ]
        value = f"t{i}"
    shape = [None, WIDTH]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)


def test_a_long_stage_says_every_ten_seconds_what_it_does(tmp_path):
    """The process stands still for longer than that at the beginning of the stage: what it does next is told."""
    write_model(tmp_path / "model.onnx")
    samples = np.random.default_rng(8).standard_normal((64, 16, WIDTH)).astype(np.float32)
    folder = tmp_path / "samples"
    folder.mkdir()
    for i, sample in enumerate(samples):
        np.savez(folder / f"{i}.npz", x=sample)
    command = [QCC, "model.onnx", "--precision=int8", f"--calib={folder}", "-o", "out"]
    with subprocess.Popen(
        [*command, "--no-cache", "--progress=plain"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if re.match(r"\[\d+/\d+\] +assign ", line):
                process.send_signal(signal.SIGSTOP)
                time.sleep(10.5)
                process.send_signal(signal.SIGCONT)
        assert process.wait() == 0, "".join(lines)
    told = [line for line in lines if line.split()[1] == "quantize"]
    assert len(told) >= 2, lines
    assert all(re.search(r"(weights of layer \d+ of 12|measuring choices, run \d+) \.\.\. +\d+\.\d s$", line) for line in told[:-1]), told
    assert "..." not in told[-1], told
