# Inputs that become states: what they need, and qcc eval of artifacts that carry them.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
from __future__ import annotations

import json
import subprocess

import numpy as np
import onnx
import pytest
import qcc
from onnx import TensorProto, helper


QCC = qcc._driver._find_driver()


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([QCC, *map(str, words)], capture_output=True, text=True, timeout=120)


@pytest.fixture
def running_sum(tmp_path):
    """A model that adds its input to a state, and data with arrays for both."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "old"], ["new"], "sum"), helper.make_node("Identity", ["new"], ["y"], "same")], "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "old")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("y", "new")],
    )  # fmt: skip
    path = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", **{name: rng.standard_normal((1, 4)).astype(np.float32) for name in ("x", "old")})
    return path


def evaluate(model, artifact, *flags):
    return run("eval", artifact, f"--reference={model}", f"--data={model.parent / 'data.npz'}", "--json", "-q", *flags)


@pytest.mark.parametrize("carries", [False, True])
def test_reference_has_the_same_inputs(running_sum, carries):
    """One side would read zeros where the other reads the data."""
    state = ["--state=old=new"]
    artifact = running_sum.parent / "m.qcc"
    assert run(running_sum, "-o", artifact, "-q", *(state if carries else [])).returncode == 0
    alike = evaluate(running_sum, artifact, *(state if carries else []))
    assert alike.returncode == 0, alike.stderr
    cosine = next(line for line in json.loads(alike.stdout)["results"] if line["metric"] == "cosine")
    assert cosine["value"] == pytest.approx(1)
    other = evaluate(running_sum, artifact, *([] if carries else state))
    assert other.returncode == 2 and "QCC-E401" in other.stderr
    assert "expected the reference's inputs" in other.stderr and "--state" in other.stderr


def test_names_of_inputs(running_sum):
    """The artifact loads as it was compiled."""
    artifact = qcc.compile(running_sum, running_sum.parent / "m.qcc", state={"old": "new"})
    assert [tensor.name for tensor in qcc.load(artifact).inputs] == ["x"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (["n", 4], ["m", 4], "but got f32 [n, 4] and f32 [m, 4]; try --dim=n=m"),
        (["n", 4], ["n", "m"], "but got f32 [n, 4] and f32 [n, m]"),
        (["past", 4], None, "but got f32 [past, 4] and f32 [(m + past), 4]; leave --state out: a cache that grows is an input and an output"),
    ],
)
def test_sizes_of_states(tmp_path, old, new, text):
    """A state keeps its size; the message names sizes as the model does, and a way out if there is one."""
    make = helper.make_node("Identity", ["x"], ["new"]) if new else helper.make_node("Concat", ["old", "x"], ["new"], axis=0)
    graph = helper.make_graph(
        [make], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, new or ["m", 4]), helper.make_tensor_value_info("old", TensorProto.FLOAT, old)],
        [helper.make_tensor_value_info("new", TensorProto.FLOAT, None)],
    )  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    done = run(path, "-o", tmp_path / "m.qcc", "-q", "--state=old=new")
    assert done.returncode == 2 and text in done.stderr.replace("(past + m)", "(m + past)"), done.stderr
    assert ("try --dim" in done.stderr) == ("try --dim" in text)
